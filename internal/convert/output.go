package convert

import (
	"context"
	"errors"
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

// write writes them all, or leaves what was there before.
func (o *output) write(ctx context.Context) error {
	files, err := o.files()
	if err != nil {
		return err
	}
	if o.splitPLE {
		return o.writePair(ctx, files)
	}
	w, err := o.writeGGUF(ctx, files[0], nil)
	if err != nil {
		return err
	}
	return w.Close()
}

// writePair writes the table and the rest as two parts. Neither gets its name before both
// are complete; a crash between the two names leaves parts that do not open together.
func (o *output) writePair(ctx context.Context, files []string) error {
	table, rest := o.divide()
	place := checkpoint.Part{No: 1, Count: 2, Tensors: len(o.parts)}
	second, err := table.writeGGUF(ctx, files[1], &place)
	if err != nil {
		return err
	}
	defer second.Abort() // does nothing after Close
	made, err := second.Finish()
	if err != nil {
		return err
	}
	place.No = 0
	if place.Outside, err = checkpoint.DescribePart(made); err != nil {
		return err
	}
	first, err := rest.writeGGUF(ctx, files[0], &place)
	if err != nil {
		return err
	}
	defer first.Abort()
	if _, err := first.Finish(); err != nil {
		return err
	}
	if err := second.Close(); err != nil {
		return err
	}
	return first.Close()
}

// divide is the table, and everything else, each with its share of the progress.
func (o *output) divide() (table, rest output) {
	at := o.table()
	table, rest = *o, *o
	table.meta, table.parts = nil, o.parts[at:at+1]
	rest.parts = slices.Delete(slices.Clone(o.parts), at, at+1)
	if report := o.progress; report != nil {
		first := table.bytes()
		table.progress = func(done, _ int64) { report(done, o.bytes()) }
		rest.progress = func(done, _ int64) { report(first+done, o.bytes()) }
	}
	return table, rest
}

// bytes are those of the weights.
func (o *output) bytes() (n int64) {
	for i := range o.parts {
		n += o.parts[i].bytes()
	}
	return n
}

// writeGGUF writes a file, as a part of a split model where place is not nil, that has all
// but its end and its name; nothing is left of one that fails.
func (o *output) writeGGUF(ctx context.Context, dst string, place *checkpoint.Part) (*checkpoint.GGUFWriter, error) {
	w, err := checkpoint.CreateGGUF(dst, checkpoint.WriterOptions{Part: place})
	if err != nil {
		return nil, err
	}
	for _, kv := range o.meta {
		if err = w.Set(kv.key, kv.value); err != nil {
			break
		}
	}
	if err == nil {
		err = writeParts(ctx, w, o.parts, o.threads, o.progress)
	}
	if err != nil {
		w.Abort()
		return nil, err
	}
	return w, nil
}
