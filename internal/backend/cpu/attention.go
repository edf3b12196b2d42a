package cpu

import (
	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/kernel"
)

// Attention of a query is computed block by block over the positions it sees:
//
//	top_b = max q·k_j      sum_b = Σ exp(q·k_j − top_b)      acc_b = Σ exp(q·k_j − top_b)·v_j
//
// and the blocks are merged in ascending order, each sum scaled to the larger top.
// Blocks begin at multiples of keyBlock, so the order of every sum follows from
// the query's position alone: a prompt's queries, which go through the blocks one
// after the other, and a single query, whose blocks are spread over the threads, get
// the same bits.
const (
	keyBlock = 256 // positions of a block

	// taskVecs bounds the query vectors (queries × heads of a group) of a task:
	// each key and value is read once for all of them.
	taskVecs = 32
)

// attendJob is Attend. While prompts are evaluated a task is a run of queries of
// one span against one K/V head. While all spans are single queries a task is one
// of their blocks, for one K/V head or, when there are few blocks, some of its heads.
type attendJob struct {
	c       *CPU
	dst, q  *backend.Tensor
	spans   []backend.Span
	a       backend.Attention
	first   []int // first task of each span
	group   int   // query heads of a K/V head
	queries int   // queries of a task
	dim     int   // headDim padded to a multiple of 8

	single bool // every span is one query
	heads  int  // query heads of a task
	acc    []float32
	sums   []sums // of every task's vectors; acc [task, head, dim] goes with it
}

// sums is the state of one query vector's softmax; acc [dim] goes with it.
type sums struct{ top, sum float32 }

// Attend implements backend.Backend.
func (c *CPU) Attend(dst, q *backend.Tensor, spans []backend.Span, a backend.Attention) {
	j := &c.attend
	*j = attendJob{
		c: c, dst: dst, q: q, spans: spans, a: a, group: a.Heads / a.KVHeads, dim: pad8(a.HeadDim),
		first: j.first[:0], acc: j.acc, sums: j.sums,
	}
	begin := c.prof.begin()
	if j.single = len(spans) == q.Rows; j.single {
		j.attendSingles()
	} else {
		j.queries = max(1, taskVecs/j.group)
		n := 0
		for i := range spans {
			j.first = append(j.first, n)
			n += (spans[i].N + j.queries - 1) / j.queries * a.KVHeads
		}
		c.pool.do(jobAttend, n)
	}
	c.prof.endAttend(j, begin)
}

// attendSingles computes all blocks of all spans, then merges them.
func (j *attendJob) attendSingles() {
	blocks := 0
	for i := range j.spans {
		blocks += j.blocks(&j.spans[i])
	}
	parts := min(j.group, max(1, len(j.c.scratch)/(blocks*j.a.KVHeads)))
	j.heads = (j.group + parts - 1) / parts
	n := 0
	for i := range j.spans {
		j.first = append(j.first, n)
		n += j.blocks(&j.spans[i]) * j.a.KVHeads * j.parts()
	}
	j.acc = grow(j.acc, n*j.heads*j.dim)
	if cap(j.sums) < n*j.heads {
		j.sums = make([]sums, n*j.heads)
	}
	j.sums = j.sums[:n*j.heads]
	j.c.pool.do(jobAttend, n)
	j.c.merge.attendJob = j
	j.c.pool.do(jobMerge, len(j.spans)*j.a.Heads)
}

// parts is the number of tasks that the heads of one K/V head make.
func (j *attendJob) parts() int { return (j.group + j.heads - 1) / j.heads }

// firstKey is the first position that the query at position pos sees.
func (j *attendJob) firstKey(pos int) int {
	if j.a.Window == 0 {
		return 0
	}
	return max(0, pos-j.a.Window+1)
}

// blocks is the number of blocks that the query of a single span sees.
func (j *attendJob) blocks(s *backend.Span) int {
	return s.Pos/keyBlock - j.firstKey(s.Pos)/keyBlock + 1
}

// span returns the span that a task belongs to and the task's number in it.
func (j *attendJob) span(task int) (*backend.Span, int) {
	i := len(j.first) - 1
	for j.first[i] > task {
		i--
	}
	return &j.spans[i], task - j.first[i]
}

func (j *attendJob) run(worker, task int) {
	span, n := j.span(task)
	r := attendRun{attendJob: j, s: &j.c.scratch[worker], span: span}
	if !j.single {
		r.kvHead, r.query = n%j.a.KVHeads, n/j.a.KVHeads*j.queries
		r.n, r.head, r.nHead = min(j.queries, span.N-r.query), r.kvHead*j.group, j.group
		r.prompt()
		return
	}
	part := n % j.parts()
	r.kvHead = n / j.parts() % j.a.KVHeads
	r.n, r.head, r.nHead = 1, r.kvHead*j.group+part*j.heads, min(j.heads, j.group-part*j.heads)
	block := j.firstKey(span.Pos)/keyBlock + n/j.parts()/j.a.KVHeads
	r.copyQueries()
	r.follow = j.soon(span, n)
	r.block(block*keyBlock, min((block+1)*keyBlock, span.Pos+1),
		j.acc[task*j.heads*j.dim:], j.sums[task*j.heads:])
}

