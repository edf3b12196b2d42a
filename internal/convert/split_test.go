package convert

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/quant"
)

// TestSplitPLE: the two parts are the model, and the second has the table alone.
func TestSplitPLE(t *testing.T) {
	cfg, dir := synthConfig(t, "e-tiny"), t.TempDir()
	o := SynthOptions{Types: Types{Type: quant.Q8_0}}
	whole := filepath.Join(dir, "whole.gguf")
	if _, err := Synth(t.Context(), cfg, whole, o); err != nil {
		t.Fatal(err)
	}
	var last, of int64
	o.SplitPLE, o.Progress = true, func(done, total int64) {
		if done < last {
			t.Errorf("progress goes back from %d to %d", last, done)
		}
		last, of = done, total
	}
	r, err := Synth(t.Context(), cfg, filepath.Join(dir, "m.gguf"), o)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{filepath.Join(dir, "m-00001-of-00002.gguf"), filepath.Join(dir, "m-00002-of-00002.gguf")}
	if !slices.Equal(r.Files, want) || last != of || last != r.Bytes {
		t.Errorf("files %v, %d of %d bytes told, %d written", r.Files, last, of, r.Bytes)
	}
	a, b := open(t, whole), open(t, r.Files[0])
	if len(a.Tensors()) != len(b.Tensors()) || !slices.Equal(a.Meta().Keys(), b.Meta().Keys()) {
		t.Fatalf("%d and %d tensors, keys %v and %v", len(a.Tensors()), len(b.Tensors()), a.Meta().Keys(), b.Meta().Keys())
	}
	for _, x := range a.Tensors() {
		y := b.Lookup(x.Name)
		file, _ := y.Location()
		if (file == r.Files[1]) != strings.HasPrefix(x.Name, "per_layer_token_embd") {
			t.Errorf("%s is in %s", x.Name, file)
		}
		p, errX := io.ReadAll(io.NewSectionReader(x, 0, x.Bytes))
		q, errY := io.ReadAll(io.NewSectionReader(y, 0, y.Bytes))
		if errX != nil || errY != nil || !bytes.Equal(p, q) {
			t.Errorf("%s differs (%v, %v)", x.Name, errX, errY)
		}
	}
	// The parts may be put together again, not from the first alone, and not over themselves.
	again := filepath.Join(dir, "again.gguf")
	if _, err := Convert(t.Context(), b, again, Options{Types: o.Types}); err != nil {
		t.Error(err)
	}
	if _, err := Convert(t.Context(), b, filepath.Join(dir, "m.gguf"), Options{Types: o.Types, SplitPLE: true}); err == nil || !strings.Contains(err.Error(), "it is the source") {
		t.Errorf("over its source: %v", err)
	}
	b.Close()
	if err := os.Remove(r.Files[1]); err != nil {
		t.Fatal(err)
	}
	if _, err := Convert(t.Context(), open(t, r.Files[0]), filepath.Join(dir, "none.gguf"), Options{Types: o.Types}); err == nil || !strings.Contains(err.Error(), "not here") {
		t.Errorf("without the table: %v", err)
	}
}

// A conversion that fails at any point keeps the two files that were there, and nothing of
// itself; parts of two conversions are no model.
func TestSplitPLEKeepsThePair(t *testing.T) {
	dir := t.TempDir()
	var last []byte
	for i, typ := range []quant.Type{quant.Q8_0, quant.Q4_0} {
		bits := quant.Q8_0 // so that the tables differ in content alone
		o := Options{Types: Types{Type: typ, PLE: &bits}, SplitPLE: true}
		src := withWeights(t, func(name string, data []byte) {
			if strings.HasSuffix(name, "embed_tokens_per_layer.weight") {
				data[1] ^= byte(i)
			}
		})
		r, err := Convert(t.Context(), open(t, src), filepath.Join(dir, "m.gguf"), o)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			if last, err = os.ReadFile(r.Files[1]); err != nil {
				t.Fatal(err)
			}
		}
	}
	files := []string{filepath.Join(dir, "m-00001-of-00002.gguf"), filepath.Join(dir, "m-00002-of-00002.gguf")}
	before := contents(t, dir)
	total := int64(0)
	for _, stop := range []float64{0.01, 0.6, 0.9} { // in the table, and in the rest
		ctx, cancel := context.WithCancel(t.Context())
		_, err := Convert(ctx, tiny(t, "e-tiny"), filepath.Join(dir, "m.gguf"), Options{Types: Types{Type: quant.BF16}, SplitPLE: true,
			Progress: func(done, of int64) {
				if total = of; float64(done) >= stop*float64(of) {
					cancel()
				}
			}})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("stopped at %g of %d: %v", stop, total, err)
		}
		if after := contents(t, dir); !maps.Equal(before, after) {
			t.Errorf("stopped at %g of %d: the files have changed: %d before, %d after", stop, total, len(before), len(after))
		}
	}
	open(t, files[0]).Close()
	if err := os.WriteFile(files[1], last, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := checkpoint.Open(files[0]); !errors.Is(err, checkpoint.ErrCorrupt) || !strings.Contains(err.Error(), files[1]) || !strings.Contains(err.Error(), "values are others") {
		t.Errorf("a table of another conversion: %v", err)
	}
}

// contents are the files in a folder.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		data, readErr := os.ReadFile(filepath.Join(dir, e.Name()))
		files[e.Name()], err = string(data), errors.Join(err, readErr)
	}
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// A key that cannot be written leaves nothing.
func TestBadKeyLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	for _, key := range []string{"a", "b\x00", "split.no"} {
		o := output{dst: filepath.Join(dir, "x.gguf"), meta: []keyValue{{"a", "b"}, {key, "c"}}}
		if err := o.write(t.Context()); err == nil || !strings.Contains(err.Error(), "key") {
			t.Errorf("key %q: error %v", key, err)
		}
	}
	expectNothing(t, dir)
}

func TestSplitPLERefused(t *testing.T) {
	dir := t.TempDir()
	o := SynthOptions{Types: Types{Type: quant.BF16}, SplitPLE: true}
	if _, err := Synth(t.Context(), synthConfig(t, "moe-tiny"), filepath.Join(dir, "m.gguf"), o); err == nil || !strings.Contains(err.Error(), "no per-layer table") {
		t.Errorf("without a table: %v", err)
	}
	if _, err := Synth(t.Context(), synthConfig(t, "e-tiny"), filepath.Join(dir, "m.safetensors"), o); err == nil || !strings.Contains(err.Error(), "are not split") {
		t.Errorf("safetensors: %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}
