package ple

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
)

// ErrOther is wrapped by the error of CheckCopy for a copy that is none.
var ErrOther = errors.New("it has another table than the model's own file")

// Samples of CheckCopy: asked for at once, so that far away they take one round trip.
const (
	copySamples     = 4
	copySampleBytes = 1024
)

// CheckCopy compares samples of a table of so many bytes with those of its copy, which
// is somewhere else. Two models of one size differ in nearly every byte of it.
func CheckCopy(orig, copied io.ReaderAt, tableBytes int64) error {
	var (
		wg   sync.WaitGroup
		errs [copySamples]error
	)
	n := min(copySampleBytes, tableBytes)
	for i := range errs {
		wg.Go(func() {
			off := (tableBytes - n) * int64(i+1) / copySamples // the first rows may be zeros in any model
			var p [2][copySampleBytes]byte
			for k, src := range []io.ReaderAt{orig, copied} {
				if got, err := src.ReadAt(p[k][:n], off); got < int(n) {
					errs[i] = err
					return
				}
			}
			if !bytes.Equal(p[0][:n], p[1][:n]) {
				errs[i] = fmt.Errorf("%w: bytes from table offset %d differ", ErrOther, off)
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
