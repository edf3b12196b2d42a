// Package backend is the contract between the forward pass (package gemma)
// and a device that can do its arithmetic.
//
// It holds types and one interface, and no arithmetic. Implementations are
// backend/ref (float32, slow, obvious: it defines what is right) and backend/cpu
// (threads, weights in their quantised form). A fused operation enters the
// contract together with its ref version and a test that compares the two.
//
// Activations are Tensors, x [row, col] float32, row-major, in host memory; a
// row is one token. Weights are Matrices, w [out, in], so that y = w·x, held in
// whatever form the device likes. Vectors (norm weights) are plain []float32.
//
// Every operation computes each row of its result from that row of its inputs
// alone, in an order that does not depend on the number of rows, so neither
// batch mates, nor prompt chunks, nor threads change a bit of an answer.
//
// Weights lie in Slabs, memory of the device that the caller cuts up and may use again
// for others. Reading them is the caller's business: the device is handed stored rows.
//
// Shapes are checked by the caller once, when weights are bound; an
// implementation may panic with "internal error" on a mismatch. A Backend is
// used by one goroutine at a time, except NewSlab, Place, Fill, Packed and Memory, which may be called
// concurrently with each other and with everything else.
package backend

import "github.com/plume-run/plume/internal/quant"

// Tensor is a block of activations x [Rows, Cols] f32; row i is
// Data[i*Cols : (i+1)*Cols]. Data may have spare capacity (see Resize).
type Tensor struct {
	Rows, Cols int
	Data       []float32
}

// NewTensor returns zeroed activations of the given shape.
func NewTensor(rows, cols int) *Tensor {
	return &Tensor{Rows: rows, Cols: cols, Data: make([]float32, rows*cols)}
}

// Row returns row i, aliasing the tensor.
func (t *Tensor) Row(i int) []float32 { return t.Data[i*t.Cols : (i+1)*t.Cols : (i+1)*t.Cols] }

// Resize gives t the shape [rows, cols], keeping its memory when that is large
// enough. The values are unspecified afterwards unless cols is unchanged, in
// which case the first min(old, new) rows keep theirs.
func (t *Tensor) Resize(rows, cols int) {
	n := rows * cols
	if cap(t.Data) < n {
		data := make([]float32, n)
		copy(data, t.Data)
		t.Data = data
	}
	t.Rows, t.Cols, t.Data = rows, cols, t.Data[:n]
}

// MatrixSpec is the shape of a weight w [Out, In] and the format that its rows are stored in.
type MatrixSpec struct {
	Type    quant.Type
	Out, In int
}

// FillRows is what the rows of a matrix are filled in multiples of, see Backend.Fill.
const FillRows = 16

// SlabAlign is what the offsets of matrices in a slab are multiples of: a page, so that
// packed rows can be read into their place past the page cache.
const SlabAlign = 4096

// Slab is memory of the device that matrices are placed in.
type Slab interface {
	Bytes() int64
}

// Matrix is a weight w [Out, In] placed in a slab.
type Matrix interface {
	Shape() (out, in int)
	Bytes() int64 // of its slab that it takes
}

// Product is one matrix product of Linear: columns [Col, Col+out) of Dst become
// x [row, in] · Wᵀ; its other columns stay.
type Product struct {
	Dst *Tensor
	W   Matrix
	Col int
}

// Rope holds one rotation angle per row and pair: for head dimension d, the
// pairs (i, i+d/2), i < Pairs, are rotated by the angle whose cosine and sine
// are Cos and Sin [row, Pairs]; the other pairs stay as they are.
type Rope struct {
	Pairs    int
	Cos, Sin []float32
}

// KVSpec is the shape of a K/V store: K and V, each [Heads, Slots, HeadDim] in
// Type (F32, F16 or I8).
type KVSpec struct {
	Heads, HeadDim, Slots int
	Type                  quant.Type
	Copy                  bool // only filled from a store and copied back to one, and soon gone
}

// KV stores keys and values of one layer. Slot s holds whatever Store last put there.
type KV interface {
	Spec() KVSpec
	Bytes() int64
}

// Span is a run of queries of one sequence inside a batch: rows
// [Row, Row+N) of the query tensor stand at positions Pos, Pos+1, ….
//
// The key of position j is in Fresh at slot FreshSlot + (j − FreshPos) when
// j ≥ FreshPos, and in Hist at slot j mod Hist.Slots before that. Fresh is nil
// when Hist already holds every key.
type Span struct {
	Row, N, Pos int
	Hist, Fresh KV
	FreshPos    int
	FreshSlot   int
}

// Attention is what Attend needs to know of a layer. Query head h reads K/V
// head h / (Heads/KVHeads); position p sees positions max(0, p−Window+1) … p, or
// 0 … p when Window is 0. Scores are not scaled.
type Attention struct {
	Heads, KVHeads, HeadDim, Window int
}

