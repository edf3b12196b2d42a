package checkpoint

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"github.com/plume-run/plume/internal/quant"
)

// directModel writes a file whose last tensor ends anywhere but on a page.
func directModel(t *testing.T) (path string, cat *Catalog) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "model.gguf")
	r := (&raw{}).head(3, 2, 1)
	r.text("general.architecture").u32(kindString).text("gemma4")
	r.tensor("first", 0, 0, 5000)
	r.tensor("last", 0, 20000, 3001)
	r.align(32)
	for range 20000 + 4*3001 {
		r.u8(uint8(rand.IntN(256)))
	}
	if err := os.WriteFile(path, r.b, 0o666); err != nil {
		t.Fatal(err)
	}
	cat, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cat.Close() })
	return path, cat
}

func TestReadDirect(t *testing.T) {
	path, cat := directModel(t)
	rng := rand.New(rand.NewPCG(1, 1))
	for _, tensor := range cat.Tensors() {
		buf := directBuffer(t, int(tensor.Bytes))
		for range 200 {
			off := rng.Int64N(tensor.Bytes)
			want := make([]byte, 1+rng.Int64N(tensor.Bytes-off))
			if _, err := tensor.ReadAt(want, off); err != nil {
				t.Fatal(err)
			}
			got, err := tensor.ReadDirect(buf, off, len(want))
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%s: %d bytes at %d: error %v", tensor.Name, len(want), off, err)
			}
		}
		for _, r := range [][2]int64{{-1, 4}, {tensor.Bytes - 3, 4}, {tensor.Bytes + 1, 0}} {
			if _, err := tensor.ReadDirect(buf, r[0], int(r[1])); err == nil {
				t.Errorf("%s: %d bytes at %d were read", tensor.Name, r[1], r[0])
			}
		}
	}
	last := cat.Lookup("last")
	if err := os.Truncate(path, last.off+9000); err != nil {
		t.Fatal(err)
	}
	buf := directBuffer(t, 4096)
	if _, err := last.ReadDirect(buf, 4100, 4096); err != nil {
		t.Errorf("what is left of a truncated file: %v", err)
	}
	_, err := last.ReadDirect(buf, 8000, 4000)
	if broken := new(CorruptError); !errors.As(err, &broken) || broken.Path != path || broken.Tensor != "last" {
		t.Errorf("truncated file: error %v", err)
	}
}

// A file that is no longer under its name is read on through the descriptor.
func TestReadDirectOfAReplacedFile(t *testing.T) {
	path, cat := directModel(t)
	first := cat.Lookup("first")
	want := make([]byte, 100)
	if _, err := first.ReadAt(want, 50); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, path+".old"); err != nil {
		t.Skip(err)
	}
	if err := os.WriteFile(path, make([]byte, 60000), 0o666); err != nil {
		t.Fatal(err)
	}
	if got, err := first.ReadDirect(directBuffer(t, 100), 50, 100); err != nil || !bytes.Equal(got, want) {
		t.Errorf("another file's bytes, or error %v", err)
	}
}

// directBuffer is a buffer of the test's own.
func directBuffer(t *testing.T, n int) []byte {
	bufs, free := DirectBuffers(1, n)
	t.Cleanup(free)
	return bufs[0]
}

func TestDirectBuffers(t *testing.T) {
	for _, n := range []int{1, 100, 4096, 300_000, 3 << 20} {
		bufs, free := DirectBuffers(3, n)
		var sum int64
		for i, b := range bufs {
			sum += int64(cap(b))
			if len(b) < n+directAlign || uintptr(unsafe.Pointer(&b[0]))%directAlign != 0 {
				t.Errorf("%d bytes: buffer %d has %d at %p", n, i, len(b), &b[0])
			}
			for k := range b {
				if b[k] != 0 {
					t.Fatalf("%d bytes: buffer %d shares memory with another", n, i)
				}
				b[k] = 1
			}
		}
		if sum != DirectBuffersBytes(3, n) {
			t.Errorf("%d bytes: took %d, said %d", n, sum, DirectBuffersBytes(3, n))
		}
		free()
	}
}

func TestReadPlace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "model.gguf")
	w, err := CreateGGUF(path, WriterOptions{Alignment: 4096})
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, 100_000)
	for i := range want {
		want[i] = byte(rand.IntN(256))
	}
	err = errors.Join(w.Set("general.architecture", "test"), w.Declare("a", quant.I8, []int{len(want)}),
		w.Write("a", bytes.NewReader(want)), w.Close())
	if err != nil {
		t.Fatal(err)
	}
	cat, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer cat.Close()
	a := cat.Lookup("a")
	buf, mem := directBuffer(t, len(want)), directBuffer(t, len(want)+4096)
	for _, c := range []struct {
		name         string
		at, off, n   int
		room, intact int // of capacity, and how many bytes after the n must stay
	}{
		{"whole", 0, 0, 100_000, 102_400, 0},
		{"pages", 4096, 8192, 12288, 12288, 4096},
		{"no room for the last page", 0, 8192, 5000, 5000, 4096},
		{"address", 100, 4096, 8192, 8192, 4096},
		{"offset", 4096, 100, 8192, 8192, 4096},
		{"nothing", 0, 0, 0, 0, 100},
	} {
		clear(mem)
		dst := mem[c.at : c.at+c.n : c.at+c.room]
		if err := a.ReadPlace(dst, buf, int64(c.off)); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if !bytes.Equal(dst, want[c.off:c.off+c.n]) {
			t.Errorf("%s: other bytes", c.name)
		}
		if after := mem[c.at+c.n:][:c.intact]; !bytes.Equal(after, make([]byte, c.intact)) {
			t.Errorf("%s: wrote beyond its place", c.name)
		}
	}
	for _, off := range []int64{-4096, 98_304, 200_000} {
		if err := a.ReadPlace(mem[:4096:4096], buf, off); err == nil {
			t.Errorf("read 4096 bytes at %d", off)
		}
	}
	if err := os.Truncate(path, a.off+50_000); err != nil {
		t.Fatal(err)
	}
	if err := a.ReadPlace(mem[:100_000], buf, 0); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a file cut short: %v", err)
	}
}

func TestCached(t *testing.T) {
	_, cat := directModel(t)
	last := cat.Lookup("last")
	for _, r := range [][2]int{{0, int(last.Bytes) + 1}, {-1, 2}, {5, 0}} {
		if last.Cached(int64(r[0]), r[1]) {
			t.Errorf("%d bytes at %d are cached", r[1], r[0])
		}
	}
	if _, err := last.ReadAt(make([]byte, last.Bytes), 0); err != nil {
		t.Fatal(err)
	}
	t.Logf("just read, and in the page cache: %v", last.Cached(0, int(last.Bytes))) // a system may forget, or not tell
}
