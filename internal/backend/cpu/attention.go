package cpu

import (
	"math"

	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/kernel"
)

const (
	// keyBlock is how many positions share one step of the online softmax. Blocks
	// begin at multiples of it, so that a query's sums depend on its position alone.
	keyBlock = 64

	// taskVecs bounds the query vectors (queries × heads of a group) of a task:
	// each key and value is read once for all of them.
	taskVecs = 32

	// taskHeads bounds the heads of a single query's task, so that a model with
	// one K/V head still gives two threads something to do.
	taskHeads = 4
)

// attendJob is Attend. A task is a run of queries of one span and some of the
// heads that share a K/V head.
type attendJob struct {
	c       *CPU
	dst, q  *backend.Tensor
	spans   []backend.Span
	a       backend.Attention
	tasks   []int // first task of each span
	group   int   // query heads of a K/V head
	queries int   // queries of a task
	heads   int   // query heads of a task
}

// Attend implements backend.Backend.
func (c *CPU) Attend(dst, q *backend.Tensor, spans []backend.Span, a backend.Attention) {
	j := &c.attend
	*j = attendJob{c: c, dst: dst, q: q, spans: spans, a: a, tasks: j.tasks[:0], group: a.Heads / a.KVHeads}
	j.heads, j.queries = j.group, max(1, taskVecs/j.group)
	if len(spans) == q.Rows { // decoding: single queries
		j.heads, j.queries = min(j.group, taskHeads), 1
	}
	n := 0
	for _, s := range spans {
		j.tasks = append(j.tasks, n)
		n += j.pieces(s.N) * a.KVHeads * j.parts()
	}
	begin := c.prof.begin()
	c.pool.do(jobAttend, n)
	c.prof.endAttend(j, begin)
}

// pieces is the number of runs that n queries make.
func (j *attendJob) pieces(n int) int { return (n + j.queries - 1) / j.queries }

// parts is the number of tasks that the heads of one K/V head make.
func (j *attendJob) parts() int { return (j.group + j.heads - 1) / j.heads }

func (j *attendJob) run(worker, task int) {
	i := len(j.tasks) - 1
	for j.tasks[i] > task {
		i--
	}
	task -= j.tasks[i]
	part := task % j.parts()
	kvHead := task / j.parts() % j.a.KVHeads
	query := task / j.parts() / j.a.KVHeads * j.queries
	r := attendRun{
		attendJob: j, s: &j.c.scratch[worker], span: &j.spans[i], kvHead: kvHead,
		query: query, n: min(j.queries, j.spans[i].N-query),
		head: kvHead*j.group + part*j.heads, nHead: min(j.heads, j.group-part*j.heads),
	}
	r.run()
}

// attendRun is one task: nHead query heads of n queries against one K/V head.
// Vector t stands for query t/nHead and head t%nHead.
type attendRun struct {
	*attendJob
	s           *scratch
	span        *backend.Span
	kvHead      int
	query, n    int // in the span
	head, nHead int
	dim         int // headDim padded to a multiple of 8
}

func (r *attendRun) run() {
	vecs, s := r.n*r.nHead, r.s
	r.dim = pad8(r.a.HeadDim)
	s.scores = grow(s.scores, vecs*keyBlock)
	s.sums = grow(s.sums, vecs*r.dim)
	s.top = grow(s.top, 2*vecs)
	clear(s.sums)
	for t := range vecs {
		s.top[2*t], s.top[2*t+1] = float32(math.Inf(-1)), 0
	}
	r.copyQueries()
	last := r.span.Pos + r.query + r.n - 1
	for from := r.firstKey(0) / keyBlock * keyBlock; from <= last; from += keyBlock {
		r.block(from, min(from+keyBlock, last+1))
	}
	for t := range vecs {
		sum := s.sums[t*r.dim : t*r.dim+r.a.HeadDim]
		kernel.Scale(sum, 1/s.top[2*t+1])
		copy(r.head1(r.dst, t), sum)
	}
}

// head1 returns vector t of a tensor [row, heads·headDim].
func (r *attendRun) head1(x *backend.Tensor, t int) []float32 {
	at := (r.head + t%r.nHead) * r.a.HeadDim
	return x.Row(r.span.Row + r.query + t/r.nHead)[at : at+r.a.HeadDim]
}

// firstKey is the first position that query i of the task sees.
func (r *attendRun) firstKey(i int) int {
	if r.a.Window == 0 {
		return 0
	}
	return max(0, r.span.Pos+r.query+i-r.a.Window+1)
}

// copyQueries lays the task's query vectors side by side, padded.
func (r *attendRun) copyQueries() {
	vecs, s := r.n*r.nHead, r.s
	s.query = grow(s.query, vecs*r.dim)
	for t := range vecs {
		q := s.query[t*r.dim : (t+1)*r.dim]
		clear(q[copy(q, r.head1(r.q, t)):])
	}
}

// block adds the positions [from, to), which lie in one block, to the sums.
func (r *attendRun) block(from, to int) {
	s, vecs := r.s, r.n*r.nHead
	seen := max(from, r.firstKey(0)) // nobody sees what is before
	q := kernel.Vecs{Data: s.query, N: vecs, Stride: r.dim}
	for at := seen; at < to; {
		run := r.keys(at, to)
		kernel.Dots(s.scores[at-from:], 1, keyBlock, run.keys, q)
		r.scale(at-from, run.kScale)
		at += run.keys.N
	}
	for t := range vecs {
		// Query t sees [lo, hi) of the block; the rest weighs nothing.
		pos := r.span.Pos + r.query + t/r.nHead
		lo, hi := max(seen, r.firstKey(t/r.nHead)), min(to, pos+1)
		w := s.scores[t*keyBlock+seen-from : t*keyBlock+to-from]
		if hi <= lo {
			clear(w)
			continue
		}
		clear(w[:lo-seen])
		clear(w[hi-seen:])
		s.weigh(t, r.dim, w[lo-seen:hi-seen])
	}
	sums := kernel.Vecs{Data: s.sums, N: vecs, Stride: r.dim}
	for at := seen; at < to; {
		run := r.keys(at, to)
		r.scale(at-from, run.vScale)
		kernel.Mix(sums, kernel.Vecs{Data: s.scores[at-from:], N: vecs, Stride: keyBlock}, run.values)
		at += run.keys.N
	}
}

// scale multiplies the scores or weights of the positions from at on, counted in
// the block, by the scales of their int8 rows; other rows have none.
func (r *attendRun) scale(at int, by []float32) {
	if by == nil {
		return
	}
	for t := range r.n * r.nHead {
		w := r.s.scores[t*keyBlock+at:]
		kernel.Mul(w[:len(by)], by)
	}
}

// weigh turns the scores of vector t into weights exp(score − top) after raising
// top to their maximum, and scales what was summed before to the new top.
func (s *scratch) weigh(t, dim int, scores []float32) {
	top, sum := &s.top[2*t], &s.top[2*t+1]
	if high := kernel.Max(scores); high > *top {
		f := float32(math.Exp(float64(*top - high)))
		kernel.Scale(s.sums[t*dim:(t+1)*dim], f)
		*top, *sum = high, *sum*f
	}
	*sum += kernel.ExpSum(scores, *top)
}

// keyRun is the keys and values of consecutive positions that lie together in
// memory, with the scales of int8 rows.
type keyRun struct {
	keys, values   kernel.Rows
	kScale, vScale []float32
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
