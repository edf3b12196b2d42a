package checkpoint

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrCorrupt marks, for errors.Is, every error that says a file breaks the
// rules of its own format. The error is then a [*CorruptError].
var ErrCorrupt = errors.New("corrupt checkpoint")

// ErrUnsupported marks, for errors.Is, every error that says a file may well be
// sound but is of a kind this package does not read.
var ErrUnsupported = errors.New("unsupported checkpoint")

// CorruptError says where a file breaks the rules.
type CorruptError struct {
	Path   string
	Tensor string // "" when no tensor is concerned
	Offset int64  // byte offset in the file, -1 when there is no such place
	Reason string
	Cause  error // may be nil
}

// Error puts the place before the reason.
func (e *CorruptError) Error() string {
	var b strings.Builder
	b.WriteString("read " + e.Path + ": ")
	if e.Tensor != "" {
		b.WriteString("tensor " + strconv.Quote(e.Tensor) + ": ")
	}
	if e.Offset >= 0 {
		fmt.Fprintf(&b, "byte %d: ", e.Offset)
	}
	b.WriteString(e.Reason)
	if e.Cause != nil {
		b.WriteString(": " + e.Cause.Error())
	}
	b.WriteString(" (" + ErrCorrupt.Error() + ")")
	return b.String()
}

// Unwrap makes errors.Is find both ErrCorrupt and the cause.
func (e *CorruptError) Unwrap() []error {
	if e.Cause == nil {
		return []error{ErrCorrupt}
	}
	return []error{ErrCorrupt, e.Cause}
}

// corrupt builds a CorruptError with a formatted reason.
func corrupt(path, tensor string, off int64, format string, args ...any) error {
	return &CorruptError{Path: path, Tensor: tensor, Offset: off, Reason: fmt.Sprintf(format, args...)}
}

// unsupported builds an error of the ErrUnsupported class.
func unsupported(path, format string, args ...any) error {
	return fmt.Errorf("read %s: %s (%w)", path, fmt.Sprintf(format, args...), ErrUnsupported)
}
