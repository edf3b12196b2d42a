package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/plume-run/plume/internal/quant"
)

// everyKind is a value of each kind that Set takes.
var everyKind = []struct {
	key   string
	value any
}{
	{"general.architecture", "gemma4"}, {"u8", uint8(1)}, {"i8", int8(-1)}, {"u16", uint16(2)}, {"i16", int16(-2)}, {"u32", uint32(3)},
	{"i32", int32(-3)}, {"u64", uint64(4)}, {"i64", int64(-4)}, {"f32", float32(0.5)}, {"f64", 0.25}, {"bool", true}, {"empty", ""},
	{"a.u8", []uint8{1, 2}}, {"a.i8", []int8{-1}}, {"a.u16", []uint16{2}}, {"a.i16", []int16{-2}}, {"a.u32", []uint32{3}},
	{"a.i32", []int32{-3, 3}}, {"a.u64", []uint64{4}}, {"a.i64", []int64{-4}}, {"a.f32", []float32{0.5, -1}}, {"a.f64", []float64{0.25}},
	{"a.bool", []bool{true, false, true}}, {"a.str", []string{"", "▁x", "\xff"}}, {"a.none", []int32{}},
}

type written struct {
	name  string
	typ   quant.Type
	shape []int
	data  []byte
}

func sampleTensors() []written {
	fill := func(n int) []byte { return (&raw{}).data(n).b }
	return []written{
		{"token_embd.weight", quant.Q8_0, []int{3, 64}, fill(3 * 68)},
		{"blk.0.attn_norm.weight", quant.F32, []int{5}, fill(20)},
		{"scalar", quant.F32, nil, fill(4)},
		{"four", quant.BF16, []int{2, 1, 3, 1}, fill(12)},
		{"big", quant.Q4_K, []int{300, 512}, fill(300 * 288)},
	}
}

