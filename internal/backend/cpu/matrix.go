package cpu

import (
	"fmt"
	"math"

	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/kernel"
)

// matrix is w [out, in], packed for the kernels. Its weights exist once in memory:
// they are packed piece by piece while they are read.
type matrix struct {
	kernel.Matrix
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

// panelRows is the rows of a panel; a piece that is packed alone has whole panels.
const panelRows = kernel.PanelRows

// pieceBytes is how much of a weight is read at once, about.
const pieceBytes = 1 << 20

// pieceRows is the number of rows of a piece: whole panels.
func pieceRows(rowBytes int) int { return max(1, pieceBytes/rowBytes/panelRows) * panelRows }

// Load reads the weight into memory outside the Go heap.
func (c *CPU) Load(src backend.Source) (backend.Matrix, error) {
	m, err := c.load(src)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", src.Name, err)
	}
	return m, nil
}

func (c *CPU) load(src backend.Source) (*matrix, error) {
	rowBytes, layout, err := checkSource(src)
	if err != nil {
		return nil, err
	}
	m := &matrix{kernel.Matrix{Layout: layout, Rows: src.Out, Cols: src.In}}
	if m.Data, err = c.weights.take(kernel.PackedBytes(src.Type, src.Out, src.In)); err != nil {
		return nil, err
	}
	step := pieceRows(rowBytes)
	piece := make([]byte, min(step, src.Out)*rowBytes)
	for row := 0; row < src.Out; row += step {
		n := min(step, src.Out-row)
		raw := piece[:n*rowBytes]
		if _, err := src.R.ReadAt(raw, int64(row)*int64(rowBytes)); err != nil {
			return nil, err
		}
		dst := m.tile(row/panelRows, kernel.Panels(row+n))
		if err := kernel.PackRows(src.Type, dst.Data, raw, n, src.In); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// checkSource returns the bytes of a stored row and the layout it is packed into.
func checkSource(src backend.Source) (rowBytes int, layout kernel.Layout, err error) {
	layout, ok := kernel.LayoutFor(src.Type)
	if !ok {
		return 0, 0, fmt.Errorf("type %s cannot be multiplied", src.Type)
	}
	if src.Out < 1 || src.In < 1 || src.In > math.MaxInt32 || src.Out > math.MaxInt32 {
		return 0, 0, fmt.Errorf("shape [%d, %d]", src.Out, src.In)
	}
	n, err := src.Type.Bytes(int64(src.In))
	if err != nil {
		return 0, 0, err
	}
	if panel := layout.PanelBytes(src.In); panel > math.MaxInt/kernel.Panels(src.Out) {
		return 0, 0, fmt.Errorf("[%d, %d] %s weights do not fit in memory", src.Out, src.In, src.Type)
	}
	return int(n), layout, nil
}

// embedRow sets dst [in] to row i, times scale.
func (m *matrix) embedRow(dst []float32, i int, scale float32) {
	kernel.DecodeRow(dst, &m.Matrix, i)
	kernel.Scale(dst, scale)
}
