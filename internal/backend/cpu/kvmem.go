package cpu

import "unsafe"

// Memory returns all bytes of the store, in pieces whose lengths follow from its shape
// alone, for whoever puts keys and values on disk. Writing to them is storing.
func (s *store) Memory() [][]byte {
	pieces := [][]byte{s.k, s.v}
	for _, scale := range [][]float32{s.kScale, s.vScale} {
		if len(scale) > 0 {
			pieces = append(pieces, unsafe.Slice((*byte)(unsafe.Pointer(&scale[0])), 4*len(scale)))
		}
	}
	return pieces
}
