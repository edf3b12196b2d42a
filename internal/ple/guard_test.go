package ple

import (
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// lookAgain makes the next Fetch look at the file.
func (g *guard) lookAgain() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last = time.Time{}
}

// TestOverwrittenFile writes other bytes of the same length into the file under a
// table, and then the right ones again.
func TestOverwrittenFile(t *testing.T) {
	const rows, rowBytes = 400, 500
	for _, kind := range []Kind{Disk, Direct, Mmap} {
		t.Run(string(kind), func(t *testing.T) {
			h := newHome(t, rows, rowBytes)
			src, err := OpenSource(kind, h.spec)
			if errors.Is(err, errors.ErrUnsupported) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer src.Close()
			table, err := Open(src, rows, rowBytes, Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer table.Close()
			hour := time.Now()
			write := func(data []byte) {
				f, err := os.OpenFile(h.spec.Path, os.O_WRONLY, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				if _, err := f.Write(data); err != nil {
					t.Fatal(err)
				}
				if err := os.Chtimes(h.spec.Path, hour, hour); err != nil { // clocks of files are coarse
					t.Fatal(err)
				}
				hour = hour.Add(time.Hour)
			}
			fetch := func(want error) {
				t.Helper()
				until(t, func() bool { // a look may take longer than it is waited for
					table.guard.lookAgain()
					f := table.Fetch([]int32{7, 300})
					defer f.Release()
					err := f.Wait(ctx)
					if err != nil && !strings.Contains(err.Error(), "read row 7 at offset 15820 of "+h.spec.Path) {
						t.Fatalf("error %v", err)
					}
					return errors.Is(err, want)
				})
			}
			fetch(nil)
			write(h.data) // the same: only the time differs
			fetch(nil)
			if s := table.Stats(); s.CacheHits == 0 || s.Checks < 2 {
				t.Errorf("stats %+v", s)
			}
			write(make([]byte, len(h.data)))
			fetch(ErrChanged)
			write(h.data)
			fetch(nil)
			checkParts(t, table.Fetch([]int32{7, 300, 12}), []int32{7, 300, 12}, nil, rowBytes)
			if s := table.Stats(); s.Nameless {
				t.Error("the file has its name")
			}
			if runtime.GOOS == "windows" {
				return
			}
			if err := os.Remove(h.spec.Path); err != nil {
				t.Fatal(err)
			}
			fetch(nil)
			until(t, func() bool {
				table.guard.lookAgain()
				table.Fetch(nil).Release()
				fetch(nil)
				return table.Stats().Nameless
			})
			checkParts(t, table.Fetch([]int32{8, 301}), []int32{8, 301}, nil, rowBytes)
		})
	}
}

// A file is looked at again although its length and time were given back, by what the
// system notes beside them.
func TestTimeGivenBack(t *testing.T) {
	h := newHome(t, 400, 500)
	f, err := os.Open(h.spec.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	look, err := newFstat(f)
	if err != nil {
		t.Fatal(err)
	}
	before, err := look.stamp()
	if err != nil {
		t.Fatal(err)
	}
	if before.changed.IsZero() {
		t.Skip("the system does not tell")
	}
	var after stamp
	until(t, func() bool { // its clock is coarse
		if err = os.WriteFile(h.spec.Path, make([]byte, len(h.data)), 0o644); err == nil {
			err = os.Chtimes(h.spec.Path, before.written, before.written)
		}
		if err == nil {
			after, err = look.stamp()
		}
		if err != nil {
			t.Fatal(err)
		}
		return !after.changed.Equal(before.changed)
	})
	if after.bytes != before.bytes || !after.written.Equal(before.written) {
		t.Fatalf("%+v, before %+v", after, before)
	}
	src, err := OpenSource(Disk, h.spec)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	g := &guard{of: look, src: src, bytes: h.spec.Bytes, opened: before, samples: 1}
	if v := g.look(); !errors.Is(v.err, ErrChanged) {
		t.Errorf("verdict %+v", v)
	}
}

// A change is told while the table is being closed.
func TestChangeDuringClose(t *testing.T) {
	h := newHome(t, 400, 500)
	src, err := OpenSource(Disk, h.spec)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	table, err := Open(src, 400, 500, Options{})
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	tell := table.guard.changed
	table.guard.changed = func() { // with the guard's lock held
		go func() { closed <- table.Close() }()
		until(t, func() bool { // Close has the table's lock, or had it
			if !table.mu.TryLock() {
				return true
			}
			defer table.mu.Unlock()
			return table.closed
		})
		tell()
	}
	if err := os.WriteFile(h.spec.Path, make([]byte, len(h.data)), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(h.spec.Path, time.Now(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { // a look may take longer than it is waited for
		table.guard.lookAgain()
		f := table.Fetch([]int32{7})
		defer f.Release()
		return f.Wait(ctx) != nil
	})
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

// slowFile is a file of which the system tells nothing for a while.
type slowFile struct {
	*file
	gate chan struct{}
}

func (s slowFile) watched() (stamper, error) { return s, nil }

func (s slowFile) stamp() (stamp, error) {
	<-s.gate
	return stamp{}, nil
}

// TestLookThatHangs: rows are read all the same, and Close does not wait for it.
func TestLookThatHangs(t *testing.T) {
	h := newHome(t, 100, 50)
	f, err := openFile(h.spec)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	src := slowFile{f, make(chan struct{}, 1)}
	src.gate <- struct{}{} // for Open
	table, err := Open(src, 100, 50, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		table.guard.lookAgain()
		checkParts(t, table.Fetch([]int32{5}), []int32{5}, nil, 50)
	}
	if s := table.Stats(); s.Checks != 1 {
		t.Errorf("%d looks, want the one that hangs", s.Checks)
	}
	if err := table.Close(); err != nil {
		t.Error(err)
	}
	close(src.gate)
	table.guard.lookAgain()
	late := table.Fetch([]int32{5})
	if err := late.Wait(ctx); !errors.Is(err, ErrClosed) {
		t.Errorf("Fetch after Close: %v", err)
	}
	late.Release()
}
