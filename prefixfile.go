package plume

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/engine"
	"github.com/plume-run/plume/internal/ple"
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
	cat, err := openModel(m.path, m.opt.PLETimeout)
	if err != nil {
		return "", key, err
	}
	defer cat.Close()
	h := sha256.New()
	fmt.Fprintf(h, "%s %s %s context=%d draft=%d\n", m.back.Name(), runtime.GOARCH, m.opt.KVType, min(context, m.cfg.SlidingWindow+engine.MaxDraft), engine.MaxDraft)
	if info, ok := debug.ReadBuildInfo(); ok {
		fmt.Fprintln(h, info) // another program may round in another way
	}
	if err := hashModel(h, cat, ple.Patience(m.opt.PLETimeout)); err != nil {
		return "", key, err
	}
	h.Sum(key[:0])
	return filepath.Join(dir, fmt.Sprintf("%x.prefixes", key[:8])), key, nil
}

// sampleBytes of every tensor, at its beginning and in its middle, tell models apart that
// have the same shape.
const sampleBytes = 64

// hashModel writes what tells the model in cat from others to h. It ends when no sample has
// come for patience, with h in use.
func hashModel(h hash.Hash, cat *checkpoint.Catalog, patience time.Duration) error {
	var read atomic.Int64
	_, err := ple.Within(patience, read.Load, func() (struct{}, error) {
		for _, t := range cat.Tensors() {
			fmt.Fprintln(h, t.Name, t.TypeName, t.Shape, t.Bytes)
			for _, off := range []int64{0, t.Bytes / 2} {
				b := make([]byte, min(sampleBytes, t.Bytes-off))
				if _, err := t.ReadAt(b, off); err != nil {
					return struct{}{}, err
				}
				read.Add(1)
				h.Write(b)
			}
		}
		return struct{}{}, nil
	}, func(struct{}) {})
	if errors.Is(err, ple.ErrSlow) {
		return fmt.Errorf("read samples of %s: %w", cat.Path(), err)
	}
	if o := cat.Outside(); o != nil && err == nil {
		fmt.Fprintln(h, *o)
	}
	return err
}
