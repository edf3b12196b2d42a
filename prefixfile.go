package plume

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"

	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/engine"
)

// prefixFile returns the file in dir for what this model computes, in sessions of that
// many tokens, and a key of everything that the numbers depend on. It makes the folder.
func (m *Model) prefixFile(dir string, context int) (path string, key engine.PrefixKey, err error) {
	if m.opt.Backend != "cpu" {
		return "", key, requestError{fmt.Errorf("keep prefixes in %s: the %s backend does not show its keys and values", dir, m.opt.Backend)}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", key, err
	}
	cat, err := checkpoint.Open(m.path)
	if err != nil {
		return "", key, err
	}
	defer cat.Close()
	h := sha256.New()
	fmt.Fprintf(h, "%s %s %s context=%d draft=%d\n", m.back.Name(), runtime.GOARCH, m.opt.KVType, min(context, m.cfg.SlidingWindow+engine.MaxDraft), engine.MaxDraft)
	if info, ok := debug.ReadBuildInfo(); ok {
		fmt.Fprintln(h, info) // another program may round in another way
	}
	if err := hashModel(h, cat); err != nil {
		return "", key, err
	}
	h.Sum(key[:0])
	return filepath.Join(dir, fmt.Sprintf("%x.prefixes", key[:8])), key, nil
}

// sampleBytes of every tensor, at its beginning and in its middle, tell models apart that
// have the same shape.
const sampleBytes = 64

func hashModel(h hash.Hash, cat *checkpoint.Catalog) error {
	for _, t := range cat.Tensors() {
		fmt.Fprintln(h, t.Name, t.TypeName, t.Shape, t.Bytes)
		for _, off := range []int64{0, t.Bytes / 2} {
			b := make([]byte, min(sampleBytes, t.Bytes-off))
			if _, err := t.ReadAt(b, off); err != nil {
				return err
			}
			h.Write(b)
		}
	}
	if o := cat.Outside(); o != nil {
		fmt.Fprintln(h, *o)
	}
	return nil
}
