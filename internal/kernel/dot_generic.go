package kernel

import (
	"encoding/binary"
	"math"

	"github.com/plume-run/plume/internal/quant"
)

// element is the i-th element of row r.
func (w *Rows) element(r, i int) float32 {
	return elementAt(w.Kind, w.Data[r*w.Stride:], i)
}

func elementAt(k Kind, b []byte, i int) float32 {
	switch k {
	case F32:
		return math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	case F16:
		return quant.F16ToF32(binary.LittleEndian.Uint16(b[2*i:]))
	case BF16:
		return quant.BF16ToF32(binary.LittleEndian.Uint16(b[2*i:]))
	}
	return float32(int8(b[i]))
}

func dotsGeneric(y []float32, rowStep, vecStep int, w Rows, x Vecs) {
	row := make([]float32, w.Cols)
	for r := 0; r < w.N; r++ {
		for i := range row {
			row[i] = w.element(r, i)
		}
		for t := 0; t < x.N; t++ {
			var lanes [16]float32
			for i, v := range x.Data[t*x.Stride:][:w.Cols] {
				lanes[i%16] = fma32(v, row[i], lanes[i%16])
			}
			y[r*rowStep+t*vecStep] = sum16(&lanes)
		}
	}
}

func mixGeneric(y, p Vecs, v Rows) {
	for t := 0; t < y.N; t++ {
		out := y.Data[t*y.Stride:][:v.Cols]
		for i := 0; i < v.N; i++ {
			s := p.Data[t*p.Stride+i]
			for c := range out {
				out[c] = fma32(s, v.element(i, c), out[c])
			}
		}
	}
}
