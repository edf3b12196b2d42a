package quant

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Decode turns the blocks in src into len(dst) float32 values. len(dst) must
// be a whole number of blocks and len(src) exactly the bytes they take;
// otherwise, and for a type that is not [Type.Decodable], Decode fails and
// leaves dst alone. Every byte string of the right length is decodable: a
// scale may well be infinite or NaN, and then so are values. dst and src must
// not overlap.
func Decode(t Type, dst []float32, src []byte) error {
	if !t.Decodable() {
		return fmt.Errorf("decode %s: format not supported", t)
	}
	if err := checkLengths(t, len(dst), len(src)); err != nil {
		return fmt.Errorf("decode %s: %w", t, err)
	}
	switch t {
	case F32:
		decodeF32(dst, src)
	case F16:
		decodeF16(dst, src)
	case BF16:
		decodeBF16(dst, src)
	case Q4_0:
		decodeQ4_0(dst, src)
	case Q4_1:
		decodeQ4_1(dst, src)
	case Q5_0:
		decodeQ5_0(dst, src)
	case Q5_1:
		decodeQ5_1(dst, src)
	case Q8_0:
		decodeQ8_0(dst, src)
	case Q2_K:
		decodeQ2_K(dst, src)
	case Q3_K:
		decodeQ3_K(dst, src)
	case Q4_K:
		decodeQ4_K(dst, src)
	case Q5_K:
		decodeQ5_K(dst, src)
	case Q6_K:
		decodeQ6_K(dst, src)
	case IQ4_NL:
		decodeIQ4_NL(dst, src)
	case Q2_0:
		decodeQ2_0(dst, src)
	case IQ4_XS:
		decodeIQ4_XS(dst, src)
	default:
		panic("quant: internal error: no decoder for " + t.String())
	}
	return nil
}

// checkLengths makes sure that values is a whole number of t's blocks and that
// they take exactly nBytes.
func checkLengths(t Type, values, nBytes int) error {
	want, err := t.Bytes(int64(values))
	if err != nil {
		return err
	}
	if int64(nBytes) != want {
		return fmt.Errorf("%d bytes for %d values, want %d", nBytes, values, want)
	}
	return nil
}

// f16At reads the binary16 scale at the start of b.
func f16At(b []byte) float32 { return F16ToF32(binary.LittleEndian.Uint16(b)) }

func decodeF32(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src))
		src = src[4:]
	}
}

func decodeF16(dst []float32, src []byte) {
	for i := range dst {
		h := binary.LittleEndian.Uint16(src)
		src = src[2:]
		// Normal numbers need their bias moved and nothing else.
		if exp := h & 0x7c00; exp != 0 && exp != 0x7c00 {
			bits := uint32(h&0x8000)<<16 | (uint32(h&0x7fff)<<13 + (127-15)<<23)
			dst[i] = math.Float32frombits(bits)
			continue
		}
		dst[i] = F16ToF32(h)
	}
}

func decodeBF16(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = BF16ToF32(binary.LittleEndian.Uint16(src))
		src = src[2:]
	}
}
