package engine

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// SchedulerOptions size a scheduler. Context, Chunk and Sequences are at least 1.
type SchedulerOptions struct {
	Sequences int // most answers computed together
	Context   int // most tokens of a sequence, prompt and answer together
	Queue     int // requests that may wait for a sequence
	Chunk     int // most tokens of a step
	// BusyChunk is how many of them may be of prompts while other sequences decode: a
	// long prompt holds up the others by a step of this many tokens, not more.
	BusyChunk int
	NoDraft   bool // never evaluate guessed tokens on trial, not of a lone answer either
	// PrefixBytes is memory for what prompts have computed, beside what idle sequences
	// still hold; 0: none.
	PrefixBytes int64
	PrefixFile  string        // where that survives a restart; "": nowhere
	PrefixKey   PrefixKey     // of the file
	PrefixPause time.Duration // the least time between two writings of it; 0: five minutes
}

// Scheduler answers many requests at once: continuous batching. One goroutine runs
// steps; each takes one token of every sequence that decodes and a piece of the
// prompts of those that do not yet. Whoever arrives joins the next step, whoever is
// done leaves after it. An answer is bit for bit what a Session gives.
//
// Its methods may be called from any goroutine.
type Scheduler struct {
	e    *Engine
	opt  SchedulerOptions
	wake chan struct{} // holds a value when the loop may have something new to do
	over chan struct{} // closed when the loop has ended

	ctx   context.Context // of all steps
	abort context.CancelCauseFunc

	// The loop's own.
	slots []*slot
	batch batch
	clock uint64    // counts requests, to tell which slot has been idle longest
	known *prefixes // nil: none are kept
	file  saver
	use   useLogits // afterForward, made once

	kvBytes int64 // of one cache

	mu      sync.Mutex
	waiting []*job
	running int
	closing bool // no more requests
	stats   SchedulerStats
}

// slot is a sequence of the scheduler and whose answer it computes.
type slot struct {
	*sequence
	job  *job // nil: idle
	used uint64
	err  error // of the last step
}

// job is a request on its way.
type job struct {
	r       Request
	ctx     context.Context
	arrived time.Time
	tokens  chan Token // closed at the end, after res and err have been set
	res     Result
	err     error
}

// tokenBuffer is how many tokens an answer may be ahead of its reader. A reader that
// is slower than that stops its own sequence and no other.
const tokenBuffer = 64

// room is how many tokens may be drawn before the reader has taken one.
func (j *job) room() int { return cap(j.tokens) - len(j.tokens) }

// NewScheduler allocates the KV caches of all sequences and starts the loop, which
// Close or the engine's Close ends.
func (e *Engine) NewScheduler(o SchedulerOptions) (*Scheduler, error) {
	if o.Sequences < 1 || o.Chunk < 1 || o.BusyChunk < 1 || o.Queue < 0 {
		return nil, fmt.Errorf("size scheduler: %d sequences, chunks of %d and %d, queue of %d", o.Sequences, o.Chunk, o.BusyChunk, o.Queue)
	}
	if o.PrefixPause == 0 {
		o.PrefixPause = savePause
	}
	s := &Scheduler{e: e, opt: o, wake: make(chan struct{}, 1), over: make(chan struct{})}
	for range o.Sequences {
		q, err := e.newSequence(o.Context, MaxDraft)
		if err != nil {
			return nil, err
		}
		s.slots, s.kvBytes = append(s.slots, &slot{sequence: q}), q.cache.Bytes()
	}
	s.use = s.afterForward
	s.ctx, s.abort = context.WithCancelCause(context.Background())
	err := e.turn(s.ctx, func() error {
		// A step's rows are at most a chunk's, and every sequence may want logits.
		e.model.Reserve(max(o.Chunk, o.Sequences), o.Sequences)
		s.loadPrefixes()
		return nil
	})
	if err != nil {
		return nil, err
	}
	go s.loop()
	return s, nil
}

// Generate is Session.Generate for any number of callers: yield runs in the caller's
// goroutine, and may take its time. It returns ErrOverloaded at once when as many
// requests wait as may.
func (s *Scheduler) Generate(ctx context.Context, r Request, yield func(Token) bool) (Result, error) {
	res := Result{Prompt: len(r.Prompt), Finish: FinishError}
	if err := s.e.checkPrompt(r.Prompt, s.opt.Context); err != nil {
		return res, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	j := &job{r: r, ctx: ctx, arrived: time.Now(), tokens: make(chan Token, tokenBuffer), res: res}
	if err := s.enqueue(j); err != nil {
		return res, err
	}
	defer context.AfterFunc(ctx, s.nudge)()
	n := 0
	for t := range j.tokens {
		s.nudge() // it may have waited for room
		if n++; yield(t) {
			continue
		}
		cancel()
		for range j.tokens { // until the sequence has been let go
		}
		j.res.Generated, j.res.Finish = n, FinishCaller
		return j.res, nil
	}
	return j.res, j.err
}

// enqueue makes j wait for its turn, if there is room.
func (s *Scheduler) enqueue(j *job) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return fmt.Errorf("service %w", ErrClosed)
	}
	if s.running+len(s.waiting) >= s.opt.Sequences+s.opt.Queue {
		s.stats.Refused++
		return fmt.Errorf("%w: %d answers are being computed and %d requests wait", ErrOverloaded, s.running, len(s.waiting))
	}
	s.waiting = append(s.waiting, j)
	s.nudge()
	return nil
}

