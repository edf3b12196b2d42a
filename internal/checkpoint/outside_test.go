package checkpoint

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/plume-run/plume/internal/quant"
)

// writePart writes a part with one tensor [4, 2048] float32 and returns its data.
func writePart(t *testing.T, path, tensor string, p Part) []byte {
	t.Helper()
	data := (&raw{}).data(4 * 2048 * 4).b
	w, err := CreateGGUF(path, WriterOptions{Part: &p})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if p.No == 0 {
		if err := w.Set("general.architecture", "gemma4"); err != nil {
			t.Fatal(err)
		}
	}
	err = w.Declare(tensor, quant.F32, []int{4, 2048})
	if err == nil {
		err = w.Write(tensor, bytes.NewReader(data))
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return data
}

// twoParts writes a model whose second part may be away, changed by change.
func twoParts(t *testing.T, change func(*Outside)) (first, second string) {
	t.Helper()
	dir := t.TempDir()
	first, second = filepath.Join(dir, PartName("m", 0, 2)), filepath.Join(dir, PartName("m", 1, 2))
	p := Part{No: 1, Count: 2, Tensors: 2}
	writePart(t, second, "table", p)
	o, err := DescribePart(second)
	if err != nil {
		t.Fatal(err)
	}
	change(o)
	p.No, p.Outside = 0, o
	writePart(t, first, "rest", p)
	return first, second
}

// TestOutside: a split model opens without its last part where the first describes it.
func TestOutside(t *testing.T) {
	first, second := twoParts(t, func(*Outside) {})
	whole := mustOpen(t, first)
	if whole.Outside() != nil || len(whole.Tensors()) != 2 || len(whole.Meta().Keys()) != 1 {
		t.Errorf("outside %+v, %d tensors, keys %v", whole.Outside(), len(whole.Tensors()), whole.Meta().Keys())
	}
	table := whole.Lookup("table")
	sum, err := Samples(table, table.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	_, off := table.Location()
	if err := whole.Close(); err != nil { // or Windows keeps the file
		t.Fatal(err)
	}
	if err := os.Remove(second); err != nil {
		t.Fatal(err)
	}
	c := mustOpen(t, first)
	o, away := c.Outside(), c.Lookup("table")
	if o == nil || away == nil || len(c.Tensors()) != 1 {
		t.Fatalf("outside %+v, %d tensors", o, len(c.Tensors()))
	}
	path, at := away.Location()
	if path != second || at != off || o.Offset != off || away.Bytes != table.Bytes || away.Values() != table.Values() || o.Samples != sum {
		t.Errorf("%+v at %d of %s, want %+v at %d of %s", away, at, path, table, off, second)
	}
	if _, err := away.ReadAt(make([]byte, 4), 0); !errors.Is(err, ErrOutside) || !strings.Contains(err.Error(), second) {
		t.Errorf("read: %v", err)
	}
	if _, err := Samples(away, away.Bytes); !errors.Is(err, ErrOutside) {
		t.Errorf("samples: %v", err)
	}
}

// TestSamples: every sample counts, and so does a short tensor's only byte.
func TestSamples(t *testing.T) {
	data := (&raw{}).data(1 << 20).b
	want, err := Samples(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	last := len(data) - outsideSampleBytes
	for i := range outsideSamples {
		at := last / (outsideSamples - 1) * i
		if i == outsideSamples-1 {
			at = len(data) - 1
		}
		data[at] ^= 1
		if got, err := Samples(bytes.NewReader(data), int64(len(data))); err != nil || got == want {
			t.Errorf("sample %d does not count: %v", i, err)
		}
		data[at] ^= 1
	}
	a, _ := Samples(bytes.NewReader([]byte{1}), 1)
	b, _ := Samples(bytes.NewReader([]byte{2}), 1)
	if a == b || len(a) != 64 {
		t.Errorf("of one byte: %q, %q", a, b)
	}
	if _, err := Samples(bytes.NewReader(data[:100]), 5000); err == nil {
		t.Error("a reader that ends early has samples")
	}
}

// A last part that is here must be the one that the first was written with.
func TestOutsideMixed(t *testing.T) {
	for want, change := range map[string]func(*Outside){
		"want 99999":               func(o *Outside) { o.FileBytes = 99999 },
		"want table F32 [2 4096]":  func(o *Outside) { o.Shape = []int{2, 4096} },
		"want tables F32":          func(o *Outside) { o.Name = "tables" },
		"want table I32":           func(o *Outside) { o.Type = quant.I32 },
		"[4 2048] at 0":            func(o *Outside) { o.Offset = 0 },
		"its values are others":    func(o *Outside) { o.Samples = strings.Repeat("0", len(o.Samples)) },
		"split.outside.samples is": func(o *Outside) { o.Samples = "?" },
	} {
		first, second := twoParts(t, change)
		for _, path := range []string{first, second} {
			if _, err := Open(path); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), first) {
				t.Errorf("error %v, want %q", err, want)
			}
		}
	}
	// The last part describes one tensor, so it has no more.
	first, second := twoParts(t, func(*Outside) {})
	w, err := CreateGGUF(second, WriterOptions{Part: &Part{No: 1, Count: 2, Tensors: 2}})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(first); !errors.Is(err, ErrCorrupt) {
		t.Errorf("without a table: %v", err)
	}
}

func TestOutsideDamaged(t *testing.T) {
	for want, change := range map[string]func(*Outside){
		"split.outside.name is":       func(o *Outside) { o.Name = "a\x01" },
		"split.outside.shape is":      func(o *Outside) { o.Shape = []int{4, -1} },
		"split.outside.offset is":     func(o *Outside) { o.Offset = -1 },
		"split.outside.file_bytes is": func(o *Outside) { o.FileBytes = 100 },
		"split.outside.samples is":    func(o *Outside) { o.Samples = "?" },
		"name occurs twice":           func(o *Outside) { o.Name = "rest" },
	} {
		first, second := twoParts(t, change)
		if err := os.Remove(second); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(first); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	// The first part cannot be done without, described or not.
	first, second := twoParts(t, func(*Outside) {})
	if err := os.Remove(first); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(second); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "part 1 of 2 is missing") {
		t.Errorf("without the first part: %v", err)
	}
}
