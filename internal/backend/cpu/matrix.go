package cpu

import (
	"fmt"
	"math"

	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/kernel"
	"github.com/plume-run/plume/internal/quant"
)

// matrix is w [out, in] as the file stores it, row after row: float rows padded
// with zeros to a multiple of 8 values, or rows of quantised blocks.
type matrix struct {
	typ      quant.Type
	out, in  int
	rowBytes int // from one row to the next
	data     []byte
}

func (m *matrix) Shape() (out, in int) { return m.out, m.in }
func (m *matrix) Bytes() int64         { return int64(len(m.data)) }

// row returns the stored bytes of row i.
func (m *matrix) row(i int) []byte { return m.data[i*m.rowBytes : (i+1)*m.rowBytes] }

// kind returns how the kernels read the rows; ok is false for blocks.
func (m *matrix) kind() (k kernel.Kind, ok bool) {
	switch m.typ {
	case quant.F32:
		return kernel.F32, true
	case quant.F16:
		return kernel.F16, true
	case quant.BF16:
		return kernel.BF16, true
	}
	return 0, false
}

// Load reads the weight into memory outside the Go heap.
func (c *CPU) Load(src backend.Source) (backend.Matrix, error) {
	m, err := c.load(src)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", src.Name, err)
	}
	return m, nil
}

func (c *CPU) load(src backend.Source) (*matrix, error) {
	if !src.Type.Decodable() {
		return nil, fmt.Errorf("type %s cannot be decoded", src.Type)
	}
	stored, err := src.Type.Bytes(int64(src.In))
	if err != nil {
		return nil, err
	}
	m := &matrix{typ: src.Type, out: src.Out, in: src.In}
	padded := stored
	if _, float := m.kind(); float {
		padded = int64(pad8(src.In) * src.Type.BlockBytes())
	}
	if padded > math.MaxInt/int64(max(src.Out, 1)) {
		return nil, fmt.Errorf("%d rows of %d bytes do not fit in memory", src.Out, padded)
	}
	m.rowBytes = int(padded)
	if m.data, err = c.memory(m.rowBytes * src.Out); err != nil {
		return nil, err
	}
	if padded == stored {
		_, err := src.R.ReadAt(m.data, 0)
		return m, err
	}
	for i := range src.Out {
		if _, err := src.R.ReadAt(m.row(i)[:stored], int64(i)*stored); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// decode sets dst [in] to row i.
func (m *matrix) decode(dst []float32, i int) {
	n, err := m.typ.Bytes(int64(m.in))
	if err == nil {
		err = quant.Decode(m.typ, dst[:m.in], m.row(i)[:n])
	}
	if err != nil {
		panic("cpu: internal error: " + err.Error())
	}
}

// pad8 rounds up to a multiple of 8, as the kernels want their columns.
func pad8(n int) int { return (n + 7) &^ 7 }
