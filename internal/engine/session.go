package engine

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/sample"
)

// SessionOptions size a session. The zero value asks for the defaults.
type SessionOptions struct {
	Context int  // most tokens the KV cache holds, prompt and answer together; 0: the model's limit, at most 4096
	Chunk   int  // prompt tokens per prefill step; 0: DefaultChunk
	NoDraft bool // never evaluate guessed tokens on trial
}

// DefaultContext bounds the KV cache that a caller gets without asking: at
// 4096 tokens the largest of the family (31B) needs about 1.1 GiB of it.
const DefaultContext = 4096

func (o SessionOptions) withDefaults(cfg *gemma.Config) SessionOptions {
	if o.Context == 0 {
		o.Context = DefaultContext
		if cfg.MaxPositions > 0 {
			o.Context = min(o.Context, cfg.MaxPositions)
		}
	}
	if o.Chunk == 0 {
		o.Chunk = DefaultChunk
	}
	return o
}

func (o SessionOptions) validate(cfg *gemma.Config) error {
	if o.Context < 1 || cfg.MaxPositions > 0 && o.Context > cfg.MaxPositions {
		return fmt.Errorf("size context: %d tokens, want 1 to %d", o.Context, cfg.MaxPositions)
	}
	if o.Chunk < 1 {
		return fmt.Errorf("size prefill chunk: %d tokens, want at least 1", o.Chunk)
	}
	return nil
}

// Session is one sequence and its KV cache. It belongs to one goroutine at a
// time.
type Session struct {
	e    *Engine
	opt  SessionOptions
	q    *sequence // nil after Close
	busy atomic.Bool

	batch gemma.Batch
	parts [1]gemma.Part
	use   useLogits // take, made once
}

// NewSession allocates the KV cache of one sequence. Close returns it.
func (e *Engine) NewSession(o SessionOptions) (*Session, error) {
	o = o.withDefaults(e.cfg)
	if err := o.validate(e.cfg); err != nil {
		return nil, err
	}
	if err := e.closed(); err != nil {
		return nil, err
	}
	q, err := e.newSequence(o.Context, o.drafts())
	if err != nil {
		return nil, err
	}
	s := &Session{e: e, opt: o, q: q}
	s.use = s.take
	s.batch.Parts = s.parts[:]
	return s, nil
}

// drafts is how many tokens a step may evaluate on trial.
func (o SessionOptions) drafts() int {
	if o.NoDraft {
		return 0
	}
	return MaxDraft
}

// Options returns the settings in force, defaults filled in.
func (s *Session) Options() SessionOptions { return s.opt }

// Len returns how many tokens are in the KV cache.
func (s *Session) Len() int {
	if s.q == nil {
		return 0
	}
	return s.q.cache.Len()
}

// CacheBytes returns the size of the KV cache.
func (s *Session) CacheBytes() int64 {
	if s.q == nil {
		return 0
	}
	return s.q.cache.Bytes()
}

// Reset forgets the sequence and keeps the memory.
func (s *Session) Reset() error {
	if err := s.acquire(); err != nil {
		return err
	}
	defer s.busy.Store(false)
	s.q.clear()
	return nil
}

// Close lets go of the KV cache. Work on a closed session is refused with
// ErrClosed; closing it again does nothing.
func (s *Session) Close() error {
	err := s.acquire()
	if errors.Is(err, ErrClosed) {
		return nil
	} else if err != nil {
		return err
	}
	s.q, s.parts = nil, [1]gemma.Part{}
	s.busy.Store(false)
	return nil
}

// acquire makes the caller the session's only user until busy is cleared.
func (s *Session) acquire() error {
	if !s.busy.CompareAndSwap(false, true) {
		return ErrBusy
	}
	if s.q == nil {
		s.busy.Store(false)
		return fmt.Errorf("session %w", ErrClosed)
	}
	return nil
}

// Finish says why a generation ended.
type Finish uint8

// The reasons a generation ends.
const (
	FinishStop    Finish = iota + 1 // a stop token was sampled
	FinishLength                    // MaxTokens reached
	FinishContext                   // the KV cache is full
	FinishCaller                    // yield returned false
	FinishError                     // an error or a cancellation, which is returned beside it
)

// Request is one generation.
type Request struct {
	Prompt     []int32         // the whole sequence so far, at least one token
	MaxTokens  int             // most tokens to sample; 0 or less: until the context is full
	Stop       []int32         // sampling one of these ends the generation
	Sampler    *sample.Sampler // owned by this call while it runs
	Constraint Constraint      // the same; nil: every token may come
	Never      []int32         // tokens that may not come, whatever Constraint says
	Logprobs   int             // this many of the most likely tokens are told with every token; 0: none
}

// Result counts one generation. It is filled as far as it went when Generate
// returns an error.
type Result struct {
	Prompt    int           // prompt tokens
	Reused    int           // of them already in the KV cache
	Generated int           // tokens sampled, a stop token included
	Prefill   time.Duration // until the logits of the last prompt token
	First     time.Duration // until the first token was sampled
	Decode    time.Duration // from the first token to the end
	Queued    time.Duration // before all that, of a scheduler's requests
	Drafted   int           // tokens evaluated on trial
	Accepted  int           // of them drawn by the sampler too
	PLE       gemma.PLECounts
	PLEWaits  gemma.PLEWaits    // of every step
	Weights   gemma.WeightStats // what reading weights has cost meanwhile, whoever else computed
	Decoded   int64             // bytes of those, read behind the prompt's last step
	Finish    Finish
}

// Generate continues r.Prompt and calls yield with every sampled token as
// soon as it is known, a stop token included. Tokens that the session has
// already computed for a previous prompt are not computed again where the
// new prompt begins with them.
//
// Cancelling ctx ends the generation between two steps with ctx's cause. After
// an error the session can be used again.
func (s *Session) Generate(ctx context.Context, r Request, yield func(Token) bool) (Result, error) {
	if err := s.acquire(); err != nil {
		return Result{Finish: FinishError}, err
	}
	defer s.busy.Store(false)
	if err := s.e.checkPrompt(r.Prompt, s.opt.Context); err != nil {
		return Result{Prompt: len(r.Prompt), Finish: FinishError}, err
	}
	q := s.q
	q.start(&r)
	for !q.ended() {
		if err := s.step(ctx); err != nil {
			return q.res, err
		}
		for i, t := range q.drawn {
			if !yield(t) {
				q.forget(len(q.drawn) - 1 - i)
				q.end(FinishCaller)
				return q.res, nil
			}
		}
	}
	return q.res, nil
}

// step computes what the sequence wants next and draws.
func (s *Session) step(ctx context.Context) error {
	s.parts[0] = s.q.next(s.opt.Chunk, s.opt.drafts())
	begin := time.Now()
	if err := s.e.forward(ctx, &s.batch, s.use); err != nil {
		return s.q.fail(err)
	}
	s.q.observe(time.Since(begin))
	return nil
}

// take draws from what the step has computed.
func (s *Session) take(logits []float32, rows int, _ error) error {
	s.q.count(0)
	err := s.q.take(logits, rows)
	if err == nil {
		s.q.expect()
	}
	return err
}
