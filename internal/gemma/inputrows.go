package gemma

import (
	"errors"
	"fmt"
	"sync"

	"github.com/plume-run/plume/internal/backend"
)

// inputRows reads single rows of the matrix that tokens are embedded with, while it is
// not in memory. They go through the device like the whole matrix does, so the
// embeddings have the same bits.
type inputRows struct {
	back   backend.Backend
	whole  *load
	matrix backend.Matrix // [FillRows, H]
	raw    []byte
	rows   [backend.FillRows]int32
	errs   [backend.FillRows]error
	part   backend.Tensor // the rows of the result that are being set
}

func newInputRows(b backend.Backend, whole *load) (*inputRows, error) {
	in := &inputRows{back: b, whole: whole, raw: make([]byte, backend.FillRows*whole.rowBytes)}
	for i := range in.rows {
		in.rows[i] = int32(i)
	}
	spec := whole.matrix
	spec.Out = backend.FillRows
	s, err := b.NewSlab(b.MatrixBytes(spec.Type, spec.Out, spec.In))
	if err != nil {
		return nil, err
	}
	in.matrix, err = b.Place(s, 0, spec)
	return in, err
}

// inputRowsBytes is what newInputRows takes.
func inputRowsBytes(whole *load, size func(*load) int64) int64 {
	rows := whole.rows(0, backend.FillRows)
	return size(&rows) + backend.FillRows*int64(whole.rowBytes)
}

// embed sets row i of dst to row ids[i] of the matrix, times scale.
func (in *inputRows) embed(dst *backend.Tensor, ids []int32, scale float32) error {
	for from := 0; from < len(ids); from += backend.FillRows {
		n := min(backend.FillRows, len(ids)-from)
		if err := in.read(ids[from : from+n]); err != nil {
			return err
		}
		in.part = backend.Tensor{Rows: n, Cols: dst.Cols, Data: dst.Data[from*dst.Cols : (from+n)*dst.Cols]}
		in.back.Embed(&in.part, in.matrix, in.rows[:n], scale)
	}
	return nil
}

// read puts rows ids of the file into the matrix, reading them all at once.
func (in *inputRows) read(ids []int32) error {
	if len(ids) == 1 {
		in.errs[0] = in.row(0, ids[0])
	} else {
		var wg sync.WaitGroup
		for i, id := range ids {
			wg.Go(func() { in.errs[i] = in.row(i, id) })
		}
		wg.Wait()
	}
	if err := errors.Join(in.errs[:len(ids)]...); err != nil {
		return fmt.Errorf("load %s: %w", in.whole.src.Spec, err)
	}
	return in.back.Fill(in.matrix, 0, in.raw)
}

// row reads row id into place i.
func (in *inputRows) row(i int, id int32) error {
	n := in.whole.rowBytes
	_, err := in.whole.src.ReadAt(in.raw[i*n:(i+1)*n], in.whole.off+int64(id)*int64(n))
	return err
}
