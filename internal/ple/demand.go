package ple

// How many reads go on at once, and how long a read of several rows may be. 512 rows
// of 7,350 bytes, cold, nothing else computing: io_uring with 16, 32 and 64 under way took
// 22, 17 and 17 ms, a web server 1 ms away 110 ms with 16 and 101 with 32, reads of at most
// 256 KiB no less than those of 64 KiB on either (docs/measurements/ple-io.md). With
// goroutines, each of which blocks a thread, 32 gained at most a quarter over 8.
const (
	poolWorkers  = 16
	ringDepth    = 32
	maxReadBytes = 64 << 10
)

// ReadMemory says what the reads of a table take while they are under way: how many go on
// at once, how many bytes their buffers have together, and whether these count for Go's
// memory limit. kind is where the table is, rowBytes the length of a row, workers and the
// largest read as in Options, with 0 for the defaults. Nothing is taken for a table in
// memory.
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
		choose(httpWorkers)
		return atOnce, int64(atOnce)*each + int64(atOnce+maxCalls)*(each+wireHead), true
	case kind == Direct && hasRing():
		choose(ringDepth)
		return atOnce, int64(atOnce) * (each + ringAlign), false
	case kind == Direct: // widened, and what is wanted of it
		choose(poolWorkers)
		return atOnce, int64(atOnce) * (2*each + ringAlign), true
	}
	choose(poolWorkers)
	return atOnce, int64(atOnce+1) * each, true // and one for what the page cache has
}

// ringAlign is the most that an aligned buffer of a read is longer than the read, on
// devices of blocks up to 4 KiB.
const ringAlign = 12 << 10
