package plume

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/plume-run/plume/internal/engine"
)

// ErrOverloaded marks a request that a Service has no room for at the moment.
var ErrOverloaded = engine.ErrOverloaded

// ServiceOptions size a service. The zero value asks for the defaults.
type ServiceOptions struct {
	// Sequences is how many answers are computed together. Each has a KV cache of its
	// own. 0: as many as the memory budget has room for, at most 8.
	Sequences int
	Context   int // most tokens of a sequence, prompt and answer; 0: what Open has planned for
	Queue     int // requests that may wait for a sequence; 0: 64; negative: none
	// PrefixCacheBytes is memory for what the beginnings of earlier requests have
	// computed, beyond what idle sequences hold anyway: a request that begins like one
	// of them goes on from there. 0: 256 MiB, or what the memory budget has room for;
	// negative: none. It never changes a result.
	PrefixCacheBytes int64
	// PrefixCacheDir is a folder in which they survive a restart, or a crash: they are saved
	// there at most every five minutes and by Close, and NewService finds them again if
	// model, options and program are the same. What users have written can be read from
	// such a file. Of several services with one folder only the first writes, while it
	// runs. "": nowhere.
	PrefixCacheDir string
	// ChunkTokens is how many prompt tokens are computed between two steps in which
	// others decode: few, and a long prompt delays the others little; many, and it is
	// ready sooner. 0: 32. Prompts that nobody waits beside go in chunks of
	// Options.Chunk. It never changes a result.
	ChunkTokens int
	// NoDraft turns off guessing, which only an answer that runs alone does: see
	// SessionOptions.NoDraft. It never changes a result.
	NoDraft bool
}

// The defaults of ServiceOptions.
const (
	defaultSequences = 8
	defaultQueue     = 64
	defaultBusyChunk = 32 // docs/measurements/serving.md: 64 holds up others two thirds longer and is ready 13 % sooner
	maxSequences     = 1024
	maxQueue         = 1 << 16

	defaultPrefixBytes = 256 << 20
	minPrefixBytes     = 4 << 20 // less is not worth having by default
)

func (o ServiceOptions) withDefaults(m *Model) ServiceOptions {
	if o.Context == 0 {
		o.Context = m.opt.Context
	}
	if o.ChunkTokens == 0 {
		o.ChunkTokens = min(defaultBusyChunk, m.opt.Chunk)
	}
	if o.Queue == 0 {
		o.Queue = defaultQueue
	}
	o.Queue = max(0, o.Queue)
	return o
}

func (o ServiceOptions) validate(m *Model) error {
	switch {
	case o.Sequences < 0 || o.Sequences > maxSequences:
		return fmt.Errorf("size service: %d sequences, want 0 to %d", o.Sequences, maxSequences)
	case o.Context < 1 || o.Context > m.cfg.MaxPositions:
		return fmt.Errorf("size service: context %d, want 1 to %d", o.Context, m.cfg.MaxPositions)
	case o.ChunkTokens < 1:
		return fmt.Errorf("size service: chunks of %d tokens, want at least 1", o.ChunkTokens)
	case o.Queue > maxQueue:
		return fmt.Errorf("size service: a queue of %d, want at most %d", o.Queue, maxQueue)
	}
	return nil
}

// Service answers many requests at once over one model. Answers are computed
// together, the weights being read once per step for all of them, and each is bit for
// bit what a Session would give for the request alone. It is safe for any number of
// goroutines. Sessions of the same model go on working, a step here, a step there.
type Service struct {
	m        *Model
	opt      ServiceOptions
	sch      *engine.Scheduler
	reserved int64 // of the model's budget
}

// NewService allocates the KV caches of all sequences. Where the budget has no room
// for as many as asked for, or for one, it fails with ErrMemory.
func (m *Model) NewService(o ServiceOptions) (*Service, error) {
	o = o.withDefaults(m)
	if err := o.validate(m); err != nil {
		return nil, requestError{err}
	}
	s := &Service{m: m, opt: o}
	if err := s.admit(); err != nil {
		return nil, err
	}
	eo := engine.SchedulerOptions{
		Sequences: s.opt.Sequences, Context: o.Context, Queue: o.Queue,
		Chunk: max(m.opt.Chunk, o.ChunkTokens), BusyChunk: o.ChunkTokens, PrefixBytes: s.opt.PrefixCacheBytes,
		NoDraft: o.NoDraft,
	}
	var err error
	if o.PrefixCacheDir != "" && eo.PrefixBytes > 0 {
		eo.PrefixFile, eo.PrefixKey, err = m.prefixFile(o.PrefixCacheDir, o.Context)
	}
	if err == nil {
		s.sch, err = m.eng.NewScheduler(eo)
	}
	if err != nil {
		m.leave(s.reserved)
		return nil, err
	}
	return s, nil
}

// admit reserves the caches of all sequences, of as many as fit when nobody says.
func (s *Service) admit() error {
	cache, _ := s.m.plan.p.Session(s.opt.Context, 1)
	want := s.opt.Sequences
	if want == 0 {
		want = defaultSequences
	}
	for n := range want {
		err := s.m.admit(fmt.Sprintf("open service: sequence %d of %d tokens", n+1, s.opt.Context), cache, s.stepBytes(n+1))
		if err != nil && (n == 0 || s.opt.Sequences > 0 || !errors.Is(err, ErrMemory)) {
			s.m.leave(s.reserved)
			return err
		} else if err != nil {
			want = n
			break
		}
		s.reserved += cache
	}
	s.opt.Sequences = want
	return s.admitPrefixes()
}

