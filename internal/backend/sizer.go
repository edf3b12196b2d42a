package backend

import "github.com/plume-run/plume/internal/quant"

// Sizer tells what a device will take of memory, before it has been started. The
// device allocates by the same functions, so that a plan made from a model's
// headers cannot differ from what happens.
type Sizer interface {
	// MatrixBytes is Matrix.Bytes of a weight [out, in] stored in format t; 0 when
	// the device cannot hold it.
	MatrixBytes(t quant.Type, out, in int) int64

	// KVBytes is KV.Bytes of a store.
	KVBytes(spec KVSpec) int64

	// ScratchBytes is the working memory of the device for a step that does this
	// work, beside the tensors it is given.
	ScratchBytes(w Work) int64
}

// Work is what one forward step asks of a device, as far as its working memory
// depends on it.
type Work struct {
	Products  []ProductWork
	Attention []AttentionWork
	Experts   []ExpertsWork
}

// ProductWork is a product of Rows rows with a weight [Out, In] stored in Type; Gated
// when it is the second one of GeGLU, whose result is not a tensor.
type ProductWork struct {
	Rows, Out, In int
	Type          quant.Type
	Gated         bool
}

// AttentionWork is an Attend of one sequence: Rows queries, the last of which sees Keys
// positions.
type AttentionWork struct {
	Attention
	Rows, Keys int
}

// ExpertsWork is an AddExpert of Rows rows.
type ExpertsWork struct {
	Rows, Hidden, FFN int
}
