//go:build amd64 && !purego

package kernel

import "unsafe"

// dotShape is the next tile for the rows and vectors left. Four rows by one vector keep a
// stream of weights busy; for more vectors the registers decide.
func dotShape(rows, vecs int) (R, T int) {
	most, T := 2, min(vecs, 3)
	if useAVX512 {
		T = min(vecs, 4)
	}
	if T == 1 || useAVX512 {
		most = 4
	}
	if rows >= most {
		return most, T
	}
	return max(1, rows&2), T
}

// dotTileSIMD runs one dot tile of R rows and T vectors; false: not here, use the generic code.
func dotTileSIMD(k Kind, R, T int, a *dotArgs) bool {
	if !useAVX2 {
		return false
	}
	p := (*byte)(unsafe.Pointer(a))
	if useAVX512 {
		dotTileAVX512(k, R, T, p)
		return true
	}
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
	}
	return true
}

// mixWidth is the most vectors a mix tile takes.
func mixWidth() int {
	if useAVX512 {
		return 8
	}
	return 6
}

// mixTileSIMD runs one mix tile of T vectors; false: not here, use the generic code.
func mixTileSIMD(k Kind, T int, a *mixArgs) bool {
	if !useAVX2 || k == BF16 {
		return false
	}
	p := (*byte)(unsafe.Pointer(a))
	if useAVX512 {
		mixTileAVX512(k, T, p)
		return true
	}
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
	}
	return true
}

func mixTileAVX512(k Kind, T int, p *byte) {
	switch k {
	case F32:
		switch T {
		case 1:
			mixF32x1AVX512(p)
		case 2:
			mixF32x2AVX512(p)
		case 3:
			mixF32x3AVX512(p)
		case 4:
			mixF32x4AVX512(p)
		case 5:
			mixF32x5AVX512(p)
		case 6:
			mixF32x6AVX512(p)
		case 7:
			mixF32x7AVX512(p)
		case 8:
			mixF32x8AVX512(p)
		}
	case F16:
		switch T {
		case 1:
			mixF16x1AVX512(p)
		case 2:
			mixF16x2AVX512(p)
		case 3:
			mixF16x3AVX512(p)
		case 4:
			mixF16x4AVX512(p)
		case 5:
			mixF16x5AVX512(p)
		case 6:
			mixF16x6AVX512(p)
		case 7:
			mixF16x7AVX512(p)
		case 8:
			mixF16x8AVX512(p)
		}
	}
}

func dotTileAVX512(k Kind, R, T int, p *byte) {
	switch tile := R<<4 | T; k {
	case F32:
		switch tile {
		case 0x41:
			dotF32x4x1AVX512(p)
		case 0x42:
			dotF32x4x2AVX512(p)
		case 0x43:
			dotF32x4x3AVX512(p)
		case 0x44:
			dotF32x4x4AVX512(p)
		case 0x21:
			dotF32x2x1AVX512(p)
		case 0x22:
			dotF32x2x2AVX512(p)
		case 0x23:
			dotF32x2x3AVX512(p)
		case 0x24:
			dotF32x2x4AVX512(p)
		case 0x11:
			dotF32x1x1AVX512(p)
		case 0x12:
			dotF32x1x2AVX512(p)
		case 0x13:
			dotF32x1x3AVX512(p)
		case 0x14:
			dotF32x1x4AVX512(p)
		}
	case F16:
		switch tile {
		case 0x41:
			dotF16x4x1AVX512(p)
		case 0x42:
			dotF16x4x2AVX512(p)
		case 0x43:
			dotF16x4x3AVX512(p)
		case 0x44:
			dotF16x4x4AVX512(p)
		case 0x21:
			dotF16x2x1AVX512(p)
		case 0x22:
			dotF16x2x2AVX512(p)
		case 0x23:
			dotF16x2x3AVX512(p)
		case 0x24:
			dotF16x2x4AVX512(p)
		case 0x11:
			dotF16x1x1AVX512(p)
		case 0x12:
			dotF16x1x2AVX512(p)
		case 0x13:
			dotF16x1x3AVX512(p)
		case 0x14:
			dotF16x1x4AVX512(p)
		}
	case BF16:
		switch tile {
		case 0x41:
			dotBF16x4x1AVX512(p)
		case 0x42:
			dotBF16x4x2AVX512(p)
		case 0x43:
			dotBF16x4x3AVX512(p)
		case 0x44:
			dotBF16x4x4AVX512(p)
		case 0x21:
			dotBF16x2x1AVX512(p)
		case 0x22:
			dotBF16x2x2AVX512(p)
		case 0x23:
			dotBF16x2x3AVX512(p)
		case 0x24:
			dotBF16x2x4AVX512(p)
		case 0x11:
			dotBF16x1x1AVX512(p)
		case 0x12:
			dotBF16x1x2AVX512(p)
		case 0x13:
			dotBF16x1x3AVX512(p)
		case 0x14:
			dotBF16x1x4AVX512(p)
		}
	}
}
