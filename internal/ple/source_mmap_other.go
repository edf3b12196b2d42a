//go:build !linux && !darwin

package ple

import (
	"errors"
	"fmt"
	"runtime"
)

func openMmap(Spec) (*file, error) {
	return nil, fmt.Errorf("%w: mappings on %s", errors.ErrUnsupported, runtime.GOOS)
}
