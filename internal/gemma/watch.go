package gemma

import (
	"bytes"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/plume-run/plume/internal/checkpoint"
)

// watch notices that a model's files are overwritten as a whole while weights are read from
// them again and again. When a file's length or time differs, sampleCount pages of the
// weights decide: where they are what they were, it was only touched, or restored. So a
// write that meets none of them is not noticed; weights that come from a packed copy have
// sums of all their rows.
type watch struct {
	tensors []*checkpoint.Tensor
	files   []*checkpoint.Tensor // one of each file
	every   time.Duration        // between two looks

	mu     sync.Mutex
	last   time.Time
	stamps []checkpoint.Stamp // of files, when all was well
	sum    []byte             // of the pages
	err    error
}

// watchEvery is how old the last look at the files may be: a system call each.
const watchEvery = time.Second

// newWatch notes what cat's files are now; nil where the system does not tell.
func newWatch(cat *checkpoint.Catalog) *watch {
	w := &watch{tensors: cat.Tensors(), every: watchEvery, last: time.Now()}
	name := ""
	for _, t := range w.tensors {
		if file := path(t); file != name {
			name, w.files = file, append(w.files, t)
		}
	}
	var err error
	if w.stamps, err = w.look(); err != nil {
		return nil
	}
	if w.sum, err = w.pages(); err != nil {
		return nil
	}
	return w
}

func (w *watch) look() ([]checkpoint.Stamp, error) {
	var out []checkpoint.Stamp
	for _, t := range w.files {
		st, err := t.Stamp()
		if err != nil {
			return nil, err
		}
		out = append(out, st)
	}
	return out, nil
}

// pages is a sum of some of the weights.
func (w *watch) pages() ([]byte, error) {
	var total int64
	for _, t := range w.tensors {
		total += t.Bytes
	}
	sum := sha256.New()
	err := sample(sum, w.tensors, total)
	return sum.Sum(nil), err
}

// check returns an error while a file is not the one that was opened, as far as the last
// look has told. A nil watch tells nothing.
func (w *watch) check() error {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if now := time.Now(); now.Sub(w.last) >= w.every {
		w.last = now
		w.err = w.compare()
	}
	return w.err
}

func (w *watch) compare() error {
	stamps, err := w.look()
	if err != nil {
		return err
	}
	for i, st := range stamps {
		if st == w.stamps[i] {
			continue
		}
		if sum, err := w.pages(); err != nil || !bytes.Equal(sum, w.sum) {
			return corruptf("%s was written to since it was opened; open the model again", path(w.files[i]))
		}
		w.stamps[i] = st
	}
	return nil
}
