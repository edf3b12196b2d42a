package checkpoint

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"
)

// sound are the files that the tests here break.
func sound() map[string][]byte {
	return map[string][]byte{"gguf v2": smallGGUF(2), "gguf v3": smallGGUF(3), "safetensors": smallSafetensors()}
}

// TestTruncation cuts a file at every byte: each cut is found when the file is
// opened.
func TestTruncation(t *testing.T) {
	for name, file := range sound() {
		if _, err := openBytes(file); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for n := range file {
			if _, err := openBytes(file[:n]); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s cut to %d of %d bytes: %v", name, n, len(file), err)
			}
		}
	}
}

// TestBitFlips flips every bit in turn: what opens must be readable, what does
// not must say so, and neither may take much memory.
func TestBitFlips(t *testing.T) {
	for name, file := range sound() {
		opened := 0
		for bit := range len(file) * 8 {
			flipped := bytes.Clone(file)
			flipped[bit/8] ^= 1 << (bit % 8)
			used := allocated(func() {
				c, err := openBytes(flipped)
				if err != nil {
					wantMarked(t, err)
					return
				}
				opened++
				if err := readAllTensors(c); err != nil {
					t.Errorf("%s bit %d: %v", name, bit, err)
				}
			})
			if used > 1<<20 {
				t.Errorf("%s bit %d: %d bytes allocated", name, bit, used)
			}
		}
		t.Logf("%s: %d of %d flips still open (data, text and plain values)", name, opened, len(file)*8)
	}
}

// patternReader is a file of any length: head, then zeros.
type patternReader struct{ head []byte }

func (r *patternReader) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	if off < int64(len(r.head)) {
		copy(p, r.head[off:])
	}
	return len(p), nil
}

// TestHugeFiles: in a file that is long enough for them, huge counts are held
// by the bounds of the header.
func TestHugeFiles(t *testing.T) {
	key := func() *raw { return (&raw{}).head(3, 0, 1).text("k") }
	for name, head := range map[string]*raw{
		"tensors":      (&raw{}).head(3, 1<<40, 0),
		"keys":         (&raw{}).head(3, 0, 1<<40),
		"text":         key().u32(kindString).u64(1 << 40),
		"numbers":      key().u32(kindArray).u32(kindUint8).u64(1 << 40),
		"strings":      key().u32(kindArray).u32(kindString).u64(1 << 40),
		"string in it": key().u32(kindArray).u32(kindString).u64(2).u64(1 << 40),
	} {
		used := allocated(func() {
			if _, err := OpenReader("huge.gguf", &patternReader{head.b}, 1<<50); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s: %v", name, err)
			}
		})
		if used > 1<<20 {
			t.Errorf("%s: %d bytes allocated", name, used)
		}
	}
}

// faultyReader fails, or ends early, from byte failAt on.
type faultyReader struct {
	data   []byte
	failAt int64
	err    error // nil: return fewer bytes without an error
}

func (r *faultyReader) ReadAt(p []byte, off int64) (int, error) {
	n := copy(p, r.data[min(off, int64(len(r.data))):])
	if end := off + int64(len(p)); end > r.failAt {
		return int(max(0, min(int64(n), r.failAt-off))), r.err
	}
	return n, nil
}

// TestFaultyReader: a failing disk is not a corrupt file, a short one is.
func TestFaultyReader(t *testing.T) {
	broken := errors.New("input/output error")
	for name, file := range sound() {
		size := int64(len(file))
		for failAt := range size {
			for _, fault := range []error{broken, io.EOF, io.ErrUnexpectedEOF, nil} {
				c, err := OpenReader("faulty", &faultyReader{file, failAt, fault}, size)
				if err == nil {
					err = readAllTensors(c)
				}
				switch {
				case err == nil && !onlyPadding(file, failAt):
					t.Fatalf("%s failing at %d with %v: no error", name, failAt, fault)
				case err != nil && fault == broken && (!errors.Is(err, broken) || errors.Is(err, ErrCorrupt)):
					t.Fatalf("%s failing at %d: %v", name, failAt, err)
				case err != nil && fault != broken && !errors.Is(err, ErrCorrupt):
					t.Fatalf("%s failing at %d with %v: %v, want ErrCorrupt", name, failAt, fault, err)
				}
			}
		}
	}
}

