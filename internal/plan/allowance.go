package plan

// Allowances for what has no formula, held against measured peaks on linux/amd64, 2
// cores, Go 1.26, 2026-11-23 (docs/planning.md).
const (
	// programBytes is pages of the executable. A run touches 11.6 to 15.4 MiB of them; what is
	// over is covered by heap slack and the sampler's tables. They are file pages: a process in
	// a memory cgroup pays for those that nobody else has read.
	programBytes = 12 << 20

	// runtimeBytes is what Go's runtime and the libraries hold beside all that is
	// counted: type tables, goroutine stacks, the collector's own memory, the catalog.
	// 4 to 5 MiB were measured; the rest is room for small garbage.
	runtimeBytes = 8 << 20

	// threadBytes is a thread's stack and the scheduler's share for it.
	threadBytes = 256 << 10

	// slackShare is the part of the heap (one in so many) that garbage may take: the
	// collector runs when the limit is reached, and should not run all the time.
	slackShare = 32

	// tokenBytes and mergeBytes are what the tokenizer's tables take for each token and
	// each merge of a vocabulary: its 262,144 tokens and 514,906 merges took 19.5 MiB,
	// hash tables half to three quarters full.
	tokenBytes = 48
	mergeBytes = 28

	// hugePageBytes is the last huge page of the weights, of which a part is not used.
	hugePageBytes = 2 << 20

	// spareRows and rowBooks are the per-layer table's buffers that wait for use
	// and its books about a row.
	spareRows = 16
	rowBooks  = 256
)
