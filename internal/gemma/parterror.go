package gemma

import (
	"errors"
	"fmt"
)

// PartError is the error of a step in which some parts failed, because a row of the
// per-layer table could not be read, and the others did not: rows do not depend on each
// other, so nothing of what came of those is different.
type PartError struct {
	errs []error // by part; nil: all is well with it
}

// Error tells the first part's.
func (e *PartError) Error() string {
	n, text := 0, ""
	for _, err := range e.errs {
		if err == nil {
			continue
		}
		if n++; n == 1 {
			text = err.Error()
		}
	}
	if n > 1 {
		text = fmt.Sprintf("%s (and %d sequences more)", text, n-1)
	}
	return text
}

// Unwrap returns the errors of all parts that failed.
func (e *PartError) Unwrap() []error {
	var errs []error
	for _, err := range e.errs {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// PartErr returns what Forward's error err means for part i: err itself, unless that is
// a PartError, which may have none for it.
func PartErr(err error, i int) error {
	if parts, ok := errors.AsType[*PartError](err); ok { // errors.As would allocate, in every step
		return parts.errs[i]
	}
	return err
}

// tellApart looks which parts miss rows after a Wait that ended with err. It returns an
// error when none is left that could go on.
func (p *pleStep) tellApart(err error) error {
	if !p.fetch.Here() || len(p.s.parts) == 1 {
		return fmt.Errorf("read per-layer embeddings: %w", err)
	}
	parts, sound := &PartError{errs: make([]error, len(p.s.parts))}, 0
	for i, part := range p.s.parts {
		for row := part.row; row < part.row+part.n && parts.errs[i] == nil; row++ {
			if err := p.fetch.Err(row); err != nil {
				parts.errs[i] = fmt.Errorf("read per-layer embeddings: %w", err)
			}
		}
		if parts.errs[i] == nil {
			sound++
		}
	}
	if sound == 0 {
		return parts
	}
	p.failed = parts
	return nil
}

// partError returns what only some parts suffer from.
func (p *pleStep) partError() error {
	if p.failed == nil {
		return nil
	}
	return p.failed
}
