package kernel

import (
	"fmt"
	"unsafe"
)

// MatMul does y[(t-tok0)*yStride+r] = w_r · x_t for tokens t = tok0 … tok1-1 and the rows r of
// panels panel0 … panel1-1 (rows 16·panel0 … 16·panel1-1, as far as the matrix has them).
// y begins with token tok0 and row 0; its other elements are not touched. The activations
// must have been Reset for the matrix's layout.
//
// Quantised layouts: for each block of 32 columns, in order, with the weights' scale d (and
// minimum m) and the activations' d and e of the block, and I the exact integer sum of
// weight times activation (of s·weight times activation for Q2_K, Q3_K and Q6_K),
//
//	acc = fma(d_w·d_x, I, acc), then, where there is a minimum, acc = fma(-m, e_x, acc)
//
// Q2_K has two minima to a block and takes them off as a whole number too: the second step is
// acc = fma((dmin/8)·d_x, m_0·c2_0 + m_1·c2_1, acc), with c2 of the activations.
//
// Float layouts: the order of Dot over the columns filled up with zeros to a multiple of 16.
//
// So the result is the same for every way to cut tokens and panels into calls.
func MatMul(y []float32, yStride int, w *Matrix, panel0, panel1 int, x *Acts, tok0, tok1 int) {
	w.check(panel0, panel1)
	if x.cols != w.Cols || x.float != w.Layout.Float() || tok0 < 0 || tok1 > x.tokens {
		panic(fmt.Sprintf("kernel: internal error: %v weights with %d columns, activations with %d (float %v), tokens %d to %d of %d",
			w.Layout, w.Cols, x.cols, x.float, tok0, tok1, x.tokens))
	}
	if panel0 >= panel1 || tok0 >= tok1 {
		return
	}
	_ = y[(tok1-tok0-1)*yStride+min(PanelRows*panel1, w.Rows)-1]
	step := panelsPerCall(w, tok1-tok0)
	for p := panel0; p < panel1; p += step {
		m := product{y: y, yStride: yStride, w: w, x: x, p0: p, p1: min(p+step, panel1)}
		if m.p1*PanelRows > w.Rows { // the last panel has rows that y does not
			m.p1--
			lastPanel(m, tok0, tok1)
		}
		if m.p0 < m.p1 {
			m.run(tok0, tok1)
		}
	}
}

// product is a MatMul over whole panels.
type product struct {
	y       []float32
	yStride int
	w       *Matrix
	x       *Acts
	p0, p1  int
}

// panelsPerCall keeps a block of weights within the second-level cache while the tokens pass,
// and bounds what one call of assembly does: 256 KiB of weights from memory, or of those a tile's
// 2 to 10 M multiply-adds, are 25 to 80 µs.
func panelsPerCall(w *Matrix, tokens int) int {
	bytes := w.Layout.PanelBytes(w.Cols)
	if tokens <= maxTile {
		return max(1, 256<<10/bytes)
	}
	return max(1, min(4, 256<<10/bytes))
}

// maxTile is the most tokens that one call of assembly takes at any level.
const maxTile = 12

// nextTile is how many of the left tokens the next tile takes: full tiles with even ones at the end.
func nextTile(l Layout, left int) int {
	w := tileWidth(l)
	if left > 2*w {
		return w
	}
	tiles := (left + w - 1) / w
	return (left + tiles - 1) / tiles
}

// lastPanel computes panel m.p1 with a buffer of its own and copies the rows that exist.
//
//go:noinline
func lastPanel(m product, tok0, tok1 int) {
	var buf [maxTile * PanelRows]float32
	rows := m.w.Rows - m.p1*PanelRows
	for t := tok0; t < tok1; {
		n := nextTile(m.w.Layout, tok1-t)
		m.tile(buf[:], PanelRows, m.p1, m.p1+1, t, n)
		for i := 0; i < n; i++ {
			copy(m.y[(t-tok0+i)*m.yStride+m.p1*PanelRows:], buf[i*PanelRows:][:rows])
		}
		t += n
	}
}

func (m *product) run(tok0, tok1 int) {
	for t := tok0; t < tok1; {
		n := nextTile(m.w.Layout, tok1-t)
		m.tile(m.y[(t-tok0)*m.yStride+m.p0*PanelRows:], m.yStride, m.p0, m.p1, t, n)
		t += n
	}
}

