package plume

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/ple"
)

// stuck is a table of which every read waits for the gate.
type stuck struct {
	ple.Source
	gate chan struct{}
}

func (s stuck) ReadAt(p []byte, off int64) (int, error) {
	<-s.gate
	return s.Source.ReadAt(p, off)
}

// Opening a model ends although the device that has its table hangs, and says which file.
func TestOpenOnAHungDevice(t *testing.T) {
	gate := make(chan struct{})
	defer close(gate)
	file := demoPath(t)
	at, row, rows := tableIn(t, file)
	spec := ple.Spec{Path: file, Offset: at, Bytes: row * int64(rows)}
	spec.Through = func(src ple.Source) (ple.Source, error) { return stuck{src, gate}, nil }
	if _, err := openFile("auto", spec, int(row), 0, 2*time.Millisecond); !errors.Is(err, ple.ErrSlow) || !strings.Contains(err.Error(), "open table "+file) {
		t.Errorf("error %v", err)
	}
	hangs := func(string) (*checkpoint.Catalog, error) {
		<-gate
		return nil, errors.New("late")
	}
	if _, err := openCatalog("some.gguf", time.Millisecond, hangs); !errors.Is(err, ple.ErrSlow) || !strings.Contains(err.Error(), "header of some.gguf") {
		t.Errorf("error %v", err)
	}
	if _, err := describeTable(spec, 2*time.Millisecond); !errors.Is(err, ple.ErrSlow) || !strings.Contains(err.Error(), "samples of "+file) {
		t.Errorf("error %v", err)
	}
	cat, pass := readBy(t, file, func() { <-gate })
	pass.Store(false)
	if err := hashModel(sha256.New(), cat, 2*time.Millisecond); !errors.Is(err, ple.ErrSlow) || !strings.Contains(err.Error(), "samples of "+file) {
		t.Errorf("error %v", err)
	}
}

// readBy opens the model in a file, of which every read first does wait unless it may pass.
func readBy(t *testing.T, file string, wait func()) (*checkpoint.Catalog, *atomic.Bool) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	r := &waiting{Reader: bytes.NewReader(data), wait: wait}
	r.pass.Store(true)
	cat, err := checkpoint.OpenReader(file, r, int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	return cat, &r.pass
}

type waiting struct {
	*bytes.Reader
	wait func()
	pass atomic.Bool
}

func (w *waiting) ReadAt(p []byte, off int64) (int, error) {
	if !w.pass.Load() {
		w.wait()
	}
	return w.Reader.ReadAt(p, off)
}

// lazy is a table of which every read takes long.
type lazy struct {
	ple.Source
	each time.Duration
}

func (l lazy) ReadAt(p []byte, off int64) (int, error) {
	time.Sleep(l.each)
	return l.Source.ReadAt(p, off)
}

// A device whose every read takes most of the patience is slow, and does not hang.
func TestOpenOnASlowDevice(t *testing.T) {
	const patience, each = time.Second, 700 * time.Millisecond
	file := demoPath(t)
	at, row, rows := tableIn(t, file)
	cat, pass := readBy(t, file, func() { time.Sleep(each) })
	pass.Store(false)
	synctest.Test(t, func(t *testing.T) {
		spec := ple.Spec{Path: file, Offset: at, Bytes: row * int64(rows)}
		spec.Through = func(src ple.Source) (ple.Source, error) { return lazy{src, each}, nil }
		o, err := openFile("auto", spec, int(row), 0, patience)
		if err != nil {
			t.Fatal(err)
		}
		o.Close()
		if _, err := describeTable(spec, patience); err != nil {
			t.Error(err)
		}
		if err := hashModel(sha256.New(), cat, patience); err != nil {
			t.Error(err)
		}
	})
}

// Every model is opened with a deadline.
func TestEveryOpenHasADeadline(t *testing.T) {
	within := map[string]int{"packed.go": 1} // calls in an argument of openCatalog
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(src), "checkpoint.Open("); n > within[name] && !strings.HasSuffix(name, "_test.go") {
			t.Errorf("%s opens %d files without a deadline: openModel or openCatalog has one", name, n)
		}
	}
}
