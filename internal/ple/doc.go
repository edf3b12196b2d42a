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
// know tokens from other row numbers, and never writes. Package gemma calls it:
// Fetch as soon as ids are known, Wait where the first layer ends and the rows
// are used.
//
// # Sources
//
// A [Table] reads any io.ReaderAt. [OpenSource] opens the places where a table
// may be, and [Auto] chooses among them:
//
//	disk     the page cache, told in advance what will be read
//	direct   past the page cache; on Linux by io_uring where that is allowed
//	mmap     a mapping; lost pages are errors, not signals
//	ram      all of it in memory outside the Go heap, rows lent without a copy
//	http     range requests, checked against one version of the file
//
// # Reading
//
// [Table.Fetch] returns at once. Rows already in memory are pinned, rows being
// read for somebody else are shared (each is read once), and the others are
// queued in ascending order, rows close to each other as one read of at most
// Options.MaxReadBytes. [Table.FetchPart] asks for the beginning of rows only.
// The device of the table begins queued reads, up to Options.Workers at once.
//
// Where every processor computes, a goroutine that begins or ends a read does so
// milliseconds late. So the goroutine that asks begins reads, and the one that waits
// ends them, wherever that is possible:
//
//	           begins in Fetch                  ends in Wait
//	direct     io_uring, submitted              taken from the completion queue
//	disk       copied if in the page cache,     copied if it has arrived there
//	           else the kernel is told
//	http       request written to a kept        answer read, by a goroutine where
//	           connection, for a few rows       Wait has to sleep
//	others     a pool of goroutines             likewise
//
// [Slow] makes a source as slow as a simulated device, which begins in Fetch and needs
// nobody until Wait; a source through the page cache is then read in Wait.
//
// A read that takes longer than Options.Timeout is given up: its rows fail, what
// is left of it is nobody's, and another reader takes its place. Rows that fail
// in company are read again alone, so that an error names the row it belongs to.
//
// A file is looked at once a second while rows are asked for: length, time, and on Unix the
// time of change, which nobody sets back. One that was written to, so that samples of the table differ, fails every Fetch with ErrChanged until
// it is what it was; up to a second's rows may have come from it before. A file that
// was removed, or replaced by another of its name, is read on ([Stats].Nameless). A
// web server must answer with the version that was opened.
//
// Nothing here depends on timing: which bytes a row holds is the same for every
// source, pool size, cache size and order of requests.
//
// # Memory
//
// The table owns all row buffers and lends them: a slice from [Fetch.Row] is
// valid, and must not be written, until [Fetch.Release]. Memory in use is the
// rows of unreleased fetches, plus the cache (Options.CacheBytes), plus a few
// spare rows and one merge buffer per goroutine or read of the ring. The memory of
// the cache is there from the start, though no page of it before it is written:
// fetching single rows allocates nothing.
//
// # Goroutines
//
// All methods of [Table] may be called by any number of goroutines. A [Fetch]
// belongs to one goroutine at a time. Reading goroutines end at [Table.Close].
// docs/measurements/ple-io.md has what all this is worth.
package ple
