// Package gemma is the Gemma 4 text decoder: its configuration, the names of its
// tensors, and the forward pass, written once against backend.Backend.
//
// ReadConfig validates what a checkpoint says of itself, Bind checks and loads
// the weights, Model.Forward turns token ids into logits, and a Cache holds the keys
// and values of one sequence. The per-layer embedding table is never loaded: its
// rows come from the file through package ple while layer 0 computes. The package
// knows no device and no kernel, and does no sampling and no text.
//
// A Model owns its weights and scratch memory; it and its Caches are used by one
// goroutine at a time, but for Ready and WeightStats. Called by package engine and package plume.
//
// # Weights
//
// The matrices of a forward pass are groups in order of use: the projection of the
// per-layer embeddings, each layer's matrices, each mixture layer's experts, the output
// matrix. Forward says use before a group, multiplies by what stays of a matrix, and then
// by the blocks of its rows that are read for every step, one after the other:
//
//	stays      in one slab of device memory, read once (supply.go)
//	streams    in blocks of rows, into a ring that is read ahead (blocks.go, stream.go)
//	experts    in slots of equal size, read when a router chooses them (expertcache.go)
//
// Residency says which is which, by one function for plan and Bind (residency.go). A few
// goroutines read for all of them, the most urgent first, pieces of several matrices at
// once (reader.go). Bind in the background is the same without waiting.
// All of them may be read from a packed copy of the weights instead (packed.go), as long
// as it is sound. When the output matrix is not there, input rows are read singly (inputrows.go).
//
// # Glossary
//
// One word per idea, with the letter used in shape comments.
//
//	hidden   H  width of the residual stream
//	layer    L  number of decoder layers
//	head        query head; kv head: key/value head, shared by a group of heads
//	headDim  d  values per head: one size in sliding layers, another in full ones
//	ffn      I  width of the feed-forward network, may differ by layer
//	window   W  positions a sliding layer sees, the query's own included
//	ple      P  values per token and layer of the per-layer embedding
//	row         one token's PLE values for all layers, L·P
//	vocab    V  number of token ids
//	owner       layer that computes keys and values of its own
//	donor       owner whose keys and values later layers share
//	prefill     evaluating a prompt, many tokens at once; decode: one at a time
//	step        one Forward; session: one sequence with its Cache
//	group       weights that are loaded and waited for together
//	block       rows of a matrix that stay or are streamed together
//	ring        memory that blocks take turns in; slot: the same for experts
//
// # The family
//
// Checked against ShapeConfig by a test.
//
//	          E2B     E4B     12B     26B-A4B  31B
//	H         1536    2560    3840    2816     5376
//	L         35      42      48      30       60
//	heads     8       8       16      16       32
//	kv heads  1       2       8/1     8/2      16/4     sliding/full
//	headDim   256/512 in all five
//	I         6144*   10240   15360   2112     21504    * 12288 from layer 15 on
//	W         512     512     1024    1024     1024
//	P         256     256     –       –        –
//	shared    20      18      0       0        0        layers without keys and values
//	experts   –       –       –       128, 8 at a time, ffn 704 –
//	V         262144 in all five
//
// # A layer
//
//	h = norm(x)            q, k, v = Wq·h, Wk·h, Wv·h      (shared layers: q only)
//	q = rope(norm(q))      k = rope(norm(k))      v = norm(v)
//	x = x + norm(Wo · softmax(q·kᵀ)·v)
//	x = x + norm(Wdown · (gelu(Wgate·norm(x)) ⊙ Wup·norm(x)))   (experts: see moe.go)
//	x = x + norm(Wproj · (gelu(Wplegate·x) ⊙ ple))              (models with PLE)
//	x = x · scalar
package gemma
