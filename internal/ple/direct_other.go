//go:build !linux && !darwin

package ple

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

func openUncached(string) (*os.File, error) {
	return nil, fmt.Errorf("%w: direct reads on %s", errors.ErrUnsupported, runtime.GOOS)
}

func alignment(f *os.File, off int64) (int64, error) { return probe(f, off) }
