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
	errs   [backend.FillRows]error
	part   backend.Tensor // the row of the result that is being set
	id     [1]int32
}

func newInputRows(b backend.Backend, whole *load) (*inputRows, error) {
	in := &inputRows{back: b, whole: whole, raw: make([]byte, backend.FillRows*whole.rowBytes)}
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

// embed sets rows at of dst to the rows of the matrix that ids names for them, times scale.
func (in *inputRows) embed(dst *backend.Tensor, at []int, ids []int32, scale float32) error {
	for len(at) > 0 {
		n := min(backend.FillRows, len(at))
		if err := in.read(at[:n], ids); err != nil {
			return err
		}
		for i, row := range at[:n] {
			in.one(dst, row, in.matrix, int32(i), scale)
		}
		at = at[n:]
	}
	return nil
}

// one sets a row of dst to row id of m, times scale.
func (in *inputRows) one(dst *backend.Tensor, row int, m backend.Matrix, id int32, scale float32) {
	in.part = backend.Tensor{Rows: 1, Cols: dst.Cols, Data: dst.Row(row)}
	in.id[0] = id
	in.back.Embed(&in.part, m, in.id[:], scale)
}

// read puts rows ids[at[…]] of the file into the matrix, reading them all at once.
func (in *inputRows) read(at []int, ids []int32) error {
	if len(at) == 1 {
		in.errs[0] = in.row(0, ids[at[0]])
	} else {
		var wg sync.WaitGroup
		for i, row := range at {
			wg.Go(func() { in.errs[i] = in.row(i, ids[row]) })
		}
		wg.Wait()
	}
	if err := errors.Join(in.errs[:len(at)]...); err != nil {
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
