package gemma

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/quant"
)

// A file that was only touched is read on; one with other bytes is an error, until it has
// its own again.
func TestWatch(t *testing.T) {
	file := filepath.Join(t.TempDir(), "model.gguf")
	w, err := checkpoint.CreateGGUF(file, checkpoint.WriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(w.Set("general.architecture", "test"), w.Declare("a", quant.I8, []int{50_000}),
		w.Write("a", bytes.NewReader(make([]byte, 50_000))), w.Close())
	if err != nil {
		t.Fatal(err)
	}
	cat, err := checkpoint.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer cat.Close()
	own, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	watch := newWatch(cat)
	if watch == nil {
		t.Fatal("a file cannot be watched")
	}
	other := append(bytes.Clone(own[:len(own)-50_000]), bytes.Repeat([]byte{1}, 50_000)...)
	write := func(data []byte, hours time.Duration) {
		f, err := os.OpenFile(file, os.O_WRONLY, 0) // in place
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.Write(data)
		at := time.Now().Add(hours * time.Hour)
		if err := errors.Join(err, f.Close(), os.Chtimes(file, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	write(other, 1)
	watch.every = time.Hour
	if err := watch.check(); err != nil {
		t.Errorf("looked too soon: %v", err)
	}
	watch.every = 0
	for i, step := range []struct {
		name  string
		bytes []byte
		bad   bool
	}{{"touched", own, false}, {"overwritten", other, true}, {"restored", own, false}} {
		write(step.bytes, time.Duration(i+2))
		err := watch.check()
		if (err != nil) != step.bad || step.bad && (!errors.Is(err, checkpoint.ErrCorrupt) || !strings.Contains(err.Error(), file)) {
			t.Errorf("%s: error %v", step.name, err)
		}
	}
}