// soon is the first keys of the task of a single query that the thread which runs its task n will
// likely take next, when all threads are as fast.
func (j *attendJob) soon(span *backend.Span, n int) []byte {
	n += len(j.c.scratch)
	block := j.firstKey(span.Pos)/keyBlock + n/j.parts()/j.a.KVHeads
	if block > span.Pos/keyBlock {
		return nil
	}
	r := attendRun{attendJob: j, span: span, kvHead: n / j.parts() % j.a.KVHeads}
	keys := r.keys(max(block*keyBlock, j.firstKey(span.Pos)), min((block+1)*keyBlock, span.Pos+1)).keys
	return keys.Data[:min(len(keys.Data), firstPiece)]
}

// mergeJob merges the blocks of single queries; a task is one head of one span.
type mergeJob struct{ *attendJob }

func (j *mergeJob) run(_, task int) {
	i, head := task/j.a.Heads, task%j.a.Heads
	span := &j.spans[i]
	kvHead, h := head/j.group, head%j.group
	part, h := h/j.heads, h%j.heads
	var total sums
	var acc []float32
	for b := range j.blocks(span) {
		t := j.first[i] + (b*j.a.KVHeads+kvHead)*j.parts() + part
		v := t*j.heads + h
		if acc == nil { // merge into the first block's own memory
			acc, total = j.acc[v*j.dim:(v+1)*j.dim], j.sums[v]
			continue
		}
		total.merge(acc, j.sums[v], j.acc[v*j.dim:(v+1)*j.dim])
	}
	total.finish(j.dst.Row(span.Row)[head*j.a.HeadDim:(head+1)*j.a.HeadDim], acc)
}

// merge adds a later block to what has been summed.
func (t *sums) merge(acc []float32, b sums, add []float32) {
	switch {
	case b.sum == 0: // the query sees nothing of the block
	case t.sum == 0:
		copy(acc, add)
		*t = b
	case b.top > t.top:
		f := exp(t.top - b.top)
		kernel.Scale(acc, f)
		kernel.Add(acc, add)
		t.top, t.sum = b.top, float32(t.sum*f)+b.sum
	default:
		f := exp(b.top - t.top)
		kernel.Axpy(acc, add, f)
		t.sum += float32(b.sum * f)
	}
}

// finish sets out [headDim] to acc / sum.
func (t *sums) finish(out, acc []float32) {
	copy(out, acc)
	kernel.Scale(out, 1/t.sum)
}

func exp(x float32) float32 { return kernel.Exp(x) }

// attendRun is one task: nHead query heads, from head on, of n queries of a span,
// from query on, against one K/V head. Vector t stands for query t/nHead and head
// t%nHead.
type attendRun struct {
	*attendJob
	s           *scratch
	span        *backend.Span
	kvHead      int
	query, n    int
	head, nHead int
	queryVecs   []float32 // [vec, dim]
	follow      []byte    // what is asked for while the last values are summed

	// Of the block that is computed:
	to      int    // its end
	found   keyRun // the keys and values last looked for
	foundAt int    // their first position
}

// prompt computes the task's queries over all the blocks they see.
func (r *attendRun) prompt() {
	vecs, s := r.n*r.nHead, r.s
	r.copyQueries()
	s.acc = grow(s.acc, 2*vecs*r.dim)
	total, block := s.acc[:vecs*r.dim], s.acc[vecs*r.dim:]
	if cap(s.sums) < 2*vecs {
		s.sums = make([]sums, 2*vecs)
	}
	totals, blocks := s.sums[:vecs], s.sums[vecs:2*vecs]
	clear(totals)
	pos := r.span.Pos + r.query
	end := pos + r.n
	for from := r.firstKey(pos) / keyBlock * keyBlock; from < end; from += keyBlock {
		r.block(from, min(from+keyBlock, end), block, blocks)
		for t := range vecs {
			totals[t].merge(total[t*r.dim:(t+1)*r.dim], blocks[t], block[t*r.dim:(t+1)*r.dim])
		}
	}
	for t := range vecs {
		totals[t].finish(r.vector(r.dst, t), total[t*r.dim:t*r.dim+r.a.HeadDim])
	}
}

