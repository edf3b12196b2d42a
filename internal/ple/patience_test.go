package ple

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// What hangs is left behind, and cleaned up when it comes back; what only takes long is not.
func TestWithin(t *testing.T) {
	gate, late := make(chan struct{}), make(chan int)
	hangs := func() (int, error) {
		<-gate
		return 7, nil
	}
	if v, err := Within(time.Millisecond, nil, hangs, func(v int) { late <- v }); !errors.Is(err, ErrSlow) || v != 0 || !strings.Contains(err.Error(), "1ms") {
		t.Errorf("%d, error %v", v, err)
	}
	close(gate)
	if v := <-late; v != 7 {
		t.Errorf("late: %d", v)
	}
	never := func(int) { t.Error("it was not late") }
	if v, err := Within(Patience(-1), nil, hangs, never); v != 7 || err != nil {
		t.Errorf("%d, error %v", v, err)
	}
	if _, err := Within(Patience(0), nil, func() (int, error) { return 0, errDisk }, never); !errors.Is(err, errDisk) {
		t.Errorf("error %v", err)
	}
	// It ends after it has been looked at ten times, each time further on.
	var looks atomic.Int64
	enough := make(chan struct{})
	seen := func() int64 {
		if n := looks.Add(1); n != 10 {
			return n
		}
		close(enough)
		return 10
	}
	slow := func() (int, error) {
		<-enough
		return 1, nil
	}
	if v, err := Within(time.Millisecond, seen, slow, never); v != 1 || err != nil {
		t.Errorf("while it goes on: %d, error %v", v, err)
	}
}

// Half of the patience must pass twice, with nothing in between.
func TestHungDeviceHasTwoStrikes(t *testing.T) {
	s := Begin(3)
	for i, step := range []struct {
		ended int64
		out   bool
	}{{3, false}, {4, false}, {4, false}, {5, false}, {5, false}, {5, true}} {
		if out := s.Out(step.ended); out != step.out {
			t.Errorf("look %d: out is %v", i, out)
		}
	}
}

// A table is not waited for without end: neither for its samples nor for its device's first
// block.
func TestOpenOnAHungDevice(t *testing.T) {
	for name, hang := range map[string]func(Source, chan struct{}) Source{
		"samples": func(src Source, gate chan struct{}) Source { return stuck{src, gate} },
		"device":  func(src Source, gate chan struct{}) Source { return stuckDevice{src, gate} },
	} {
		t.Run(name, func(t *testing.T) {
			src, err := OpenSource(Disk, newHome(t, 100, 8).spec)
			if err != nil {
				t.Fatal(err)
			}
			defer src.Close()
			gate := make(chan struct{})
			defer close(gate)
			if _, err := Open(hang(src, gate), 100, 8, Options{Timeout: time.Millisecond}); !errors.Is(err, ErrSlow) || !strings.Contains(err.Error(), src.Traits().Name) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// A device whose every read takes most of the patience is slow, and does not hang: the table
// opens, and Auto has its answer.
func TestOpenOnASlowDevice(t *testing.T) {
	const rows, rowBytes, patience = 400, 50, time.Second
	h := newHome(t, rows, rowBytes)
	synctest.Test(t, func(t *testing.T) {
		h.spec.Through = func(src Source) (Source, error) { return lazy{src, patience * 7 / 10}, nil }
		src, err := OpenSource(Disk, h.spec)
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		table, err := Open(src, rows, rowBytes, Options{Timeout: patience})
		if err != nil {
			t.Fatal(err)
		}
		defer table.Close()
		checkParts(t, table.Fetch([]int32{5}), []int32{5}, nil, rowBytes)

		var ended atomic.Int64
		h.spec.Ended = func() { ended.Add(1) }
		auto, err := Within(patience, ended.Load, func() (Source, error) {
			src, _, err := Auto(h.spec, rowBytes, 0)
			return src, err
		}, func(Source) { t.Error("it was late") })
		if err != nil {
			t.Fatal(err)
		}
		auto.Close()
	})
}

// lazy is a file whose reads take long.
type lazy struct {
	Source
	each time.Duration
}

func (l lazy) ReadAt(p []byte, off int64) (int, error) {
	time.Sleep(l.each)
	return l.Source.ReadAt(p, off)
}

func (l lazy) watched() (stamper, error) { return l.Source.(watched).watched() }

// stuckDevice is a source whose own device waits for the gate.
type stuckDevice struct {
	Source
	gate chan struct{}
}

func (s stuckDevice) newDevice(*Table, int) device {
	<-s.gate
	return nil
}

// stuck is a file of which every read waits for the gate.
type stuck struct {
	Source
	gate chan struct{}
}

func (s stuck) ReadAt(p []byte, off int64) (int, error) {
	<-s.gate
	return s.Source.ReadAt(p, off)
}

func (s stuck) watched() (stamper, error) { return s.Source.(watched).watched() }
