package kernel

// What the machine can do at best, for benchmarks to compare with: `plume bench` prints every
// rate beside its limit. Each call takes well under a millisecond per goroutine step.

// StreamRead reads b once, front to back, in pieces of at most 1 MiB.
func StreamRead(b []byte) {
	for len(b) >= 256 {
		n := min(len(b)&^255, 1<<20)
		streamPart(b[:n])
		b = b[n:]
	}
}

//go:noinline
func streamPart(b []byte) uint64 {
	if v, ok := readSIMD(b); ok {
		return v
	}
	var sum uint64
	for len(b) >= 64 {
		c := (*[64]byte)(b)
		sum |= le.Uint64(c[:]) | le.Uint64(c[8:]) | le.Uint64(c[16:]) | le.Uint64(c[24:]) |
			le.Uint64(c[32:]) | le.Uint64(c[40:]) | le.Uint64(c[48:]) | le.Uint64(c[56:])
		b = b[64:]
	}
	return sum
}

// PeakInt8 runs a register-only loop of exact int8 multiply-adds (products widened to int32)
// at the level in use and returns how many it did; 0 where there is none.
//
//go:noinline
func PeakInt8() int { return peakInt8SIMD() }

// PeakF32 is PeakInt8 for float multiply-adds.
//
//go:noinline
func PeakF32() int { return peakF32SIMD() }
