// Package ple brings rows of the per-layer embedding table from storage to
// memory just before they are needed, so that the table itself, up to half of
// a model, is never loaded.
//
// A row is everything the table holds for one token: the values of all layers,
// in the element type of the file, still encoded. Rows lie one behind the other:
//
//	byte 0        rowBytes      2·rowBytes            rows·rowBytes
//	├── row 0 ────┼── row 1 ────┼── …  ───────────────┤
//	│ layer 0 … L-1│             │
//
// This package moves bytes and knows no numbers. It does not decode, does not
// open files, does not know tokens from other row numbers, and never writes.
// Package gemma calls it: Fetch as soon as ids are known, Wait where the first
// layer ends and the rows are used.
//
// # Reading
//
// [Table.Fetch] returns at once. Rows already in memory are pinned, rows being
// read for somebody else are shared (each is read once), and the others are
// queued in ascending order for a bounded pool of goroutines. A goroutine takes
// neighbouring rows together into one read of at most Options.MaxReadBytes.
//
// Nothing here depends on timing: which bytes a row holds is the same for every
// pool size, cache size and order of requests.
//
// # Memory
//
// The table owns all row buffers and lends them: a slice from [Fetch.Row] is
// valid, and must not be written, until [Fetch.Release]. Memory in use is the
// rows of unreleased fetches, plus the cache (Options.CacheBytes), plus a few
// spare rows and one merge buffer per goroutine. Fetching single rows allocates
// nothing once the buffers exist.
//
// # Goroutines
//
// All methods of [Table] may be called by any number of goroutines. A [Fetch]
// belongs to one goroutine at a time. Reading goroutines start with the first
// reads and end at [Table.Close].
package ple
