//go:build !linux

package checkpoint

import (
	"errors"
	"os"
)

func openDirect(string) (*os.File, error) { return nil, errors.ErrUnsupported }

func unsupportedRead(error) bool { return false }

func hugeBlock(n int) (block []byte, free func()) { return heapBlock(n) }

// readCached cannot tell.
func readCached(*os.File, []byte, int64) bool { return false }
