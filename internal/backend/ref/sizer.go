package ref

import (
	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/quant"
)

// Sizer implements backend.Sizer.
type Sizer struct{}

// MatrixBytes implements backend.Sizer: weights stay as the file has them.
func (Sizer) MatrixBytes(t quant.Type, out, in int) int64 {
	n, err := t.Bytes(int64(in))
	if err != nil || !t.Decodable() {
		return 0
	}
	return n * int64(out)
}

// KVBytes implements backend.Sizer: K and V are float32, whatever is asked for.
func (Sizer) KVBytes(s backend.KVSpec) int64 {
	return 8 * int64(s.Heads) * int64(s.Slots) * int64(s.HeadDim)
}

// ScratchBytes implements backend.Sizer: rows and scores are made as they are
// needed and left to the collector, some hundred KiB.
func (Sizer) ScratchBytes(w backend.Work) int64 {
	var most int64
	for _, p := range w.Products {
		most = max(most, 4*int64(p.In+p.Rows*p.Out))
	}
	for _, a := range w.Attention {
		most = max(most, 8*int64(a.Keys))
	}
	return 2 * most
}