// Expert is one feed-forward network of a mixture layer: Gate and Up [ffn, hidden],
// Down [hidden, ffn].
type Expert struct {
	Gate, Up, Down Matrix
}

// Backend does the arithmetic of the forward pass. dst never aliases an input
// unless the operation says it works in place.
type Backend interface {
	// Name identifies the backend and the code path in use ("ref", "cpu avx2").
	Name() string

	// MatrixBytes is what a matrix takes in a slab; 0 when the device cannot hold it.
	MatrixBytes(t quant.Type, out, in int) int64

	// NewSlab takes memory for weights, until Close.
	NewSlab(bytes int64) (Slab, error)

	// Place makes a matrix of the MatrixBytes bytes of s from off on, a multiple of
	// SlabAlign. It holds nothing sensible before its rows have been filled. Matrices
	// may be placed over each other: what was filled last counts.
	Place(s Slab, off int64, spec MatrixSpec) (Matrix, error)

	// Fill sets rows of m from row on to raw, whole rows as they are stored. row is a
	// multiple of FillRows, and so is their number unless they are the last. Disjoint
	// rows may be filled at the same time. raw is not kept.
	Fill(m Matrix, row int, raw []byte) error

	// Packed names the form that Fill gives rows, "" when matrices are not bytes in host
	// memory. What one matrix has in the memory of its rows can be copied into that of
	// the same rows of another, also in another process with the same Packed.
	Packed() string

	// Memory is the MatrixBytes(t, out, in) bytes of m. Its rows from row r on, a
	// multiple of FillRows, begin at byte MatrixBytes(t, r, in), and the bytes are the
	// same wherever m lies and whatever its other rows are. The capacity goes on to the
	// next multiple of SlabAlign, where the slab has that: nobody's bytes. Only with a
	// Packed; to be written under the rules of Fill.
	Memory(m Matrix) []byte

	// Embed sets dst row i to row ids[i] of w, times scale.
	Embed(dst *Tensor, w Matrix, ids []int32, scale float32)

	// Gather sets dst row i to x row rows[i].
	Gather(dst, x *Tensor, rows []int)

	// Norm sets dst = RMSNorm(x; w) = x · (mean(x²)+eps)^(−1/2) ⊙ w.
	Norm(dst, x *Tensor, w []float32, eps float32)

	// AddNorm sets x = (x + RMSNorm(y; w)) · scale, in place; y may be overwritten.
	AddNorm(x, y *Tensor, w []float32, eps, scale float32)

	// Add sets x = x + y, in place.
	Add(x, y *Tensor)

	// HeadNorm replaces every head (dim consecutive values) of every row of x by
	// its RMSNorm with weight w (nil: no weight), then rotates it (nil: no rotation).
	HeadNorm(x *Tensor, dim int, w []float32, eps float32, rope *Rope)

	// Linear multiplies the same x by several matrices.
	Linear(x *Tensor, products []Product)

	// GeGLU sets dst[:, col : col+out] = gelu_tanh(gate·x) ⊙ (up·x); other columns stay.
	GeGLU(dst, x *Tensor, gate, up Matrix, col int)

	// GateMul sets dst = gelu_tanh(w·x) ⊙ by[:, col : col+out].
	GateMul(dst, x *Tensor, w Matrix, by *Tensor, col int)

	// MixPLE turns ctx [row, n·len(w)] into the per-layer inputs, in place: for
	// every slice of len(w) values, (RMSNorm(ctx·ctxScale; w) + tok·tokScale)·2^(−1/2).
	MixPLE(ctx, tok *Tensor, w []float32, eps, ctxScale, tokScale float32)

	// NewKV makes a store for keys and values.
	NewKV(spec KVSpec) (KV, error)

	// Store puts rows [row, row+n) of k and v [row, heads·headDim] into n slots
	// from slot on, wrapping at the end of the store.
	Store(kv KV, slot int, k, v *Tensor, row, n int)

	// CopyKV copies n slots of src from row on into dst from slot on, wrapping there.
	CopyKV(dst KV, slot int, src KV, row, n int)

	// Attend sets the spans' rows of dst to softmax(q·kᵀ)·v, all [row, heads·headDim].
	Attend(dst, q *Tensor, spans []Span, a Attention)

	// AddExpert adds weights[i] · down(gelu_tanh(gate·x) ⊙ (up·x)) to row rows[i] of
	// dst for every i, where x is that row of x.
	AddExpert(dst, x *Tensor, rows []int, weights []float32, e Expert)

	// Softcap sets x = c · tanh(x/c), in place.
	Softcap(x *Tensor, c float32)

	// Close stops the backend's threads and frees the weights; nothing may use
	// its matrices or stores afterwards.
	Close() error
}
