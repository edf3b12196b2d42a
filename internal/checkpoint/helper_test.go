package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/plume-run/plume/internal/quant"
)

// raw builds GGUF bytes by hand, independently of the writer.
type raw struct{ b []byte }

func (r *raw) u8(v uint8) *raw    { r.b = append(r.b, v); return r }
func (r *raw) u32(v uint32) *raw  { r.b = binary.LittleEndian.AppendUint32(r.b, v); return r }
func (r *raw) u64(v uint64) *raw  { r.b = binary.LittleEndian.AppendUint64(r.b, v); return r }
func (r *raw) put(s string) *raw  { r.b = append(r.b, s...); return r }
func (r *raw) text(s string) *raw { return r.u64(uint64(len(s))).put(s) }
func (r *raw) head(version uint32, tensors, keys uint64) *raw {
	return r.put("GGUF").u32(version).u64(tensors).u64(keys)
}
func (r *raw) tensor(name string, typ uint32, off uint64, dims ...uint64) *raw {
	r.text(name).u32(uint32(len(dims)))
	for _, d := range dims {
		r.u64(d)
	}
	return r.u32(typ).u64(off)
}
func (r *raw) align(n int) *raw {
	for len(r.b)%n != 0 {
		r.b = append(r.b, 0)
	}
	return r
}
func (r *raw) data(n int) *raw {
	for i := range n {
		r.b = append(r.b, byte(i))
	}
	return r
}

// smallGGUF is a sound file with keys of many kinds and three tensors.
func smallGGUF(version uint32) []byte {
	r := (&raw{}).head(version, 3, 7)
	r.text("general.architecture").u32(kindString).text("gemma4")
	r.text("n").u32(kindUint32).u32(7)
	r.text("f").u32(kindFloat32).u32(0x3f800000)
	r.text("b").u32(kindBool).u8(1)
	r.text("list").u32(kindArray).u32(kindInt32).u64(2).u32(5).u32(0xffffffff)
	r.text("words").u32(kindArray).u32(kindString).u64(3).text("a").text("").text("▁bc")
	r.text("flags").u32(kindArray).u32(kindBool).u64(2).u8(1).u8(0)
	r.tensor("one", uint32(quant.F32), 0, 3, 2)
	r.tensor("two", uint32(quant.Q8_0), 32, 32)
	r.tensor("three", uint32(quant.BF16), 96, 1, 2, 3, 4)
	return r.align(32).data(24).align(32).data(34).align(32).data(48).b
}

// smallSafetensors is a sound file with two tensors and a scalar.
func smallSafetensors() []byte {
	return safetensorsOf(`{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},`+
		`"b":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]},"c":{"dtype":"I64","shape":[],"data_offsets":[32,40]}} `, 40)
}

func safetensorsOf(header string, dataBytes int) []byte {
	return (&raw{}).text(header).data(dataBytes).b
}

func openBytes(b []byte) (*Catalog, error) {
	return OpenReader("test", bytes.NewReader(b), int64(len(b)))
}

func mustOpen(t *testing.T, path string) *Catalog {
	t.Helper()
	c, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func writeFile(t *testing.T, dir, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// tensorBytes reads a whole tensor.
func tensorBytes(t *testing.T, x *Tensor) []byte {
	t.Helper()
	if x == nil {
		t.Fatal("no such tensor")
	}
	b, err := io.ReadAll(io.NewSectionReader(x, 0, x.Bytes))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// readAllTensors touches every byte that a Catalog offers.
func readAllTensors(c *Catalog) error {
	for _, x := range c.Tensors() {
		if _, err := io.Copy(io.Discard, io.NewSectionReader(x, 0, x.Bytes)); err != nil && !errors.Is(err, ErrUnsupported) {
			return err
		}
	}
	return nil
}

// allocated returns the bytes that f allocates in all, freed ones included.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// wantMarked fails unless err is of one of the two marked classes.
func wantMarked(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrUnsupported) {
		t.Fatalf("error %v is neither ErrCorrupt nor ErrUnsupported", err)
	}
}
