package plume

import (
	"errors"
	"strings"
	"testing"
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
}
