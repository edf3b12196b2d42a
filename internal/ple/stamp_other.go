//go:build !unix

package ple

import "os"

// fstat asks for the state of a file. Open files do not lose their name on Windows.
type fstat struct{ f *os.File }

func newFstat(f *os.File) (*fstat, error) { return &fstat{f}, nil }

func (a *fstat) stamp() (stamp, error) {
	st, err := a.f.Stat()
	if err != nil {
		return stamp{}, err
	}
	return stamp{bytes: st.Size(), written: st.ModTime()}, nil
}