// vector returns vector t of a tensor [row, heads·headDim].
func (r *attendRun) vector(x *backend.Tensor, t int) []float32 {
	at := (r.head + t%r.nHead) * r.a.HeadDim
	return x.Row(r.span.Row + r.query + t/r.nHead)[at : at+r.a.HeadDim]
}

// copyQueries lays the task's query vectors side by side, padded, where they do not lie so already.
func (r *attendRun) copyQueries() {
	vecs, s := r.n*r.nHead, r.s
	if r.n == 1 && r.dim == r.a.HeadDim && !r.ints() {
		r.queryVecs = r.q.Row(r.span.Row + r.query)[r.head*r.dim:][:vecs*r.dim]
		return
	}
	s.query = grow(s.query, vecs*r.dim)
	r.queryVecs = s.query
	for t := range vecs {
		q := s.query[t*r.dim : (t+1)*r.dim]
		clear(q[copy(q, r.vector(r.q, t)):])
	}
	if !r.ints() {
		return
	}
	// Rounded to int16 they take the first half of their own memory; the scales go to the end,
	// once the last query no longer stands there.
	q := r.intQueries()
	s.scores = grow(s.scores, vecs*keyBlock)
	for t := range vecs {
		s.scores[t] = kernel.QuantizeInts(q.Data[t*r.dim:(t+1)*r.dim], s.query[t*r.dim:(t+1)*r.dim], kernel.MostInt(r.dim))
	}
	copy(q.Scale, s.scores)
}

// ints says that keys and values are int8, multiplied as whole numbers.
func (r *attendRun) ints() bool { return r.span.Hist.(*store).kind == kernel.I8 }

// intQueries is where copyQueries leaves rounded queries.
func (r *attendRun) intQueries() kernel.Ints {
	vecs := r.n * r.nHead
	n := vecs * r.dim
	return kernel.Ints{Data: int16sOf(r.s.query[:n]), Scale: r.s.query[n-vecs : n], N: vecs, Stride: r.dim}
}

// block computes the positions [from, to), which lie in one block, for the task's
// vectors: acc [vec, dim] and the sums beside it.
func (r *attendRun) block(from, to int, acc []float32, out []sums) {
	s, vecs := r.s, r.n*r.nHead
	s.scores = grow(s.scores, vecs*keyBlock)
	pos := r.span.Pos + r.query
	seen := max(from, r.firstKey(pos)) // nobody sees what is before
	r.to, r.found.keys.N = to, 0
	fetch(r.run(seen).keys)
	acc = acc[:vecs*r.dim]
	r.score(from, seen)
	if r.ints() {
		fetch(r.run(seen).values) // while the softmax is computed
	}
	for t := range vecs {
		// Query t sees [lo, hi) of the block; the rest weighs nothing.
		p := pos + t/r.nHead
		lo, hi := max(seen, r.firstKey(p)), min(to, p+1)
		w := s.scores[t*keyBlock+seen-from : t*keyBlock+to-from]
		if hi <= lo {
			clear(w)
			out[t] = sums{}
			continue
		}
		clear(w[:lo-seen])
		clear(w[hi-seen:])
		w = w[lo-seen : hi-seen]
		top := kernel.Max(w)
		out[t] = sums{top, kernel.ExpSum(w, top)}
	}
	if r.ints() {
		r.mixInts(from, seen, acc)
		return
	}
	weights := kernel.Vecs{N: vecs, Stride: keyBlock}
	for at := seen; at < to; {
		values := r.values(at)
		weights.Data = s.scores[at-from:]
		kernel.Mix(kernel.Vecs{Data: acc, N: vecs, Stride: r.dim}, weights, values, at == seen)
		at += values.N
	}
}

// score computes the scores of the positions from seen on of the block that begins at from. The last
// keys ask for the first values.
func (r *attendRun) score(from, seen int) {
	vecs, bytes := r.n*r.nHead, firstPiece
	for at := seen; at < r.to; {
		keys := r.piece(r.run(at).keys, at, bytes)
		scale := r.found.kScale
		bytes = pieceBytes
		if next := at + keys.N; next < r.to {
			keys.Next = r.piece(r.run(next).keys, next, bytes).Data
		} else {
			keys.Next = r.piece(r.run(seen).values, seen, bytes).Data
		}
		if scores := r.s.scores[at-from:]; r.ints() {
			kernel.DotInts(scores, keyBlock, keys, r.intQueries())
			r.scale(at-from, scale)
		} else {
			kernel.Dots(scores, 1, keyBlock, keys, kernel.Vecs{Data: r.queryVecs, N: vecs, Stride: r.dim})
		}
		at += keys.N
	}
}

