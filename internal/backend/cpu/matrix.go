package cpu

import (
	"crypto/sha256"
	"fmt"
	"math"
	"sync"

	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/kernel"
	"github.com/plume-run/plume/internal/quant"
)

// slab is memory of the arena.
type slab []byte

func (s slab) Bytes() int64 { return int64(len(s)) }

// matrix is w [out, in], packed for the kernels, in a slab.
type matrix struct {
	kernel.Matrix
	typ      quant.Type // that its rows are stored in
	rowBytes int        // of a stored row
}

func (m *matrix) Shape() (out, in int) { return m.Rows, m.Cols }
func (m *matrix) Bytes() int64         { return int64(len(m.Data)) }

// tile returns panels [p0, p1) as a matrix of their own.
func (m *matrix) tile(p0, p1 int) kernel.Matrix {
	n := m.Layout.PanelBytes(m.Cols)
	return kernel.Matrix{
		Layout: m.Layout, Cols: m.Cols,
		Rows: min(m.Rows, p1*panelRows) - p0*panelRows,
		Data: m.Data[p0*n : p1*n : p1*n],
	}
}

// panelRows is the rows of a panel. Rows are filled in whole panels, which is what
// backend.FillRows asks for.
const panelRows = kernel.PanelRows

var _ [backend.FillRows % panelRows]struct{} = [0]struct{}{}

// NewSlab takes memory outside the Go heap.
func (c *CPU) NewSlab(bytes int64) (backend.Slab, error) {
	if bytes < 0 || bytes > math.MaxInt-hugePage {
		return nil, fmt.Errorf("allocate %d bytes: too many", bytes)
	}
	mem, err := c.weights.take(int(bytes))
	return slab(mem), err
}

// MatrixBytes implements backend.Backend.
func (*CPU) MatrixBytes(t quant.Type, out, in int) int64 { return Sizer{}.MatrixBytes(t, out, in) }

// Place implements backend.Backend.
func (*CPU) Place(s backend.Slab, off int64, spec backend.MatrixSpec) (backend.Matrix, error) {
	rowBytes, layout, err := check(spec)
	if err != nil {
		return nil, err
	}
	n := int64(kernel.PackedBytes(spec.Type, spec.Out, spec.In))
	room := min(int64(len(s.(slab))), (off+n+backend.SlabAlign-1)&^(backend.SlabAlign-1))
	data := s.(slab)[off : off+n : room]
	return &matrix{kernel.Matrix{Layout: layout, Rows: spec.Out, Cols: spec.In, Data: data}, spec.Type, rowBytes}, nil
}

// Fill packs rows.
func (*CPU) Fill(w backend.Matrix, row int, raw []byte) error {
	m := w.(*matrix)
	n := len(raw) / m.rowBytes
	dst := m.tile(row/panelRows, kernel.Panels(row+n))
	return kernel.PackRows(m.typ, dst.Data, raw, n, m.Cols)
}

// Packed implements backend.Backend.
func (*CPU) Packed() string { return packedForm() }

// packedForm is a sum of what the kernels' packing makes of one pattern in every format,
// so that no change of a layout can be forgotten.
var packedForm = sync.OnceValue(func() string {
	const cols = 512
	sum := sha256.New()
	for t := quant.Type(0); t < 256; t++ {
		rowBytes, err := t.Bytes(cols)
		if _, ok := kernel.LayoutFor(t); !ok || err != nil {
			continue
		}
		raw := make([]byte, panelRows*int(rowBytes))
		for i := range raw {
			raw[i] = byte(i*167>>3) % 0x58 // as float16, numbers that every layout can hold
		}
		packed := make([]byte, kernel.PackedBytes(t, panelRows, cols))
		if err := kernel.PackRows(t, packed, raw, panelRows, cols); err != nil {
			panic("cpu: internal error: " + err.Error())
		}
		fmt.Fprintf(sum, "%d %d ", t, len(packed))
		sum.Write(packed)
	}
	return fmt.Sprintf("cpu-%x", sum.Sum(nil)[:8])
})

// Memory implements backend.Backend.
func (*CPU) Memory(w backend.Matrix) []byte { return w.(*matrix).Data }

// check returns the bytes of a stored row and the layout that it is packed into.
func check(spec backend.MatrixSpec) (rowBytes int, layout kernel.Layout, err error) {
	layout, ok := kernel.LayoutFor(spec.Type)
	if !ok {
		return 0, 0, fmt.Errorf("type %s cannot be multiplied", spec.Type)
	}
	if spec.Out < 1 || spec.In < 1 || spec.In > math.MaxInt32 || spec.Out > math.MaxInt32 {
		return 0, 0, fmt.Errorf("shape [%d, %d]", spec.Out, spec.In)
	}
	n, err := spec.Type.Bytes(int64(spec.In))
	if err != nil {
		return 0, 0, err
	}
	if panel := layout.PanelBytes(spec.In); panel > math.MaxInt/kernel.Panels(spec.Out) {
		return 0, 0, fmt.Errorf("[%d, %d] %s weights do not fit in memory", spec.Out, spec.In, spec.Type)
	}
	return int(n), layout, nil
}

// embedRow sets dst [in] to row i, times scale.
func (m *matrix) embedRow(dst []float32, i int, scale float32) {
	kernel.DecodeRow(dst, &m.Matrix, i)
	kernel.Scale(dst, scale)
}
