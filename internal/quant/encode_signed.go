package quant

// The search for super-blocks whose groups have an integer scale s of either
// sign each, x ≈ (d·s)·q: Q6_K, Q3_K and IQ4_XS.
//
//  1. every group on its own: the scale with the least squared error;
//  2. for one or two values of d, which follow from the largest scale: the
//     integer s of every group, near its scale, that leaves the least error
//     under this very d, as rounded to binary16;
//  3. d fitted to all levels at once, and the integers again; kept if that
//     lowers the error.

// superForm is what the search needs to know of a format.
type superForm struct {
	scaleForm
	group    int   // values
	sLo, sHi int32 // integer scales
	reach    int32 // how far the search goes from the rounded scale
	// covers are the integers at which the largest scale is tried; a negative one
	// turns the sign of d.
	covers []float32
}

// scaledBlock is the working state for one super-block.
type scaledBlock struct {
	d    uint16 // binary16
	s    [16]int32
	cost float32 // Σ(x - decoded)²
}

// search returns the best encoding found for x.
func (f *superForm) search(x *[256]float32) scaledBlock {
	var scales [16]float32
	for g := range superBlock / f.group {
		scales[g] = f.fitScale(x[g*f.group:][:f.group])
	}
	top := peak(scales[:])
	var best scaledBlock
	for i, cover := range f.covers {
		var b scaledBlock
		f.place(x, &scales, signedScale(top, cover), &b)
		if i == 0 || b.cost < best.cost {
			best = b
		}
	}
	var b scaledBlock
	f.place(x, &scales, toScale(f.fitD(x, &best)), &b)
	if b.cost < best.cost {
		best = b
	}
	return best
}

// signedScale is coverScale for a top and a level of either sign.
func signedScale(top, n float32) uint16 {
	if top < 0 {
		top, n = -top, -n
	}
	if n < 0 {
		return coverScale(top, -n) ^ 0x8000
	}
	return coverScale(top, n)
}

// place chooses the integer scales of all groups for a given d.
func (f *superForm) place(x *[256]float32, scales *[16]float32, d uint16, b *scaledBlock) {
	b.d, b.cost = d, 0
	d32 := F16ToF32(d)
	inv := inverse(d32)
	for g := range superBlock / f.group {
		xg := x[g*f.group:][:f.group]
		s0 := level(scales[g]*inv, f.sLo, f.sHi)
		b.s[g] = s0
		best := f.scaleForm.cost(xg, d32*float32(s0))
		for s := max(s0-f.reach, f.sLo); s <= min(s0+f.reach, f.sHi); s++ {
			if s == s0 {
				continue
			}
			if c := f.scaleForm.cost(xg, d32*float32(s)); c < best {
				b.s[g], best = s, c
			}
		}
		b.cost += best
	}
}

// fitD returns the d that, for the levels that b gives, leaves the least
// squared error: Σx·(s·q) / Σ(s·q)².
func (f *superForm) fitD(x *[256]float32, b *scaledBlock) float32 {
	var xu, uu float64
	d := F16ToF32(b.d)
	for g := range superBlock / f.group {
		sc := b.s[g]
		xq, qq := f.sums(x[g*f.group:][:f.group], inverse(d*float32(sc)))
		xu += float64(float64(xq) * float64(sc))
		uu += float64(float64(qq) * float64(sc*sc))
	}
	if uu == 0 {
		return d
	}
	return float32(xu / uu)
}

// levels stores the levels that b gives, counted from the lowest one.
func (f *superForm) levels(x *[256]float32, b *scaledBlock, q *[256]uint8) {
	d := F16ToF32(b.d)
	for g := range superBlock / f.group {
		inv := inverse(d * float32(b.s[g]))
		xg, qg := x[g*f.group:][:f.group], q[g*f.group:][:f.group]
		for i, v := range xg {
			qg[i] = uint8(level(v*inv, f.lo, f.hi) - f.lo)
		}
	}
}
