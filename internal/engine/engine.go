// Package engine turns a bound model into sequences of tokens: it prefills
// prompts in chunks, runs the decode loop, samples, and measures.
//
// It knows token ids only. Text, chat templates, stop strings and events are
// the root package's business, numbers are gemma's, and drawing a token from a
// row of logits is sample's.
//
// An Engine may be shared by any number of goroutines: its steps are handed
// out one at a time, so sessions of several goroutines interleave step by
// step. A Session belongs to one goroutine at a time; a second Generate on it
// while one runs returns ErrBusy instead of racing. A Scheduler serves any number
// of goroutines and computes their sequences together, the weights being read once
// for all. The Engine does not own the model: whoever bound it closes it, after the
// last session and scheduler.
package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/plume-run/plume/internal/gemma"
)

// Errors that callers tell apart with errors.Is.
var (
	// ErrContextFull marks a prompt that does not fit the session's context.
	ErrContextFull = gemma.ErrContextFull
	// ErrBusy marks a session that is already generating.
	ErrBusy = errors.New("session busy")
	// ErrClosed marks a session that has been closed, or whose model has.
	ErrClosed = errors.New("closed")
	// ErrOverloaded marks a request for which a scheduler's queue has no room.
	ErrOverloaded = errors.New("overloaded")
	// ErrToken marks a token id outside the vocabulary.
	ErrToken = errors.New("token outside the vocabulary")
)

// DefaultChunk is how many prompt tokens one prefill step takes when the
// caller does not say. Chunks bound the activations' memory and how long
// a cancelled prefill goes on; they never change a result.
const DefaultChunk = 256

// DefaultEvalChunk is the default when a row of logits is wanted for every token:
// 32 rows of a 262,144-entry vocabulary are 33.5 MB.
const DefaultEvalChunk = 32

// Engine hands out forward steps of one model.
type Engine struct {
	model *gemma.Model
	cfg   *gemma.Config
	step  chan struct{} // holds one value while a step runs
	done  chan struct{} // closed by Close
	once  sync.Once
}

// New returns an engine over m, which must outlive it.
func New(m *gemma.Model) *Engine {
	return &Engine{model: m, cfg: m.Config(), step: make(chan struct{}, 1), done: make(chan struct{})}
}

// Close waits for the step that runs and refuses all later ones with ErrClosed,
// so that the model and its memory can go. It must not be called from a
// callback of Evaluate, which runs within a step.
func (e *Engine) Close() {
	e.once.Do(func() {
		close(e.done)
		e.step <- struct{}{} // for good
	})
}

// closed returns ErrClosed after Close.
func (e *Engine) closed() error {
	select {
	case <-e.done:
		return fmt.Errorf("model %w", ErrClosed)
	default:
		return nil
	}
}

// turn runs f when nothing else uses the model.
func (e *Engine) turn(ctx context.Context, f func() error) error {
	select {
	case e.step <- struct{}{}:
	case <-e.done:
		return e.closed()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-e.step }()
	if err := e.closed(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	return f()
}

// useLogits is lent the logits [rows, V] f32 of a step, which it must not keep. failed is
// the gemma.PartError of a step in which several sequences took part, or nil.
type useLogits func(logits []float32, rows int, failed error) error

// forward runs one batch when its turn comes and lends its logits to use, unless all
// parts failed for one reason.
func (e *Engine) forward(ctx context.Context, b *gemma.Batch, use useLogits) error {
	return e.turn(ctx, func() error {
		logits, rows, err := e.model.Forward(ctx, b)
		if _, some := errors.AsType[*gemma.PartError](err); err != nil && !some || use == nil {
			return err
		}
		return use(logits, rows, err)
	})
}

// checkIDs refuses an empty prompt and ids outside the vocabulary before
// anything is computed.
func (e *Engine) checkIDs(ids []int32) error {
	if len(ids) == 0 {
		return errors.New("read prompt: no tokens")
	}
	for i, id := range ids {
		if id < 0 || int(id) >= e.cfg.VocabSize {
			return fmt.Errorf("read prompt: token %d at %d, vocabulary %d: %w", id, i, e.cfg.VocabSize, ErrToken)
		}
	}
	return nil
}

// checkPrompt refuses what cannot be continued in a context of that many tokens.
func (e *Engine) checkPrompt(ids []int32, context int) error {
	if err := e.checkIDs(ids); err != nil {
		return err
	}
	if len(ids) > context {
		return fmt.Errorf("prefill %d tokens into a context of %d: %w", len(ids), context, ErrContextFull)
	}
	return nil
}

// suppress makes the ids that the model's generation settings forbid
// impossible. logits [V] f32 belong to the current step and may be written.
func (e *Engine) suppress(logits []float32) {
	for _, id := range e.cfg.SuppressTokens {
		if id >= 0 && int(id) < len(logits) {
			logits[id] = float32(math.Inf(-1))
		}
	}
}
