package plan

// Allowances for what has no formula, chosen and then held against measured peaks on
// linux/amd64, 2 cores, Go 1.26, 2026-11-23 (docs/measurements/memory.md): together
// they err by 15 to 20 MiB on the safe side.
const (
	// programBytes is the pages of the executable that a run touches. They are file
	// pages: a process in a memory cgroup pays for those that nobody else has read.
	programBytes = 12 << 20

	// runtimeBytes is what Go's runtime and the libraries hold before a model is
	// opened: type tables, goroutine stacks, the collector's own memory, the catalog.
	runtimeBytes = 12 << 20

	// threadBytes is a thread's stack and the scheduler's share for it.
	threadBytes = 256 << 10

	// slackShare is the part of the heap (one in so many) that garbage may take: the
	// collector runs when the limit is reached, and should not run all the time.
	slackShare = 32

	// tokenBytes and mergeBytes are estimates of the tokenizer's tables, and the header's copies
	// of the same texts, for each token and each merge of a vocabulary.
	tokenBytes = 200
	mergeBytes = 120

	// The weights lie in pieces of 64 MiB that begin on huge pages; a piece is left
	// when the next matrix does not fit, on average with some 60 MiB in it, and its
	// last huge page counts whole.
	pieceBytes    = 60 << 20
	hugePageBytes = 2 << 20

	// spareRows and rowBooks are the per-layer table's buffers that wait for use
	// and its books about a row.
	spareRows = 16
	rowBooks  = 256
)