// onlyPadding reports whether nothing from byte at on is ever read.
func onlyPadding(file []byte, at int64) bool {
	c, err := openBytes(file)
	if err != nil {
		return false
	}
	for _, x := range c.Tensors() {
		if _, off := x.Location(); off+x.Bytes > at {
			return false
		}
	}
	return true
}

// TestErrorPlace: a failed read names path, tensor and offset.
func TestErrorPlace(t *testing.T) {
	file := smallGGUF(3)
	disk := &faultyReader{file, int64(len(file)), iotest.ErrTimeout}
	c, err := OpenReader("dir/x.gguf", disk, int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	disk.failAt -= 48
	_, err = c.Lookup("three").ReadAt(make([]byte, 4), 8)
	for _, part := range []string{"dir/x.gguf", `"three"`, "4 bytes at byte 488", "timeout"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error %v, want %q in it", err, part)
		}
	}
}

// TestShrunkFile: a file cut while it is open gives an error and no fault.
func TestShrunkFile(t *testing.T) {
	for name, file := range sound() {
		path := writeFile(t, t.TempDir(), "model", file)
		c := mustOpen(t, path)
		if err := os.Truncate(path, int64(len(file))-1); err != nil {
			t.Skip(err) // not allowed on an open file here
		}
		last := c.Tensors()[len(c.Tensors())-1]
		n, err := last.ReadAt(make([]byte, last.Bytes), 0)
		var place *CorruptError
		if n != 0 || !errors.As(err, &place) || place.Path != path || place.Tensor != last.Name {
			t.Errorf("%s: %d %v", name, n, err)
		}
	}
}

func TestClosed(t *testing.T) {
	c, err := Open(writeFile(t, t.TempDir(), "m.gguf", smallGGUF(3)))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Close(), c.Close()); err != nil {
		t.Error(err)
	}
	if _, err := c.Lookup("one").ReadAt(make([]byte, 1), 0); !errors.Is(err, os.ErrClosed) || errors.Is(err, ErrCorrupt) {
		t.Errorf("read after Close: %v", err)
	}
}

func FuzzGGUF(f *testing.F) {
	f.Add(smallGGUF(2))
	f.Add(smallGGUF(3))
	f.Add((&raw{}).head(3, 1, 1).text(ggufAlignmentKey).u32(kindUint32).u32(64).tensor("w", 12, 0, 256, 2).align(64).data(288).b)
	f.Add((&raw{}).head(3, 0, 1).text("k").u32(kindArray).u32(kindString).u64(2).text("x").text("yz").b)
	f.Add((&raw{}).head(3, 1<<63, 1<<63).b)
	f.Fuzz(func(t *testing.T, file []byte) { checkFuzzed(t, file, "fuzz.gguf") })
}

func FuzzSafetensors(f *testing.F) {
	f.Add(smallSafetensors())
	f.Add(safetensorsOf(`{"w":{"dtype":"F8_E4M3","shape":[0,3],"data_offsets":[0,0],"x":{"y":[1,null]}}}`, 0))
	f.Add(safetensorsOf(`{}`, 0))
	f.Add((&raw{}).u64(1 << 63).put(`{`).b)
	f.Fuzz(func(t *testing.T, file []byte) { checkFuzzed(t, file, "fuzz.safetensors") })
}

// checkFuzzed opens a file of any bytes: it fails with a marked error, or its
// tensors lie in the file, have unique names and can be read.
func checkFuzzed(t *testing.T, file []byte, name string) {
	c, err := OpenReader(name, bytes.NewReader(file), int64(len(file)))
	if err != nil {
		wantMarked(t, err)
		return
	}
	total := int64(0)
	for _, x := range c.Tensors() {
		values := int64(1)
		for _, dim := range x.Shape {
			values *= int64(dim)
		}
		_, off := x.Location()
		if values != x.Values() || off < 0 || off+x.Bytes > int64(len(file)) || c.Lookup(x.Name) != x {
			t.Fatalf("%+v in a file of %d bytes", x, len(file))
		}
		total += x.Bytes
	}
	if total > int64(len(file)) {
		t.Fatalf("tensors of %d bytes in a file of %d", total, len(file))
	}
	if err := readAllTensors(c); err != nil {
		t.Fatal(err)
	}
	for _, key := range c.Meta().Keys() {
		if c.Meta().Kind(key) == "" {
			t.Fatalf("key %q has no value", key)
		}
	}
}