// values returns the first piece of the values from position at on, which asks for the second, and the
// block's last for what the task's thread will likely read next.
func (r *attendRun) values(at int) kernel.Rows {
	v := r.piece(r.run(at).values, at, pieceBytes)
	if next := at + v.N; next < r.to {
		v.Next = r.piece(r.run(next).values, next, pieceBytes).Data
	} else {
		v.Next = r.follow
	}
	return v
}

// mixInts sums int8 values: weights times the values' scales become whole numbers of one scale for
// the block, since that must not depend on where its runs begin.
func (r *attendRun) mixInts(from, seen int, acc []float32) {
	vecs, scores, to := r.n*r.nHead, r.s.scores, r.to
	for at := seen; at < to; {
		run := r.run(at)
		r.scale(at-from, run.vScale)
		at += run.keys.N
	}
	// Like the queries: the row's first half, and its last element the scale.
	weights := kernel.Ints{Data: int16sOf(scores), N: vecs, Stride: 2 * keyBlock}
	for t := range vecs {
		row := scores[t*keyBlock : (t+1)*keyBlock]
		n := copy(row, row[seen-from:to-from])
		clear(row[n : n+n%2])
		row[keyBlock-1] = kernel.QuantizeInts(weights.Data[t*2*keyBlock:][:n+n%2], row[:n+n%2], kernel.MostInt(keyBlock))
	}
	sums := int32sOf(acc)
	clear(sums)
	for at := seen; at < to; {
		values := r.values(at)
		part := weights
		part.Data = weights.Data[at-seen:]
		kernel.MixInts(sums, r.dim, part, values)
		at += values.N
	}
	for t := range vecs {
		kernel.ScaleInts(acc[t*r.dim:(t+1)*r.dim], sums[t*r.dim:(t+1)*r.dim], scores[(t+1)*keyBlock-1])
	}
}

// Keys and values are read in pieces, and while one is computed with, the next is asked for. The
// first keys of a task are asked for by themselves and are fewer. Median time of attention at 4096
// positions, keys and values out of the caches, pieces of 16, 32, 48, 64 KiB (2-core Zen 4 VM,
// 2026-11-23, busy): 730, 685, 700, 714 µs a full layer and 41.2, 39.9, 40.5, 43.2 µs a window of 512.
const (
	firstPiece = 16 << 10
	pieceBytes = 32 << 10
)

// piece is the first of the found keys or values from position at on, of at most so many bytes. Functions
// of int8 rows ask for what follows in memory themselves: there it is all of them.
func (r *attendRun) piece(rows kernel.Rows, at, bytes int) kernel.Rows {
	if rows.Kind == kernel.I8 {
		return rows
	}
	i := at - r.foundAt
	rows.N = min(rows.N-i, max(1, bytes/rows.Stride))
	rows.Data = rows.Data[i*rows.Stride : (i+rows.N)*rows.Stride]
	return rows
}

// fetch asks for the first of what will be read.
func fetch(r kernel.Rows) { kernel.Fetch(r.Data[:min(len(r.Data), firstPiece)]) }

// scale multiplies the scores or weights of the positions from at on, counted in
// the block, by the scales of their int8 rows.
func (r *attendRun) scale(at int, by []float32) {
	for t := range r.n * r.nHead {
		w := r.s.scores[t*keyBlock+at:]
		kernel.Mul(w[:len(by)], by)
	}
}

// keyRun is the keys and values of consecutive positions that lie together in
// memory, with the scales of int8 rows.
type keyRun struct {
	keys, values   kernel.Rows
	kScale, vScale []float32
}

// run returns the keys and values from position at on, a run of the block.
func (r *attendRun) run(at int) *keyRun {
	if at < r.foundAt || at >= r.foundAt+r.found.keys.N {
		r.found, r.foundAt = r.keys(at, r.to), at
	}
	return &r.found
}

// keys returns the run of positions that begins at at and ends before to, sooner
// where the store wraps or the fresh keys begin.
func (r *attendRun) keys(at, to int) keyRun {
	kv, slot := r.span.Hist.(*store), 0
	if r.span.Fresh != nil && at >= r.span.FreshPos {
		kv = r.span.Fresh.(*store)
		slot = r.span.FreshSlot + at - r.span.FreshPos
	} else {
		slot = at % kv.spec.Slots
		if r.span.Fresh != nil {
			to = min(to, r.span.FreshPos)
		}
	}
	n := min(to-at, kv.spec.Slots-slot)
	i := kv.index(r.kvHead, slot)
	run := keyRun{keys: kernel.Rows{Kind: kv.kind, Data: kv.rows(kv.k, i, n), N: n, Cols: r.dim, Stride: kv.rowBytes}}
	run.values = run.keys
	run.values.Data = kv.rows(kv.v, i, n)
	if kv.kind == kernel.I8 {
		run.kScale, run.vScale = kv.kScale[i:i+n], kv.vScale[i:i+n]
	}
	return run
}
