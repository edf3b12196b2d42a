//go:build !unix

package ple

import "errors"

// canTryRead says that tryRead works here.
const canTryRead = false

func tryRead(uintptr, []byte) (int, error) { return 0, errors.ErrUnsupported }
