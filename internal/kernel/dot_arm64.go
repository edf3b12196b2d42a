//go:build arm64 && !purego

package kernel

import "unsafe"

// dotShape is the next tile for the rows and vectors left.
func dotShape(rows, vecs int) (R, T int) {
	most, T := 2, min(vecs, 3)
	if T == 1 {
		most = 4
	}
	if rows >= most {
		return most, T
	}
	return max(1, rows&2), T
}

// dotTileSIMD runs one dot tile of R rows and T vectors; false: not here, use the generic code.
func dotTileSIMD(k Kind, R, T int, a *dotArgs) bool {
	if !useNEON {
		return false
	}
	p := (*byte)(unsafe.Pointer(a))
	switch tile := R<<4 | T; k {
	case F32:
		switch tile {
		case 0x41:
			dotF32x4x1NEON(p)
		case 0x23:
			dotF32x2x3NEON(p)
		case 0x22:
			dotF32x2x2NEON(p)
		case 0x21:
			dotF32x2x1NEON(p)
		case 0x13:
			dotF32x1x3NEON(p)
		case 0x12:
			dotF32x1x2NEON(p)
		case 0x11:
			dotF32x1x1NEON(p)
		}
	case F16:
		switch tile {
		case 0x41:
			dotF16x4x1NEON(p)
		case 0x23:
			dotF16x2x3NEON(p)
		case 0x22:
			dotF16x2x2NEON(p)
		case 0x21:
			dotF16x2x1NEON(p)
		case 0x13:
			dotF16x1x3NEON(p)
		case 0x12:
			dotF16x1x2NEON(p)
		case 0x11:
			dotF16x1x1NEON(p)
		}
	case BF16:
		switch tile {
		case 0x41:
			dotBF16x4x1NEON(p)
		case 0x23:
			dotBF16x2x3NEON(p)
		case 0x22:
			dotBF16x2x2NEON(p)
		case 0x21:
			dotBF16x2x1NEON(p)
		case 0x13:
			dotBF16x1x3NEON(p)
		case 0x12:
			dotBF16x1x2NEON(p)
		case 0x11:
			dotBF16x1x1NEON(p)
		}
	}
	return true
}

// mixWidth is the most vectors a mix tile takes.
func mixWidth() int { return 4 }

// mixTileSIMD runs one mix tile of T vectors; false: not here, use the generic code.
func mixTileSIMD(k Kind, T int, a *mixArgs) bool {
	if !useNEON || k == BF16 {
		return false
	}
	p := (*byte)(unsafe.Pointer(a))
	switch k {
	case F32:
		switch T {
		case 1:
			mixF32x1NEON(p)
		case 2:
			mixF32x2NEON(p)
		case 3:
			mixF32x3NEON(p)
		case 4:
			mixF32x4NEON(p)
		}
	case F16:
		switch T {
		case 1:
			mixF16x1NEON(p)
		case 2:
			mixF16x2NEON(p)
		case 3:
			mixF16x3NEON(p)
		case 4:
			mixF16x4NEON(p)
		}
	}
	return true
}