func writeSample(t *testing.T, path string, opt WriterOptions) {
	t.Helper()
	w, err := CreateGGUF(path, opt)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	for _, kv := range everyKind {
		if err := w.Set(kv.key, kv.value); err != nil {
			t.Fatal(err)
		}
	}
	for _, x := range sampleTensors() {
		if err := w.Declare(x.name, x.typ, x.shape); err != nil {
			t.Fatal(err)
		}
	}
	for i, x := range sampleTensors() {
		if i%2 == 0 {
			err = w.Write(x.name, bytes.NewReader(x.data))
		} else {
			err = w.WriteFunc(x.name, func(to io.Writer) error {
				for piece := range slices.Chunk(x.data, 7) {
					if _, err := to.Write(piece); err != nil {
						return err
					}
				}
				return nil
			})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestGGUFRoundTrip(t *testing.T) {
	for _, align := range []uint32{0, 1, 32, 4096} {
		path := filepath.Join(t.TempDir(), "m.gguf")
		writeSample(t, path, WriterOptions{Alignment: align})
		c := mustOpen(t, path)
		for _, kv := range everyKind {
			if got := c.Meta().Raw(kv.key); !reflect.DeepEqual(got, kv.value) {
				t.Errorf("%s: got %#v, want %#v", kv.key, got, kv.value)
			}
		}
		if got := c.Meta().Raw(ggufAlignmentKey); (got != nil) != (align == 1 || align == 4096) {
			t.Errorf("alignment %d stored as %v", align, got)
		}
		for i, x := range sampleTensors() {
			got := c.Tensors()[i]
			if got.Name != x.name || got.Type != x.typ || !slices.Equal(got.Shape, x.shape) || !bytes.Equal(tensorBytes(t, got), x.data) {
				t.Errorf("tensor %d differs: %+v", i, got)
			}
		}
		if left, _ := filepath.Glob(path + ".part"); left != nil {
			t.Error("part file is still there")
		}
	}
}

// TestGGUFBytes reads a written file with a second, strict reader that shares
// nothing with this package: the rules are those of the format's other readers.
func TestGGUFBytes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.gguf")
	writeSample(t, path, WriterOptions{})
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	le, at := binary.LittleEndian, 0
	next := func(n int) []byte { at += n; return b[at-n : at] }
	str := func() string { n := le.Uint64(next(8)); return string(next(int(n))) }
	if string(next(4)) != "GGUF" || le.Uint32(next(4)) != 3 {
		t.Fatal("wrong magic or version")
	}
	nTensors, nKeys := le.Uint64(next(8)), le.Uint64(next(8))
	if int(nTensors) != len(sampleTensors()) || int(nKeys) != len(everyKind) {
		t.Fatalf("%d tensors, %d keys", nTensors, nKeys)
	}
	width := map[uint32]int{0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
	value := func(kind uint32) {
		if kind == 8 {
			str()
		} else if width[kind] == 0 {
			t.Fatalf("kind %d", kind)
		} else {
			next(width[kind])
		}
	}
	for i := range everyKind {
		if key := str(); key != everyKind[i].key {
			t.Fatalf("key %d is %q", i, key)
		}
		kind := le.Uint32(next(4))
		if kind != 9 {
			value(kind)
			continue
		}
		kind = le.Uint32(next(4))
		for range le.Uint64(next(8)) {
			value(kind)
		}
	}
	var offsets []uint64
	for _, x := range sampleTensors() {
		if name := str(); name != x.name || len(name) >= 64 {
			t.Fatalf("name %q, want %q", name, x.name)
		}
		dims := make([]int, le.Uint32(next(4)))
		for i := range dims {
			dims[i] = int(le.Uint64(next(8)))
		}
		slices.Reverse(dims)
		if !slices.Equal(dims, append([]int{}, x.shape...)) || le.Uint32(next(4)) != uint32(x.typ) {
			t.Fatalf("%s: dimensions %v or type", x.name, dims)
		}
		offsets = append(offsets, le.Uint64(next(8)))
	}
	start, want := (at+31)/32*32, uint64(0)
	for _, pad := range b[at:start] {
		if pad != 0 {
			t.Fatal("padding is not zero")
		}
	}
	for i, x := range sampleTensors() {
		if offsets[i] != want || !bytes.Equal(b[start+int(want):][:len(x.data)], x.data) {
			t.Fatalf("%s: offset %d, want %d, or data", x.name, offsets[i], want)
		}
		want += uint64(len(x.data)+31) / 32 * 32
	}
	if len(b) != start+int(want) {
		t.Errorf("file has %d bytes, want %d: the last tensor is padded too", len(b), start+int(want))
	}
}

func TestSafetensorsRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.safetensors")
	w, err := CreateSafetensors(path)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if err := w.SetMetadata("format", "pt"); err != nil {
		t.Fatal(err)
	}
	fill := func(n int) []byte { return (&raw{}).data(n).b }
	list := []written{
		{"f64", quant.F64, []int{1}, fill(8)}, {"f32", quant.F32, []int{2, 3}, fill(24)}, {"i64", quant.I64, nil, fill(8)},
		{"bf16 \"quoted\"", quant.BF16, []int{5}, fill(10)}, {"i16", quant.I16, []int{1}, fill(2)}, {"i8", quant.I8, []int{3}, fill(3)},
		{"f16", quant.F16, []int{1}, fill(2)}, {"i32", quant.I32, []int{1}, fill(4)}, {"none", quant.F32, []int{0, 4}, nil},
	}
	for _, x := range list {
		if err := w.Declare(x.name, x.typ, x.shape); err != nil {
			t.Fatal(err)
		}
	}
	for _, x := range list {
		if err := w.Write(x.name, bytes.NewReader(x.data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	c := mustOpen(t, path)
	for i, x := range list {
		got := c.Tensors()[i]
		if got.Name != x.name || got.Type != x.typ || !slices.Equal(got.Shape, x.shape) || !bytes.Equal(tensorBytes(t, got), x.data) {
			t.Errorf("tensor %d differs: %+v", i, got)
		}
	}
	b, _ := os.ReadFile(path)
	if n := binary.LittleEndian.Uint64(b); n%8 != 0 || !strings.HasPrefix(string(b[8:]), `{"__metadata__":{"format":"pt"},"f64":{"dtype":"F64","shape":[1],"data_offsets":[0,8]},`) {
		t.Errorf("header %q", b[:100])
	}
}

// TestEmptyFiles: files without tensors are sound.
func TestEmptyFiles(t *testing.T) {
	dir := t.TempDir()
	g, err := CreateGGUF(filepath.Join(dir, "a.gguf"), WriterOptions{})
	if err == nil {
		err = errors.Join(g.Set("k", "v"), g.Close(), g.Close())
	}
	s, err2 := CreateSafetensors(filepath.Join(dir, "b.safetensors"))
	if err2 == nil {
		err2 = s.Close()
	}
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	for _, name := range []string{"a.gguf", "b.safetensors"} {
		if c := mustOpen(t, filepath.Join(dir, name)); len(c.Tensors()) != 0 {
			t.Errorf("%s has tensors", name)
		}
	}
}

// TestWriterErrors: each misuse is named, sticks, and leaves no file behind.
func TestWriterErrors(t *testing.T) {
	zeros := func(n int) io.Reader { return bytes.NewReader(make([]byte, n)) }
	declared := func(w *GGUFWriter) error { return w.Declare("a", quant.F32, []int{2}) }
	cases := []struct {
		name string
		do   func(w *GGUFWriter) error
		want string
	}{
		{"key twice", func(w *GGUFWriter) error { return errors.Join(w.Set("k", true), w.Set("k", true)) }, "set twice"},
		{"int", func(w *GGUFWriter) error { return w.Set("k", 1) }, "value of type int"},
		{"nested", func(w *GGUFWriter) error { return w.Set("k", [][]int32{{1}}) }, "value of type [][]int32"},
		{"alignment", func(w *GGUFWriter) error { return w.Set(ggufAlignmentKey, uint32(64)) }, "WriterOptions"},
		{"split", func(w *GGUFWriter) error { return w.Set(splitCountKey, uint16(2)) }, "split"},
		{"empty key", func(w *GGUFWriter) error { return w.Set("", true) }, "is empty"},
		{"long name", func(w *GGUFWriter) error { return w.Declare(strings.Repeat("x", 64), quant.F32, []int{1}) }, "longer than 63"},
		{"name twice", func(w *GGUFWriter) error { return errors.Join(declared(w), declared(w)) }, "declared twice"},
		{"rank 5", func(w *GGUFWriter) error { return w.Declare("a", quant.F32, []int{1, 1, 1, 1, 1}) }, "5 dimensions"},
		{"dimension 0", func(w *GGUFWriter) error { return w.Declare("a", quant.F32, []int{0}) }, "not positive"},
		{"negative", func(w *GGUFWriter) error { return w.Declare("a", quant.F32, []int{-1, 4}) }, "not positive"},
		{"overflow", func(w *GGUFWriter) error { return w.Declare("a", quant.F32, []int{1 << 62, 1 << 62, 4}) }, "2^63"},
		{"part of a block", func(w *GGUFWriter) error { return w.Declare("a", quant.Q4_K, []int{2, 128}) }, "multiple of 256"},
		{"unknown type", func(w *GGUFWriter) error { return w.Declare("a", 99, []int{1}) }, "unknown type"},
		{"not declared", func(w *GGUFWriter) error { return w.Write("a", zeros(8)) }, "all declared tensors are written"},
		{"wrong order", func(w *GGUFWriter) error { return errors.Join(declared(w), w.Write("b", zeros(8))) }, `next in declared order is "a"`},
		{"short", func(w *GGUFWriter) error { return errors.Join(declared(w), w.Write("a", zeros(7))) }, "1 bytes short of 8"},
		{"long", func(w *GGUFWriter) error { return errors.Join(declared(w), w.Write("a", zeros(9))) }, "longer than declared"},
		{"long, ignored", func(w *GGUFWriter) error {
			return errors.Join(declared(w), w.WriteFunc("a", func(to io.Writer) error {
				_, _ = to.Write(make([]byte, 8))
				_, _ = to.Write(make([]byte, 1))
				return nil
			}))
		}, "longer than declared"},
		{"source fails", func(w *GGUFWriter) error {
			return errors.Join(declared(w), w.WriteFunc("a", func(io.Writer) error { return errors.New("disk on fire") }))
		}, `tensor "a": disk on fire`},
		{"declared late", func(w *GGUFWriter) error {
			return errors.Join(declared(w), w.Write("a", zeros(8)), w.Declare("b", quant.F32, nil))
		}, "after the first tensor's data"},
		{"not written", func(w *GGUFWriter) error { return errors.Join(declared(w), w.Close()) }, `1 of 1 declared tensors are missing, first "a"`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "m.gguf")
			w, err := CreateGGUF(path, WriterOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if err := c.do(w); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want %q in it", err, c.want)
			}
			if err := w.Close(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Close: %v", err)
			}
			w.Abort()
			if left, _ := filepath.Glob(path + "*"); left != nil {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestAbortKeepsOldFile(t *testing.T) {
	path := writeFile(t, t.TempDir(), "m.gguf", []byte("old"))
	w, err := CreateGGUF(path, WriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.Abort()
	if err := w.Set("k", true); !errors.Is(err, errAborted) {
		t.Errorf("Set after Abort: %v", err)
	}
	if b, err := os.ReadFile(path); string(b) != "old" || err != nil {
		t.Errorf("%q %v", b, err)
	}
	if _, err := CreateGGUF(filepath.Dir(path), WriterOptions{}); err == nil {
		t.Error("a folder was accepted as a file")
	}
	if _, err := CreateGGUF(path, WriterOptions{Alignment: 24}); err == nil {
		t.Error("alignment 24 was accepted")
	}
}

func TestSafetensorsWriterErrors(t *testing.T) {
	for name, declare := range map[string]func(w *SafetensorsWriter) error{
		"cannot hold Q4_0": func(w *SafetensorsWriter) error { return w.Declare("a", quant.Q4_0, []int{32}) },
		"reserved":         func(w *SafetensorsWriter) error { return w.Declare(metadataEntry, quant.F32, nil) },
		"negative":         func(w *SafetensorsWriter) error { return w.Declare("a", quant.F32, []int{-1}) },
		"2^63":             func(w *SafetensorsWriter) error { return w.Declare("a", quant.F32, []int{1 << 40, 1 << 40}) },
		"17 dimensions":    func(w *SafetensorsWriter) error { return w.Declare("a", quant.F32, make([]int, 17)) },
	} {
		w, err := CreateSafetensors(filepath.Join(t.TempDir(), "m.safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		if err := declare(w); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error %v, want %q in it", err, name)
		}
	}
}

// TestWriterStreams: a tensor far larger than the buffers passes through.
func TestWriterStreams(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.gguf")
	const rows, cols = 4096, 4096
	used := allocated(func() {
		w, err := CreateGGUF(path, WriterOptions{})
		if err == nil {
			err = w.Declare("w", quant.Q8_0, []int{rows, cols})
		}
		if err == nil {
			err = w.Write("w", io.LimitReader(zeroReader{}, rows*cols/32*34))
		}
		if err == nil {
			err = w.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	if used > 4<<20 {
		t.Errorf("%d bytes allocated for %d of data", used, rows*cols/32*34)
	}
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func ExampleCreateGGUF() {
	dir, _ := os.MkdirTemp("", "plume")
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "tiny.gguf")
	w, err := CreateGGUF(path, WriterOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer w.Abort()
	_ = w.Set("general.architecture", "gemma4") // errors stick: Close repeats them
	_ = w.Declare("output_norm.weight", quant.F32, []int{2})
	_ = w.Write("output_norm.weight", bytes.NewReader(make([]byte, 8)))
	if err := w.Close(); err != nil {
		fmt.Println(err)
		return
	}
	c, err := Open(path)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	for _, t := range c.Tensors() {
		fmt.Println(t.Name, t.Type, t.Shape)
	}
	// Output: output_norm.weight F32 [2]
}
