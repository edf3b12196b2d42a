package ple

import (
	"fmt"
	"io"
)

// start makes sure that up to n workers will look at the queue. The lock is held.
func (t *Table) start(n int) {
	for ; n > 0; n-- {
		switch {
		case t.asleep > 0:
			t.asleep--
			t.wake.Signal()
		case t.started < t.opt.Workers:
			t.started++
			t.workers.Go(t.work)
		default:
			return
		}
	}
}

// work reads queued rows until the table is closed.
func (t *Table) work() {
	var (
		run   []*slot
		merge []byte
	)
	t.mu.Lock()
	defer t.mu.Unlock()
	for {
		if run = t.take(run[:0]); len(run) == 0 {
			if t.closed {
				return
			}
			t.asleep++ // start takes it back before it signals
			t.wake.Wait()
			continue
		}
		t.mu.Unlock()
		var done readCount
		merge, done = t.read(run, merge)
		t.mu.Lock()
		t.finish(run, done)
	}
}

// take moves the next row and the neighbours queued right behind it to run.
// Rows that nobody wants any more are forgotten on the way.
func (t *Table) take(run []*slot) []*slot {
	for len(run) < t.maxRun && t.queue.head != nil {
		s := t.queue.head
		if n := len(run); n > 0 && s.row != run[n-1].row+1 {
			break
		}
		t.queue.pop()
		if s.refs == 0 {
			t.fail(s, nil) // its waiters are gone, nobody sees the nil
			continue
		}
		run = append(run, s)
	}
	return run
}

type readCount struct{ reads, bytes int64 }

// read fills the buffers of a run of neighbouring rows, or sets their err. It
// returns merge, grown when it was too small for the run.
func (t *Table) read(run []*slot, merge []byte) ([]byte, readCount) {
	var c readCount
	if len(run) > 1 {
		if merge == nil {
			merge = make([]byte, t.maxRun*t.rowBytes)
		}
		if t.readFull(merge[:len(run)*t.rowBytes], run[0].row, &c) == nil {
			for i, s := range run {
				copy(s.buf, merge[i*t.rowBytes:])
			}
			return merge, c
		}
		// Some rows of the run may be sound: ask for each alone.
	}
	for _, s := range run {
		if err := t.readFull(s.buf, s.row, &c); err != nil {
			s.err = t.rowError(s.row, err)
		}
	}
	return merge, c
}

// readFull fills p from the first byte of row on, or returns an error.
func (t *Table) readFull(p []byte, row int32, c *readCount) error {
	n, err := t.src.ReadAt(p, t.offset(row))
	c.reads++
	c.bytes += int64(max(0, n))
	if n == len(p) {
		return nil // an io.EOF beside all the bytes is no error
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("got %d of %d bytes: %w", n, len(p), err)
}

// finish makes what was read known. The lock is held.
func (t *Table) finish(run []*slot, c readCount) {
	t.stats.Reads += c.reads
	t.stats.BytesRead += c.bytes
	for _, s := range run {
		if s.err != nil {
			t.stats.Errors++
			t.fail(s, s.err)
			continue
		}
		t.stats.RowsRead++
		t.succeed(s)
	}
}
