package convert

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"

	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/gemma"
)

// output is a GGUF model about to be written.
type output struct {
	dst      string
	meta     []keyValue
	parts    []part
	splitPLE bool // the table in a file of its own
	threads  int
	progress func(done, total int64)
}

// table is the number of the per-layer table among the parts; -1 without one.
func (o *output) table() int {
	return slices.IndexFunc(o.parts, func(p part) bool { return gemma.Classify(p.name) == gemma.RolePLETable })
}

// files are the names of what will be written.
func (o *output) files() ([]string, error) {
	if !o.splitPLE {
		return []string{o.dst}, nil
	}
	if o.table() < 0 {
		return nil, errors.New("the model has no per-layer table to put into a file of its own")
	}
	prefix := strings.TrimSuffix(o.dst, ".gguf")
	return []string{checkpoint.PartName(prefix, 0, 2), checkpoint.PartName(prefix, 1, 2)}, nil
}

func (o *output) write(ctx context.Context) error {
	files, err := o.files()
	if err != nil {
		return err
	}
	if !o.splitPLE {
		return writeGGUF(ctx, o.dst, nil, o)
	}
	at := o.table()
	table, rest := *o, *o
	table.meta, table.parts = nil, o.parts[at:at+1]
	rest.parts = slices.Delete(slices.Clone(o.parts), at, at+1)
	if report := o.progress; report != nil {
		first := table.bytes()
		table.progress = func(done, _ int64) { report(done, o.bytes()) }
		rest.progress = func(done, _ int64) { report(first+done, o.bytes()) }
	}
	// The first part tells what the second is, so that comes first.
	place := checkpoint.Part{No: 1, Count: 2, Tensors: len(o.parts)}
	if err := writeGGUF(ctx, files[1], &place, &table); err != nil {
		return err
	}
	place.No = 0
	if place.Outside, err = checkpoint.DescribePart(files[1]); err == nil {
		err = writeGGUF(ctx, files[0], &place, &rest)
	}
	if err != nil {
		return errors.Join(err, os.Remove(files[1]))
	}
	return nil
}

// bytes are those of the weights.
func (o *output) bytes() (n int64) {
	for i := range o.parts {
		n += o.parts[i].bytes()
	}
	return n
}

// writeGGUF writes a file, as a part of a split model where place is not nil.
func writeGGUF(ctx context.Context, dst string, place *checkpoint.Part, o *output) error {
	w, err := checkpoint.CreateGGUF(dst, checkpoint.WriterOptions{Part: place})
	if err != nil {
		return err
	}
	for _, kv := range o.meta {
		if err := w.Set(kv.key, kv.value); err != nil {
			return err
		}
	}
	return writeParts(ctx, w, o.parts, o.threads, o.progress)
}
