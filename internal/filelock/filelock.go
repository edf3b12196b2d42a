// Package filelock keeps two processes, or two parts of one, from writing the same files.
//
// A lock is a file that is held open; it ends with the process, however that ends, so
// nothing is left to clean up after a crash. The file itself stays: removing it would let
// two holders in. Locks are advisory: they bind those who ask for them. The hub's downloads
// and the engine's prefix file do. Functions may be called from any goroutine.
package filelock

import (
	"errors"
	"os"
)

var (
	// ErrHeld says that somebody else holds the lock.
	ErrHeld = errors.New("locked by another process")
	// ErrNone says that the file system knows no locks.
	ErrNone = errors.New("the file system has no locks")
)

// Lock is a lock that is held until it is closed.
type Lock struct{ f *os.File }

// Try takes the lock of the file at path, which it makes if need be, readable for its
// owner only. It does not wait: ErrHeld says that somebody has it, ErrNone that the file
// system has no locks, so that nobody can. Other errors are those of making the file.
func Try(path string) (*Lock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := try(f); err != nil {
		f.Close()
		return nil, err
	}
	return &Lock{f}, nil
}

// Close lets go of the lock.
func (l *Lock) Close() error { return l.f.Close() }