// admitPrefixes reserves the memory for prefixes, when nobody says how much at most
// the default.
func (s *Service) admitPrefixes() error {
	asked := s.opt.PrefixCacheBytes
	s.opt.PrefixCacheBytes = max(0, asked)
	if asked < 0 {
		return nil
	}
	if asked == 0 {
		s.opt.PrefixCacheBytes = defaultPrefixBytes
	}
	for {
		err := s.m.admit("open service: memory for prefixes", s.opt.PrefixCacheBytes, 0)
		switch {
		case err == nil:
			s.reserved += s.opt.PrefixCacheBytes
			return nil
		case asked > 0:
			s.m.leave(s.reserved)
			return err
		case s.opt.PrefixCacheBytes <= minPrefixBytes:
			s.opt.PrefixCacheBytes = 0
			return nil
		}
		s.opt.PrefixCacheBytes /= 2
	}
}

// stepBytes is what the steps of n sequences take. One never has more rows than a
// chunk, so it is a session's prompt step with n rows of logits instead of one.
func (s *Service) stepBytes(n int) int64 {
	chunk := max(s.m.opt.Chunk, s.opt.ChunkTokens)
	_, prompt := s.m.plan.p.Session(s.opt.Context, min(max(chunk, n), s.opt.Context))
	_, logits := s.m.plan.p.Evaluation(s.opt.Context, n)
	return max(prompt, logits)
}

// Options returns the options in force, defaults filled in.
func (s *Service) Options() ServiceOptions { return s.opt }

// Generate answers r as Session.Generate does, beside all other requests. It returns
// ErrOverloaded at once when neither a sequence is idle nor the queue has room. A
// caller that reads its events slowly slows down its own answer only; one that
// cancels ctx, or leaves its loop, frees its place within one step.
func (s *Service) Generate(ctx context.Context, r Request) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		s.m.answer(ctx, r, s.sch, yield)
	}
}

// Close refuses new requests, with ErrClosed, and returns when those that run and wait
// have been answered, or soon after ctx is done, which cuts them off.
func (s *Service) Close(ctx context.Context) error {
	err := s.sch.Close(ctx)
	s.m.leave(s.reserved)
	s.reserved = 0
	return err
}

// ServiceStats say what a service is doing and has done since it was made.
type ServiceStats struct {
	Running    int   `json:"running"` // requests being answered
	Waiting    int   `json:"waiting"` // requests in the queue
	Sequences  int   `json:"sequences"`
	Queue      int   `json:"queue"`
	KVTokens   int   `json:"kv_tokens"`   // positions of the running sequences
	KVCapacity int   `json:"kv_capacity"` // positions that all sequences have room for
	KVBytes    int64 `json:"kv_bytes"`    // memory of their caches, used or not

	Steps     int64 `json:"steps"`            // computed; each reads the weights once
	Prompt    int64 `json:"prompt_tokens"`    // computed
	Cached    int64 `json:"cached_tokens"`    // tokens of prompts that did not have to be computed
	Generated int64 `json:"generated_tokens"` // drawn
	Drafted   int64 `json:"drafted_tokens"`   // guessed from the text so far and evaluated on trial, in answers that have ended
	Accepted  int64 `json:"accepted_tokens"`  // part of Drafted that turned out right: steps saved
	Answered  int64 `json:"answered"`         // requests that ended well, callers who left among them
	Failed    int64 `json:"failed"`           // requests that ended with an error or were cancelled
	Left      int64 `json:"left"`             // part of Failed that was cancelled while it waited
	Refused   int64 `json:"refused"`          // requests that met a full queue

	Prefix PrefixStats `json:"prefix_cache"`

	// RetryAfter is about how long one more request would wait, judged by the latest
	// answers; 0 while a sequence is idle.
	RetryAfter time.Duration `json:"-"`
}

// PrefixStats say what the remembered beginnings of requests take and have been good
// for. What idle sequences still hold is not among them.
type PrefixStats struct {
	Capacity int64  `json:"capacity_bytes"`
	Bytes    int64  `json:"bytes"`
	Entries  int    `json:"entries"`    // places that a request can go on from
	Hits     int64  `json:"hits"`       // requests that did
	Tokens   int64  `json:"hit_tokens"` // tokens that these did not compute
	Evicted  int64  `json:"evicted"`    // entries that made room for others
	Saves    int64  `json:"saves"`      // times that PrefixCacheDir's file was written
	Note     string `json:"note,omitempty"`
}

// Stats returns the state of affairs. It never waits for a step.
func (s *Service) Stats() ServiceStats {
	t := s.sch.Stats()
	return ServiceStats{
		Running: t.Running, Waiting: t.Waiting, Sequences: t.Sequences, Queue: t.Queue,
		KVTokens: t.KVTokens, KVCapacity: t.KVCapacity, KVBytes: t.KVBytes,
		Steps: t.Steps, Prompt: t.Prompt, Cached: t.Cached, Generated: t.Generated,
		Drafted: t.Drafted, Accepted: t.Accepted, Answered: t.Answered, Failed: t.Failed, Left: t.Left, Refused: t.Refused, RetryAfter: t.Retry,
		Prefix: PrefixStats(t.Prefix),
	}
}
