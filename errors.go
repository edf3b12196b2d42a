package plume

import (
	"errors"

	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/engine"
)

// Errors that callers tell apart with errors.Is. Everything else is an error of
// the file system or of a context, and keeps its own identity (fs.ErrNotExist,
// context.Canceled, …).
var (
	// ErrCorrupt marks a file that is not what it claims to be: truncated,
	// contradicting itself, or with sizes that cannot be. The message names the
	// file and, where there is one, the tensor and the offset.
	ErrCorrupt = checkpoint.ErrCorrupt

	// ErrUnsupported marks a sound file or a sensible request that this engine,
	// or this model, cannot serve: another architecture, tools on a model
	// without tool tokens, pictures.
	ErrUnsupported = errors.New("unsupported")

	// ErrNoTokenizer marks a model without vocabulary that was asked for
	// something with text. Token ids still work. It is also an ErrUnsupported.
	ErrNoTokenizer = markedError{"model has no tokenizer", ErrUnsupported}

	// ErrContextFull marks a prompt longer than the session's context.
	ErrContextFull = engine.ErrContextFull

	// ErrBusy marks a session that is already generating: a session belongs to
	// one goroutine at a time.
	ErrBusy = engine.ErrBusy

	// ErrClosed marks a session that has been closed, or whose model has.
	ErrClosed = engine.ErrClosed

	// ErrToken marks a token id outside the vocabulary.
	ErrToken = engine.ErrToken

	// ErrRequest marks a request or options that contradict themselves or are
	// out of range.
	ErrRequest = errors.New("bad request")
)

// markedError is a sentinel that is also of a wider class.
type markedError struct {
	text  string
	class error
}

func (e markedError) Error() string { return e.text }
func (e markedError) Unwrap() error { return e.class }

// requestError marks err as ErrRequest without changing its text.
type requestError struct{ err error }

func (e requestError) Error() string   { return e.err.Error() }
func (e requestError) Unwrap() []error { return []error{e.err, ErrRequest} }

// unsupportedError marks err as ErrUnsupported without changing its text.
type unsupportedError struct{ err error }

func (e unsupportedError) Error() string   { return e.err.Error() }
func (e unsupportedError) Unwrap() []error { return []error{e.err, ErrUnsupported} }
