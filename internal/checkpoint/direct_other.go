//go:build !linux

package checkpoint

import (
	"errors"
	"os"
)

func openDirect(string) (*os.File, error) { return nil, errors.ErrUnsupported }

func unsupportedRead(error) bool { return false }

func hugeBlock(n int) (block []byte, free func()) { return heapBlock(n) }

// isCached cannot tell.
func isCached(*os.File, int64, int64) bool { return false }
