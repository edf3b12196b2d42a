package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/plume-run/plume/internal/filelock"
)

// saver writes what is known to a file while steps go on, so that a crash costs what the
// last minutes have computed and no more. It is the scheduler's loop's own.
type saver struct {
	steps int64      // computed when the last writing began
	due   time.Time  // of the next one; zero: nothing has changed since
	rest  time.Time  // no writing before, after one that was slow
	done  chan error // of the one under way; nil: none
	begun time.Time
	alarm *time.Timer // wakes the loop at due
	lock  *filelock.Lock
}

const (
	// savePause is the least time between two writings. A file of 256 MiB each time is
	// less than a megabyte per second then, which flash memory stands.
	savePause = 5 * time.Minute
	// One that takes longer than a twentieth of that is followed by twenty times as much
	// time in which there is none.
	saveShare = 20
)

// lockFile makes this scheduler the only one that writes the file, until it is closed, or
// says why it may not. A file system without locks locks out nobody.
func (s *Scheduler) lockFile() error {
	f, path := &s.file, s.opt.PrefixFile
	if f.lock != nil {
		return nil
	}
	l, err := filelock.Try(path + ".lock")
	if errors.Is(err, filelock.ErrHeld) {
		return fmt.Errorf("save prefixes: another server keeps its own in %s: while it runs, what this one computes is not saved; give each a folder", path)
	}
	if errors.Is(err, filelock.ErrNone) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("save prefixes: %w", err)
	}
	f.lock = l
	return nil
}

// unlockFile lets another scheduler write the file.
func (s *Scheduler) unlockFile() {
	if s.file.lock != nil {
		s.file.lock.Close()
		s.file.lock = nil
	}
}

// tendFile begins to write the file, or ends it, where that is due.
func (s *Scheduler) tendFile() {
	f := &s.file
	if s.known == nil || s.opt.PrefixFile == "" {
		return
	}
	if f.done != nil {
		select {
		case err := <-f.done:
			s.fileWritten(err)
		default:
			return
		}
	}
	now := time.Now()
	switch {
	case f.steps == s.stats.Steps:
	case f.due.IsZero():
		f.due = now.Add(s.opt.PrefixPause)
		if f.due.Before(f.rest) {
			f.due = f.rest
		}
		f.alarm = time.AfterFunc(f.due.Sub(now), s.nudge)
	case !now.Before(f.due):
		s.writeFile(now)
	}
}

// writeFile begins to write what is known and what idle sequences hold.
func (s *Scheduler) writeFile(now time.Time) {
	f := &s.file
	f.steps, f.due, f.begun = s.stats.Steps, time.Time{}, now
	err := s.lockFile()
	if err == nil {
		err = s.keepIdle(s.ctx)
	}
	if s.known.note(err) {
		return
	}
	s.known.lent = true
	f.done = make(chan error, 1)
	go func(all snapshot, path string, key PrefixKey) {
		f.done <- all.save(path, key)
		s.nudge()
	}(s.known.snapshot(), s.opt.PrefixFile, s.opt.PrefixKey)
}

// fileWritten takes note of what came of it.
func (s *Scheduler) fileWritten(err error) {
	f := &s.file
	f.done, s.known.lent = nil, false
	now := time.Now()
	if took := now.Sub(f.begun); took > savePause/saveShare {
		f.rest = now.Add(saveShare * took)
	}
	if !s.known.note(err) {
		s.known.stats.Saves, s.known.stats.Note = s.known.stats.Saves+1, ""
	}
	s.mu.Lock()
	s.stats.Prefix = s.known.stats
	s.mu.Unlock()
}

// keepIdle makes known what sequences without a request hold.
func (s *Scheduler) keepIdle(ctx context.Context) error {
	return s.e.turn(ctx, func() error {
		for _, q := range s.slots {
			if n := q.cache.Len(); q.job == nil && n >= worthTokens {
				if err := s.known.keep(q.cache, q.ids[:n]); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// lastSave writes the file a last time, when nothing is computed any more.
func (s *Scheduler) lastSave() {
	if s.known == nil || s.opt.PrefixFile == "" {
		return
	}
	if s.file.alarm != nil {
		s.file.alarm.Stop()
	}
	if s.file.done != nil {
		s.fileWritten(<-s.file.done)
	}
	s.file.begun = time.Now()
	err := s.lockFile()
	if err == nil {
		err = s.keepIdle(context.Background())
	}
	if err == nil {
		err = s.known.snapshot().save(s.opt.PrefixFile, s.opt.PrefixKey)
	}
	s.fileWritten(err)
	s.unlockFile()
}
