package gemma

import (
	"context"
	"errors"
	"fmt"

	"github.com/plume-run/plume/internal/ple"
)

// PLETable is the per-layer table of a model, opened in some place. A model reads
// one at a time, see Model.SwapPLE: so places can be compared on the same weights.
type PLETable struct{ t *pleTable }

// OpenPLE opens the table once more, in a place that through opens as for
// BindOptions.PLESource. It is the caller's to close, before the model.
func (m *Model) OpenPLE(through func(ple.Spec, int) (ple.Source, error), o ple.Options) (*PLETable, error) {
	switch {
	case m.ple == nil:
		return nil, errors.New("open table: the model has no per-layer embeddings")
	case m.ple.home.Bytes == 0:
		return nil, fmt.Errorf("open table: %w: it does not lie in one piece", errors.ErrUnsupported)
	}
	t := *m.ple
	t.source, t.rows = nil, nil
	if err := t.openIn(through, o); err != nil {
		return nil, err
	}
	return &PLETable{&t}, nil
}

// PLEFile is the file that has the table in one piece; "" when none does.
func (m *Model) PLEFile() string {
	if m.ple == nil {
		return ""
	}
	return m.ple.home.Path
}

// PLEDevice says who begins reads of the table, as ple.Table.Device; "" where there is none.
func (m *Model) PLEDevice() string {
	if m.ple == nil {
		return ""
	}
	return m.ple.rows.Device()
}

// SwapPLE lets the next Forward read its rows from t, a table of this model, and
// returns what was read until now. It is for the goroutine that calls Forward.
func (m *Model) SwapPLE(t *PLETable) *PLETable {
	old := &PLETable{m.ple}
	m.ple = t.t
	return old
}

// Warm brings the rows of ids into memory, where the row cache keeps what it likes.
func (t *PLETable) Warm(ctx context.Context, ids []int32) error {
	rows := make([]int32, len(ids))
	for i, id := range ids {
		rows[i] = t.t.row(id)
	}
	f := t.t.rows.Fetch(rows)
	defer f.Release()
	return f.Wait(ctx)
}

// RowBytes is the length of a row.
func (t *PLETable) RowBytes() int { return t.t.rowBytes }

// Bytes is the length of the table.
func (t *PLETable) Bytes() int64 { return t.t.home.Bytes }

// Options are those in force.
func (t *PLETable) Options() ple.Options { return t.t.rows.Options() }

// Stats counts its look-ups.
func (t *PLETable) Stats() ple.Stats { return t.t.rows.Stats() }

// About says how rows are reached, in a few words.
func (t *PLETable) About() string {
	return fmt.Sprintf("%s (%s)", t.t.rows.Source(), t.t.rows.Device())
}

// Close ends its reads and closes the place.
func (t *PLETable) Close() error { return t.t.close() }