// nudge makes the loop look again.
func (s *Scheduler) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Close refuses new requests and returns when those that run and wait have been
// answered, or soon after ctx is done, which ends them with ErrClosed and is returned.
func (s *Scheduler) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	s.nudge()
	select {
	case <-s.over:
		return nil
	case <-ctx.Done():
	}
	s.abort(fmt.Errorf("service %w", ErrClosed))
	<-s.over
	return context.Cause(ctx)
}

// loop runs steps until the scheduler is closed and nothing is left to do.
func (s *Scheduler) loop() {
	defer func() {
		s.slots, s.known, s.batch = nil, nil, batch{} // the memory, whoever keeps s
		close(s.over)
	}()
	for {
		s.sweep()
		s.admit()
		s.tendFile()
		switch {
		case s.batch.compose(s.slots, &s.opt):
			s.step()
		case s.drained():
			s.lastSave()
			return
		default:
			select {
			case <-s.wake:
			case <-s.e.done:
				s.abort(s.e.closed())
			case <-s.ctx.Done():
			}
		}
	}
}

// sweep ends the requests whose callers have gone, or all when the scheduler must end.
func (s *Scheduler) sweep() {
	if s.ctx.Err() != nil {
		s.mu.Lock()
		s.closing = true
		s.mu.Unlock()
	}
	gone := func(j *job) error {
		if s.ctx.Err() != nil {
			return context.Cause(s.ctx)
		}
		if j.ctx.Err() != nil {
			return context.Cause(j.ctx)
		}
		return nil
	}
	for _, q := range s.slots {
		if q.job == nil {
			continue
		}
		if err := gone(q.job); err != nil {
			s.finish(q, q.fail(err))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = slices.DeleteFunc(s.waiting, func(j *job) bool {
		j.err = gone(j)
		if j.err != nil {
			s.stats.Failed++
			s.stats.Left++
			close(j.tokens)
		}
		return j.err != nil
	})
}

// admit gives idle slots to those who wait, first come, first served.
func (s *Scheduler) admit() {
	for {
		s.mu.Lock()
		if len(s.waiting) == 0 || s.running == len(s.slots) {
			s.mu.Unlock()
			return
		}
		j := s.waiting[0]
		s.waiting = slices.Delete(s.waiting, 0, 1)
		s.running++
		s.mu.Unlock()
		s.assign(j)
	}
}

// assign starts j where most of its prompt is there already: in an idle slot that
// still holds it, or in the one that has been idle longest, filled from what is known.
func (s *Scheduler) assign(j *job) {
	prompt := j.r.Prompt
	q := s.idle(func(q *slot) int { return q.shared(prompt) })
	var err error
	seen := 0
	if s.known != nil {
		q, seen, err = s.recall(q, prompt)
	}
	s.clock++
	q.job, q.used = j, s.clock
	q.start(&j.r)
	q.res.Queued = q.begun.Sub(j.arrived)
	if seen-q.res.Reused >= worthTokens && len(prompt)-seen >= worthTokens {
		q.cut = seen
	}
	if err != nil {
		s.finish(q, q.fail(err))
	}
}

// idle returns the idle slot that is best by rank, of several the one idle longest.
func (s *Scheduler) idle(rank func(*slot) int) *slot {
	var best *slot
	most := 0
	for _, q := range s.slots {
		if q.job != nil {
			continue
		}
		if n := rank(q); best == nil || n > most || n == most && q.used < best.used {
			best, most = q, n
		}
	}
	return best
}

// afterForward lets the sequences draw, and keeps what those hold that have come to a
// place where others may go on.
func (s *Scheduler) afterForward(logits []float32, rows int, failed error) error {
	s.batch.take(logits, rows, failed)
	for i, q := range s.batch.members {
		if q.err != nil {
			continue
		}
		q.count(i)
		q.expect()
		if n := q.cache.Len(); s.known != nil && n > q.at && (n == q.res.Prompt || n == q.cut) {
			q.err = s.known.keep(q.cache, q.ids[:n])
		}
	}
	return nil
}

// step computes the batch and hands out what came of it.
func (s *Scheduler) step() {
	begin := time.Now()
	err := s.e.forward(s.ctx, &s.batch.Batch, s.use)
	took := time.Since(begin)
	if err != nil && s.ctx.Err() != nil {
		err = context.Cause(s.ctx) // rather than what came of it
	}
	generated, prompt := 0, 0
	for i, q := range s.batch.members {
		switch {
		case err != nil:
			q.err = q.fail(err)
		case q.err != nil:
			q.err = q.fail(q.err)
		case s.batch.alone:
			q.observe(took)
		}
		if q.err == nil && (len(q.drawn) == 0 || q.at < q.res.Prompt) {
			prompt += len(s.batch.Parts[i].IDs)
		}
		for _, t := range q.drawn {
			q.job.tokens <- t
		}
		generated += len(q.drawn)
		if q.ended() {
			s.finish(q, q.err)
		}
	}
	s.count(generated, prompt)
}

// finish tells a request's caller that this was all, and frees its slot.
func (s *Scheduler) finish(q *slot, err error) {
	j := q.job
	j.res, j.err = q.res, err
	q.job, q.err = nil, nil
	used := s.held()
	s.mu.Lock()
	s.running--
	s.stats.KVTokens = used
	s.stats.note(j)
	s.mu.Unlock()
	close(j.tokens)
}

// drained reports whether a closing scheduler has nothing left to do.
func (s *Scheduler) drained() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing && s.running == 0 && len(s.waiting) == 0
}