// tile computes n ≤ maxTile tokens from t on: y[i*stride+row-16*p0].
//
//go:noinline
func (m *product) tile(y []float32, stride, p0, p1, t, n int) {
	w := m.w.panels(p0, p1)
	if m.x.float {
		for row, step := 0, m.floatRows(); len(w) > 0; row += step {
			bytes := min(len(w), step*m.w.Layout.PanelBytes(m.w.Cols)/PanelRows)
			m.floatTile(y[row:], stride, w[:bytes], t, n)
			w = w[bytes:]
		}
		return
	}
	x := m.x.q[t*m.x.stride:][:(n-1)*m.x.stride+m.x.cols/32*actBlock]
	_ = y[(n-1)*stride+(p1-p0)*PanelRows-1]
	if raceEnabled {
		raceRead(x)
		raceRead(w[:min(len(w), 64)])
		for i := range n {
			raceWrite(y[i*stride:][:(p1-p0)*PanelRows])
		}
	}
	info := &layouts[m.w.Layout]
	a := mulArgs{
		w: unsafe.Pointer(&w[0]), x: unsafe.Pointer(&x[0]), y: unsafe.Pointer(&y[0]),
		xstep: m.x.stride, ystep: 4 * stride, panels: p1 - p0,
		supers: m.x.cols / 32 / info.super, ahead: prefetchAhead,
		panelBytes: len(w) / (p1 - p0),
	}
	if !mulTileSIMD(m.w.Layout, n, &a) {
		mulTileGeneric(m.w.Layout, y, stride, w, p1-p0, x, m.x.stride, m.x.cols/32, n)
	}
}

// floatRows is how many rows one call of floatTile takes: runs of four rows, of a panel whose rows may be
// 84 KiB long, of as many bytes as panelsPerCall gives quantised ones.
func (m *product) floatRows() int {
	return 4 * max(1, 256<<10/(m.w.Layout.PanelBytes(m.w.Cols)/4))
}

// floatTile runs the runs of four rows that w holds.
//
//go:noinline
func (m *product) floatTile(y []float32, stride int, w []byte, t, n int) {
	info := &layouts[m.w.Layout]
	pad := m.x.stride
	run := 4 * pad * info.float
	kind := [...]Kind{LayoutF32: F32, LayoutF16: F16, LayoutBF16: BF16}[m.w.Layout]
	a := dotArgs{
		rstep: 16 * info.float, cstep: 64 * info.float, xstep: 4 * pad,
		yrow: 4, yvec: 4 * stride, chunks: pad / 16,
		ahead: 2 << 10,
	}
	for i, k := 0, 0; i < n; i += k {
		var rows int
		rows, k = dotShape(4, n-i)
		a.astep = 16 * info.float * rows
		x := m.x.f[(t+i)*pad:][:k*pad]
		out := y[i*stride:][:(k-1)*stride+len(w)/run*4]
		if raceEnabled {
			raceRead(x)
			for j := range k {
				raceWrite(out[j*stride:][:len(w)/run*4])
			}
		}
		a.x = unsafe.Pointer(&x[0])
		if rows == 4 {
			a.w, a.y = unsafe.Pointer(&w[0]), unsafe.Pointer(&out[0])
			a.gstep, a.groups = run, len(w)/run
			if !dotTileSIMD(kind, 4, k, &a) {
				floatTileGeneric(kind, out, stride, w, x, pad, k)
			}
			continue
		}
		for g := 0; g < len(w)/run; g++ { // four rows in two or more groups
			a.w, a.y = unsafe.Pointer(&w[g*run]), unsafe.Pointer(&out[4*g])
			a.gstep, a.groups = rows*a.rstep, 4/rows
			if !dotTileSIMD(kind, rows, k, &a) {
				floatTileGeneric(kind, out, stride, w, x, pad, k)
				break
			}
		}
	}
}

// prefetchAhead is how far ahead of the weights being used a product with one vector
// prefetches, in bytes; 0 leaves it to the hardware. What is best depends on the machine. In
// per cent of stream read, one thread, Q4_0 of 1,536 columns, 0, 2, 4 KiB: Zen 3 (AVX2) 71, 95,
// 92; Zen 4 (2026-11-23, medians of 60 interleaved pieces of 1 MiB) AVX2 80 to 83, 71, 84,
// AVX-512 83 to 89, 73, 79. CPUs with VNNI start with 0, others with 2 KiB.
var prefetchAhead = 2 << 10

// SetPrefetch sets the prefetch distance in bytes, for machines where another one is better;
// like SetLevel, not beside running kernels.
func SetPrefetch(bytes int) { prefetchAhead = bytes }

// mulArgs is what a tile of a quantised product reads. Steps are bytes.
type mulArgs struct {
	w, x, y    unsafe.Pointer
	xstep      int // to the next token
	ystep      int // to the next token
	panels     int // at least 1
	supers     int // super-blocks of a panel, at least 1
	ahead      int // prefetch distance
	panelBytes int
	half8      int // 8 when only the second half of the rows is wanted: a field of n bytes a row has them 8·n further on
}

// half is the arguments for rows 8h … 8h+7 of every panel.
func (a mulArgs) half(h int) mulArgs {
	a.half8 = 8 * h
	a.y = unsafe.Add(a.y, 4*a.half8)
	return a
}
