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
	e     *Engine
	opt   SessionOptions
	cache *gemma.Cache
	seq   []int32 // tokens of the sequence; the first cache.Len() of them are in the cache
	busy  atomic.Bool

	lookup lookup
	pace   pace
	batch  gemma.Batch
	parts  [1]gemma.Part
	trial  []int32                                // the tokens of a decode step: the last of seq and drafts
	drawn  []int32                                // the tokens that a decode step yielded
	draw   func(logits []float32, rows int) error // drawRows, made once
	r      *Request                               // of the generation that is running
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
	slack := MaxDraft
	if o.NoDraft {
		slack = 0
	}
	cache, err := e.model.NewCache(o.Context, slack)
	if err != nil {
		return nil, fmt.Errorf("allocate kv cache of %d tokens: %w", o.Context, err)
	}
	return &Session{e: e, opt: o, cache: cache}, nil
}

// Options returns the settings in force, defaults filled in.
func (s *Session) Options() SessionOptions { return s.opt }

// Len returns how many tokens are in the KV cache.
func (s *Session) Len() int {
	if s.cache == nil {
		return 0
	}
	return s.cache.Len()
}

// CacheBytes returns the size of the KV cache.
func (s *Session) CacheBytes() int64 {
	if s.cache == nil {
		return 0
	}
	return s.cache.Bytes()
}

// Reset forgets the sequence and keeps the memory.
func (s *Session) Reset() error {
	if err := s.acquire(); err != nil {
		return err
	}
	defer s.busy.Store(false)
	s.clear()
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
	s.seq, s.cache = nil, nil
	s.busy.Store(false)
	return nil
}

// acquire makes the caller the session's only user until busy is cleared.
func (s *Session) acquire() error {
	if !s.busy.CompareAndSwap(false, true) {
		return ErrBusy
	}
	if s.cache == nil {
		s.busy.Store(false)
		return fmt.Errorf("session %w", ErrClosed)
	}
	return nil
}

func (s *Session) clear() {
	s.cache.Reset()
	s.seq = s.seq[:0]
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
	Prompt    []int32         // the whole sequence so far, at least one token
	MaxTokens int             // most tokens to sample; 0 or less: until the context is full
	Stop      []int32         // sampling one of these ends the generation
	Sampler   *sample.Sampler // owned by this call while it runs
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
	Drafted   int           // tokens evaluated on trial
	Accepted  int           // of them drawn by the sampler too
	Finish    Finish
}

// Generate continues r.Prompt and calls yield with every sampled token as
// soon as it is known, a stop token included. Tokens that the session has
// already computed for a previous prompt are not computed again where the
// new prompt begins with them.
//
// Cancelling ctx ends the generation between two steps with ctx's cause. After
// an error the session can be used again.
func (s *Session) Generate(ctx context.Context, r Request, yield func(id int32) bool) (Result, error) {
	if err := s.acquire(); err != nil {
		return Result{Finish: FinishError}, err
	}
	defer s.busy.Store(false)
	res := Result{Prompt: len(r.Prompt), Finish: FinishError}
	if err := s.e.checkIDs(r.Prompt); err != nil {
		return res, err
	}
	if len(r.Prompt) > s.opt.Context {
		return res, fmt.Errorf("prefill %d tokens into a context of %d: %w", len(r.Prompt), s.opt.Context, ErrContextFull)
	}
	start := time.Now()
	id, err := s.prefill(ctx, &r, &res)
	if err != nil {
		return res, err
	}
	res.First = time.Since(start)
	first := time.Now()
	res.Finish, err = s.decode(ctx, &r, id, &res, yield)
	res.Decode = time.Since(first)
	return res, err
}

// prefill brings the cache to the end of the prompt and samples the first
// token.
func (s *Session) prefill(ctx context.Context, r *Request, res *Result) (int32, error) {
	start := time.Now()
	res.Reused = s.reuse(r.Prompt)
	s.seq = append(s.seq[:res.Reused], r.Prompt[res.Reused:]...)
	for at := res.Reused; ; {
		end := min(at+s.opt.Chunk, len(r.Prompt))
		if end == len(r.Prompt) {
			break
		}
		if err := s.advance(ctx, at, end, gemma.WantNone, nil); err != nil {
			return 0, err
		}
		at = end
	}
	var id int32
	err := s.advance(ctx, s.cache.Len(), len(r.Prompt), gemma.WantLast, func(logits []float32, rows int) (err error) {
		res.Prefill = time.Since(start)
		id, err = s.sample(r, logits)
		return err
	})
	return id, err
}

// reuse returns how many tokens of prompt the cache keeps. The last prompt
// token is always computed, since its logits are wanted. Sliding rings forget
// what they overwrite, so a cache that cannot go back starts afresh.
func (s *Session) reuse(prompt []int32) int {
	have := s.cache.Len()
	n := 0
	for n < have && n < len(prompt)-1 && s.seq[n] == prompt[n] {
		n++
	}
	if n == have || s.cache.Truncate(n) {
		return n
	}
	s.clear()
	return 0
}

// advance computes tokens [at, end) of the sequence. After an error the
// sequence is cut to what the cache holds.
func (s *Session) advance(ctx context.Context, at, end int, want gemma.Want, use func([]float32, int) error) error {
	if err := s.step(ctx, s.seq[at:end], want, use); err != nil {
		return fmt.Errorf("compute tokens %d to %d: %w", at, end, err)
	}
	return nil
}

// step computes ids after what the cache holds.
func (s *Session) step(ctx context.Context, ids []int32, want gemma.Want, use func([]float32, int) error) error {
	s.parts[0] = gemma.Part{Cache: s.cache, IDs: ids, Want: want}
	s.batch.Parts = s.parts[:]
	err := s.e.forward(ctx, &s.batch, use)
	if err != nil {
		// A step that failed halfway leaves a cache that cannot go on; one
		// that was refused leaves it as it was.
		if n := s.cache.Len(); s.cache.Truncate(n) {
			s.seq = s.seq[:n]
		} else {
			s.clear()
		}
	}
	return err
}

// errNoChoice is what damaged weights come to: every logit is NaN or -Inf.
var errNoChoice = errors.New("sample: the logits leave no token to choose; are the weights damaged?")

// sample draws a token from logits [V] f32 and appends it to the sequence.
func (s *Session) sample(r *Request, logits []float32) (int32, error) {
	s.e.suppress(logits)
	id := r.Sampler.Sample(logits, s.seq)
	if id < 0 {
		return 0, errNoChoice
	}
	s.seq = append(s.seq, id)
	return id, nil
}
