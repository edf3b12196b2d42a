// Package checkpoint opens model files. A GGUF file, a set of split GGUF
// files, a safetensors file or a folder of safetensors shards becomes one
// [Catalog]: named tensors, each with a type, a shape and an [io.ReaderAt]
// over its bytes. It also writes both formats ([GGUFWriter],
// [SafetensorsWriter]).
//
// The border is here: every count, length, type, dimension product, offset,
// alignment and name is checked against the file before it is used, and before
// memory is taken for it. A file that breaks a rule gives an error that is
// [ErrCorrupt] and names path, tensor and byte offset; one that follows the
// rules of a dialect this package does not read is [ErrUnsupported]. No input
// panics. Files are never mapped into memory: one that shrinks while it is open
// gives an error from ReadAt, not a fault. docs/format-gguf.md has the rules.
//
// What it does not do: it knows no model. Tensor names, required keys and
// shapes belong to package gemma, block contents and numbers to package quant.
//
// Who calls it: gemma (bind), ple (through [Tensor] as a reader), convert,
// inspect, tests.
//
// Memory: opening holds the metadata and one small struct per tensor, never
// tensor bytes; [Tensor.ReadAt] fills the caller's buffer and keeps nothing.
// Slices got from [Meta] and [Catalog.Tensors] are shared and must not be
// changed.
//
// A Catalog, its Meta and its Tensors may be used by many goroutines at once;
// a writer belongs to one goroutine.
package checkpoint
