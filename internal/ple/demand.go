package ple

import "os"

// Depth is how many reads are under way at once where they need no thread each (direct reads
// with io_uring, HTTP), unless Options say otherwise.
//
// 512 rows of 7,350 bytes, cold, nothing else of ours computing: io_uring with 16, 32 and 64
// under way took 29, 26 and 18 ms in one run and 23, 18 and 16 in another, a web server 1 ms
// away 122, 121 and 115 ms (c7fda9a, docs/measurements/ple-io.md).
const Depth = 32

// How many reads go on at once where each blocks a thread, 32 of which gained at most a
// quarter over 8, and how long a read of several rows may be: one of 256 KiB saved up to 7 ms
// of those of io_uring and 15 of the server's, in four times the memory.
const (
	poolWorkers  = 16
	maxReadBytes = 64 << 10
)

// ReadMemory says what the reads of a table take at most while they are under way: how many go
// on at once, how many bytes their buffers have together, and whether these count for Go's
// memory limit. kind is where the table is, rowBytes the length of a row, workers as in
// Options. Nothing is taken for a table in memory.
//
// A ring's buffers are not Go's. Where the system seems to allow one and refuses it later, or
// the source is a Slow one, goroutines read in no more memory, which is Go's: then Table.Device
// is not "ring".
func ReadMemory(kind Kind, workers int, rowBytes int64) (atOnce int, bytes int64, heap bool) {
	each := max(maxReadBytes, rowBytes)
	choose := func(usual int) {
		if atOnce = workers; atOnce == 0 {
			atOnce = usual
		}
	}
	switch {
	case kind == RAM:
		return 0, 0, true
	case kind == HTTP: // a goroutine's, and its connection's
		choose(Depth)
		return atOnce, int64(atOnce)*each + int64(atOnce+maxCalls)*(each+wireHead), true
	case kind == Direct:
		choose(poolWorkers)
		pool := int64(atOnce) * (2*each + 3*blockBytes) // widened and aligned, and what is wanted of it
		if !hasRing() {
			return atOnce, pool, true
		}
		choose(Depth)
		page := int64(os.Getpagesize())
		ring := int64(atOnce) * ((each + 2*blockBytes + page - 1) / page * page) // widened, in whole pages
		return atOnce, max(pool, ring), false
	}
	choose(poolWorkers)
	return atOnce, int64(atOnce+1) * each, true // and one for what the page cache has
}

// blockBytes is what direct reads are aligned to, at most: on either side of what is wanted
// one more such block may be read.
const blockBytes = 4 << 10
