//go:build amd64 && !purego

package kernel

import "unsafe"

// dotTileSIMD runs one dot tile of R rows and T vectors; false: not here, use the generic code.
func dotTileSIMD(k Kind, R, T int, a *dotArgs) bool {
	if !useAVX2 {
		return false
	}
	p := (*byte)(unsafe.Pointer(a))
	switch tile := R<<4 | T; k {
	case F32:
		switch tile {
		case 0x41:
			dotF32x4x1AVX2(p)
		case 0x23:
			dotF32x2x3AVX2(p)
		case 0x22:
			dotF32x2x2AVX2(p)
		case 0x21:
			dotF32x2x1AVX2(p)
		case 0x13:
			dotF32x1x3AVX2(p)
		case 0x12:
			dotF32x1x2AVX2(p)
		case 0x11:
			dotF32x1x1AVX2(p)
		}
	case F16:
		switch tile {
		case 0x41:
			dotF16x4x1AVX2(p)
		case 0x23:
			dotF16x2x3AVX2(p)
		case 0x22:
			dotF16x2x2AVX2(p)
		case 0x21:
			dotF16x2x1AVX2(p)
		case 0x13:
			dotF16x1x3AVX2(p)
		case 0x12:
			dotF16x1x2AVX2(p)
		case 0x11:
			dotF16x1x1AVX2(p)
		}
	case BF16:
		switch tile {
		case 0x41:
			dotBF16x4x1AVX2(p)
		case 0x23:
			dotBF16x2x3AVX2(p)
		case 0x22:
			dotBF16x2x2AVX2(p)
		case 0x21:
			dotBF16x2x1AVX2(p)
		case 0x13:
			dotBF16x1x3AVX2(p)
		case 0x12:
			dotBF16x1x2AVX2(p)
		case 0x11:
			dotBF16x1x1AVX2(p)
		}
	case I8:
		switch tile {
		case 0x41:
			dotI8x4x1AVX2(p)
		case 0x23:
			dotI8x2x3AVX2(p)
		case 0x22:
			dotI8x2x2AVX2(p)
		case 0x21:
			dotI8x2x1AVX2(p)
		case 0x13:
			dotI8x1x3AVX2(p)
		case 0x12:
			dotI8x1x2AVX2(p)
		case 0x11:
			dotI8x1x1AVX2(p)
		}
	}
	return true
}

// mixWidth is the most vectors a mix tile takes.
const mixWidth = 6

// mixTileSIMD runs one mix tile of T vectors; false: not here, use the generic code.
func mixTileSIMD(k Kind, T int, a *mixArgs) bool {
	if !useAVX2 || k == BF16 {
		return false
	}
	p := (*byte)(unsafe.Pointer(a))
	switch k {
	case F32:
		switch T {
		case 1:
			mixF32x1AVX2(p)
		case 2:
			mixF32x2AVX2(p)
		case 3:
			mixF32x3AVX2(p)
		case 4:
			mixF32x4AVX2(p)
		case 5:
			mixF32x5AVX2(p)
		case 6:
			mixF32x6AVX2(p)
		}
	case F16:
		switch T {
		case 1:
			mixF16x1AVX2(p)
		case 2:
			mixF16x2AVX2(p)
		case 3:
			mixF16x3AVX2(p)
		case 4:
			mixF16x4AVX2(p)
		case 5:
			mixF16x5AVX2(p)
		case 6:
			mixF16x6AVX2(p)
		}
	case I8:
		switch T {
		case 1:
			mixI8x1AVX2(p)
		case 2:
			mixI8x2AVX2(p)
		case 3:
			mixI8x3AVX2(p)
		case 4:
			mixI8x4AVX2(p)
		case 5:
			mixI8x5AVX2(p)
		case 6:
			mixI8x6AVX2(p)
		}
	}
	return true
}
