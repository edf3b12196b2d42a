package gemma

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/plume-run/plume/internal/checkpoint"
)

// ggufBytes is the small GGUF of TestReadConfigGGUF as bytes, and the length of
// its header.
func ggufBytes(t testing.TB) (file []byte, header int) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "m.gguf")
	w, err := checkpoint.CreateGGUF(path, checkpoint.WriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	keys := eTinyKeys()
	for i := 0; i < len(keys); i += 2 {
		if err := w.Set(keys[i].(string), keys[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	data := 0
	for _, s := range eTinyTensors() {
		if err := w.Declare(s.name, s.typ, s.shape); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range eTinyTensors() {
		n := 1
		for _, d := range s.shape {
			n *= d
		}
		n *= s.typ.BlockBytes()
		data += n
		if err := w.Write(s.name, bytes.NewReader(make([]byte, n))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if file, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	return file, len(file) - data
}

// tryGGUF opens a file that may be damaged in any way; it must not panic, and a
// config that it yields must hold together.
func tryGGUF(t *testing.T, data []byte) {
	cat, err := checkpoint.OpenReader("fuzz", bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return
	}
	defer cat.Close()
	c, err := ReadConfig(cat)
	if err != nil {
		return
	}
	if err := c.Validate(); err != nil {
		t.Errorf("an invalid config was returned: %v", err)
	}
	for _, s := range c.Tensors() {
		if _, err := Locate(cat, s); err != nil && err.Error() == "" {
			t.Errorf("%s: an error without a message", s)
		}
	}
}

// TestDamagedGGUF changes every byte of a header in turn.
func TestDamagedGGUF(t *testing.T) {
	file, header := ggufBytes(t)
	for i := range header {
		for _, mask := range []byte{0x01, 0x80, 0xff} {
			file[i] ^= mask
			tryGGUF(t, file)
			file[i] ^= mask
		}
	}
}

func FuzzReadConfigGGUF(f *testing.F) {
	file, header := ggufBytes(f)
	f.Add(file[:header])
	f.Fuzz(func(t *testing.T, head []byte) {
		// The data after the header does not matter, but must be there.
		tryGGUF(t, append(bytes.Clone(head), make([]byte, len(file)-header)...))
	})
}
