// Package quant knows the block formats in which GGUF files store weights:
// their sizes, how to turn stored bytes into float32 values ([Decode]) and how
// to turn float32 values into stored bytes ([Encode]).
//
// A tensor row of n values is a run of n/BlockLen blocks, each BlockBytes long
// and independent of its neighbours, so any whole number of blocks can be
// decoded or encoded on its own. The layouts are drawn beside each decoder and
// collected in docs/format-quant.md.
//
// Decoding is exact: every value is computed in float32 with the order of
// operations that the format's definition gives, and with each product rounded
// before it is added, so the result has the same bits on every machine.
// Encoding is a search for the blocks with the least squared error; its result
// is deterministic too.
//
// What it does not do: it reads no files, knows no tensor names or shapes and
// does no arithmetic on quantised values (dot products belong to the
// backends). It starts no goroutines; callers share large tensors out by rows.
//
// Who calls it: checkpoint (sizes), ple and backends (decoding), convert
// (encoding).
//
// Memory: all buffers belong to the caller, nothing is retained, and no call
// allocates unless it returns an error. All functions are safe for concurrent
// use as long as the buffers are not shared.
package quant
