package ple

import (
	"cmp"
	"compress/gzip"
	"container/heap"
	"container/list"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/plume-run/plume/internal/tokenizer"
)

// The comparison behind the row cache's policy. TestPolicies runs a short one;
// with these flags it writes docs/measurements/ple-cache.{md,svg}:
//
//	go test ./internal/ple -run TestPolicies -v -plot ../../docs/measurements -texts NAME=FILE,NAME=FILE
var (
	plotDir = flag.String("plot", "", "write the cache plot and table into this folder")
	texts   = flag.String("texts", "", "more texts for the plot, NAME=FILE[+FILE…],…")
)

// policy decides which rows stay. get reports whether a row was there, and it is
// there afterwards. Capacities are in rows.
type policy interface{ get(id int32) bool }

var policies = []struct {
	name string
	make func(rows int) policy
}{
	{"LRU", func(n int) policy { return &simLRU{n: n, at: map[int32]*list.Element{}} }},
	{"CLOCK", func(n int) policy { return &simSieve{n: n, clock: true, at: map[int32]*list.Element{}} }},
	{"SIEVE", func(n int) policy { return &simSieve{n: n, at: map[int32]*list.Element{}} }},
	{"2Q", func(n int) policy { return newSim2Q(n) }},
	{"S3-FIFO", func(n int) policy { return newSimS3(n) }},
	{"LFU", func(n int) policy { return &simLFU{n: n, count: map[int32]*lfuEntry{}} }},
}

// simLRU evicts what was used longest ago.
type simLRU struct {
	n  int
	l  list.List
	at map[int32]*list.Element
}

func (c *simLRU) get(id int32) bool {
	if e := c.at[id]; e != nil {
		c.l.MoveToFront(e)
		return true
	}
	if c.l.Len() == c.n {
		delete(c.at, c.l.Remove(c.l.Back()).(int32))
	}
	c.at[id] = c.l.PushFront(id)
	return false
}

// simSieve evicts what the hand meets first that was not used since it last
// passed. SIEVE leaves the spared where they are; CLOCK moves them to the front.
type simSieve struct {
	n     int
	clock bool
	l     list.List
	hand  *list.Element
	at    map[int32]*list.Element
}

type sieveEntry struct {
	id   int32
	used bool
}

func (c *simSieve) get(id int32) bool {
	if e := c.at[id]; e != nil {
		e.Value.(*sieveEntry).used = true
		return true
	}
	if c.l.Len() == c.n {
		c.evict()
	}
	c.at[id] = c.l.PushFront(&sieveEntry{id: id})
	return false
}

func (c *simSieve) evict() {
	e := c.hand
	if e == nil || c.clock {
		e = c.l.Back()
	}
	for e.Value.(*sieveEntry).used {
		e.Value.(*sieveEntry).used = false
		before := e.Prev()
		if c.clock {
			c.l.MoveToFront(e)
		}
		if e = before; e == nil {
			e = c.l.Back()
		}
	}
	c.hand = e.Prev()
	delete(c.at, c.l.Remove(e).(*sieveEntry).id)
}

// sim2Q keeps a quarter for newcomers, first in first out; who comes again soon
// after falling out of it enters an LRU list of the rest.
type sim2Q struct {
	in, out, main          list.List
	inMax, outMax, mainMax int
	at                     map[int32]*list.Element // in or main
	isMain, ghost          map[int32]*list.Element
}

func newSim2Q(n int) *sim2Q {
	in := max(1, n/4)
	return &sim2Q{inMax: in, outMax: max(1, n/2), mainMax: n - in, at: map[int32]*list.Element{},
		isMain: map[int32]*list.Element{}, ghost: map[int32]*list.Element{}}
}

func (c *sim2Q) get(id int32) bool {
	if e := c.isMain[id]; e != nil {
		c.main.MoveToFront(e)
		return true
	}
	if c.at[id] != nil {
		return true
	}
	if e := c.ghost[id]; e != nil && c.mainMax > 0 {
		c.out.Remove(e)
		delete(c.ghost, id)
		if c.main.Len() == c.mainMax {
			delete(c.isMain, c.main.Remove(c.main.Back()).(int32))
		}
		c.isMain[id] = c.main.PushFront(id)
		return false
	}
	if c.in.Len() == c.inMax {
		old := c.in.Remove(c.in.Back()).(int32)
		delete(c.at, old)
		if c.out.Len() == c.outMax {
			delete(c.ghost, c.out.Remove(c.out.Back()).(int32))
		}
		c.ghost[old] = c.out.PushFront(old)
	}
	c.at[id] = c.in.PushFront(id)
	return false
}

// simS3 is S3-FIFO: a tenth for newcomers, the rest a clock with two bits, and
// ghosts of as many as the rest has.
type simS3 struct {
	small, main, ghosts list.List
	smallMax, mainMax   int
	at                  map[int32]*s3Entry
	ghost               map[int32]*list.Element
}

type s3Entry struct {
	id   int32
	used int
}

func newSimS3(n int) *simS3 {
	small := max(1, n/10)
	return &simS3{smallMax: small, mainMax: n - small, at: map[int32]*s3Entry{}, ghost: map[int32]*list.Element{}}
}

func (c *simS3) get(id int32) bool {
	if e := c.at[id]; e != nil {
		e.used = min(3, e.used+1)
		return true
	}
	for c.small.Len()+c.main.Len() >= c.smallMax+c.mainMax {
		if c.small.Len() >= c.smallMax {
			c.evictSmall()
		} else {
			c.evictMain()
		}
	}
	e := &s3Entry{id: id}
	c.at[id] = e
	if g := c.ghost[id]; g != nil {
		c.ghosts.Remove(g)
		delete(c.ghost, id)
		c.main.PushFront(e)
	} else {
		c.small.PushFront(e)
	}
	return false
}

func (c *simS3) evictSmall() {
	e := c.small.Remove(c.small.Back()).(*s3Entry)
	if e.used > 0 {
		e.used = 0
		c.main.PushFront(e)
		return
	}
	delete(c.at, e.id)
	if c.ghosts.Len() >= c.mainMax {
		delete(c.ghost, c.ghosts.Remove(c.ghosts.Back()).(int32))
	}
	c.ghost[e.id] = c.ghosts.PushFront(e.id)
}

func (c *simS3) evictMain() {
	for c.main.Len() > 0 {
		e := c.main.Remove(c.main.Back()).(*s3Entry)
		if e.used == 0 {
			delete(c.at, e.id)
			return
		}
		e.used--
		c.main.PushFront(e)
	}
}

// simLFU evicts the row used least often while it was there, the older one of
// equals. All counts are halved every 16·n uses.
type simLFU struct {
	n, uses int
	seq     int
	count   map[int32]*lfuEntry
	heap    lfuHeap
}

type lfuEntry struct {
	id              int32
	used, seq, heap int
}

type lfuHeap []*lfuEntry

func (h lfuHeap) Len() int { return len(h) }
func (h lfuHeap) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(h[i].used, h[j].used), cmp.Compare(h[i].seq, h[j].seq)) < 0
}
func (h lfuHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i]; h[i].heap, h[j].heap = i, j }
func (h *lfuHeap) Push(x any)   { x.(*lfuEntry).heap = len(*h); *h = append(*h, x.(*lfuEntry)) }
func (h *lfuHeap) Pop() any {
	e := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return e
}

func (c *simLFU) get(id int32) bool {
	if c.uses++; c.uses == 16*c.n {
		c.uses = 0
		for _, e := range c.heap {
			e.used /= 2
		}
		heap.Init(&c.heap)
	}
	c.seq++
	if e := c.count[id]; e != nil {
		e.used++
		e.seq = c.seq
		heap.Fix(&c.heap, e.heap)
		return true
	}
	if len(c.heap) == c.n {
		delete(c.count, heap.Pop(&c.heap).(*lfuEntry).id)
	}
	e := &lfuEntry{id: id, used: 1, seq: c.seq}
	c.count[id] = e
	heap.Push(&c.heap, e)
	return false
}

// belady is the hit rate of one who knows the future: it evicts what is needed
// latest, and no policy can do better.
func belady(ids []int32, n int) float64 {
	next, last := make([]int, len(ids)), map[int32]int{}
	for i := len(ids) - 1; i >= 0; i-- {
		next[i] = len(ids)
		if j, ok := last[ids[i]]; ok {
			next[i] = j
		}
		last[ids[i]] = i
	}
	at := map[int32]*lfuEntry{} // used: minus the next use
	var h lfuHeap
	hits := 0
	for i, id := range ids {
		if e := at[id]; e != nil {
			hits++
			e.used = -next[i]
			heap.Fix(&h, e.heap)
			continue
		}
		if len(h) == n {
			delete(at, heap.Pop(&h).(*lfuEntry).id)
		}
		e := &lfuEntry{id: id, used: -next[i]}
		at[id] = e
		heap.Push(&h, e)
	}
	return float64(hits) / float64(len(ids))
}

func hitRate(p policy, ids []int32) float64 {
	hits := 0
	for _, id := range ids {
		if p.get(id) {
			hits++
		}
	}
	return float64(hits) / float64(len(ids))
}

// tokenize encodes text with a vocabulary of the tokenizer's test data.
func tokenize(t *testing.T, vocab, text string) []int32 {
	t.Helper()
	spec, err := tokenizer.ParseSpec(gunzip(t, vocab))
	if err != nil {
		t.Fatal(err)
	}
	tok, err := tokenizer.New(spec)
	if err != nil {
		t.Fatal(err)
	}
	return tok.Encode(nil, text, false)
}

func gunzip(t *testing.T, name string) []byte {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "tokenizer", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestPolicies checks the reason for the policy of the row cache, on the
// vocabulary and the text of the demo: within 2 points of the best at every size,
// and never above what is possible. It also checks the cache itself against its
// simulation.
func TestPolicies(t *testing.T) {
	if *plotDir != "" {
		plotPolicies(t)
		return
	}
	ids := tokenize(t, "demo-tokenizer.json.gz", string(gunzip(t, "prose.txt.gz")))
	for _, rows := range []int{64, 256, 1024} {
		best, ours, bound := 0.0, 0.0, belady(ids, rows)
		for _, p := range policies {
			rate := hitRate(p.make(rows), ids)
			best = max(best, rate)
			if p.name == cachePolicy {
				ours = rate
			}
			if rate > bound {
				t.Errorf("%d rows: %s hits %.4f, more than possible (%.4f)", rows, p.name, rate, bound)
			}
		}
		t.Logf("%d rows: %s %.3f, best %.3f, bound %.3f of %d tokens", rows, cachePolicy, ours, best, bound, len(ids))
		if ours < best-0.02 {
			t.Errorf("%d rows: %s hits %.3f, the best %.3f", rows, cachePolicy, ours, best)
		}
		// Its ghosts are a little forgetful.
		if got := cacheHitRate(t, ids, rows); math.Abs(got-ours) > 0.01 {
			t.Errorf("%d rows: the cache hits %.4f, its simulation %.4f", rows, got, ours)
		}
	}
}

// prefetched simulates a cache that is told, with every token, to read the rows of
// those that followed the same token before, the last n different ones. It returns
// how many tokens miss the cache, how many of these had been read ahead, and how
// many rows were read ahead, all per token. Only the next token can use them.
func prefetched(c *simS3, ids []int32, n int) (misses, covered, reads float64) {
	followers := map[int32][]int32{} // the latest first
	var ahead []int32
	for i, id := range ids {
		if !c.get(id) {
			misses++
			if slices.Contains(ahead, id) {
				covered++
			}
		}
		if i > 0 {
			l := followers[ids[i-1]]
			if k := slices.Index(l, id); k >= 0 {
				l = slices.Delete(l, k, k+1)
			}
			l = slices.Insert(l, 0, id)
			followers[ids[i-1]] = l[:min(len(l), n)]
		}
		ahead = ahead[:0]
		for _, next := range followers[id] {
			if c.at[next] == nil {
				ahead = append(ahead, next)
				reads++
			}
		}
	}
	all := float64(len(ids))
	return misses / all, covered / all, reads / all
}

// cacheHitRate asks a table for one row after the other.
func cacheHitRate(t *testing.T, ids []int32, rows int) float64 {
	t.Helper()
	table, err := Open(zeros{}, 1<<18, 8, Options{CacheBytes: int64(rows) * 8, Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	for i := range ids {
		f := table.Fetch(ids[i : i+1])
		if err := f.Wait(ctx); err != nil {
			t.Fatal(err)
		}
		f.Release()
	}
	return float64(table.Stats().CacheHits) / float64(len(ids))
}

// plotPolicies writes the table and the picture.
func plotPolicies(t *testing.T) {
	sizes := []int{64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384}
	type input struct {
		name string
		ids  []int32
	}
	story := string(gunzip(t, "prose.txt.gz"))
	inputs := []input{
		{"stories, demo vocabulary (8,192)", tokenize(t, "demo-tokenizer.json.gz", story)},
		{"stories, Gemma vocabulary (262,144)", tokenize(t, "gemma4-tokenizer.json.gz", story)},
	}
	for _, s := range strings.FieldsFunc(*texts, func(r rune) bool { return r == ',' }) {
		name, files, _ := strings.Cut(s, "=")
		var text strings.Builder
		for _, f := range strings.Split(files, "+") {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			text.Write(b)
		}
		inputs = append(inputs, input{name + ", Gemma vocabulary", tokenize(t, "gemma4-tokenizer.json.gz", text.String())})
	}
	var md strings.Builder
	var plot svg
	for _, in := range inputs {
		for _, n := range []int{1, 4} {
			for _, rows := range []int{285, 1024, 4096} {
				m, c, r := prefetched(newSimS3(rows), in.ids, n)
				t.Logf("%s, %d rows, %d followers: %.1f %% miss, %.1f %% of these read ahead by %.2f reads per token", in.name, rows, n, 100*m, 100*c/m, r)
			}
		}
		distinct := map[int32]bool{}
		for _, id := range in.ids {
			distinct[id] = true
		}
		fmt.Fprintf(&md, "\n%s: %d tokens, %d different\n\n| rows |", in.name, len(in.ids), len(distinct))
		for _, n := range sizes {
			fmt.Fprintf(&md, " %d |", n)
		}
		md.WriteString("\n|---|" + strings.Repeat("---|", len(sizes)) + "\n")
		var lines []line
		for _, p := range policies {
			l := line{name: p.name}
			for _, n := range sizes {
				l.y = append(l.y, hitRate(p.make(n), in.ids))
			}
			lines = append(lines, l)
		}
		bound := line{name: "bound"}
		for _, n := range sizes {
			bound.y = append(bound.y, belady(in.ids, n))
		}
		lines = append(lines, bound)
		for _, l := range lines {
			fmt.Fprintf(&md, "| %s |", l.name)
			for _, y := range l.y {
				fmt.Fprintf(&md, " %.1f |", 100*y)
			}
			md.WriteString("\n")
		}
		plot.panel(fmt.Sprintf("%s: %d tokens", in.name, len(in.ids)), sizes, lines)
	}
	t.Log(md.String())
	for name, text := range map[string]string{"ple-cache-table.md": md.String(), "ple-cache.svg": plot.String()} {
		if err := os.WriteFile(filepath.Join(*plotDir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// line is a curve: one value, 0 to 1, for each size.
type line struct {
	name string
	y    []float64
}

// svg draws panels below each other.
type svg struct {
	b strings.Builder
	n int
}

// Sizes in pixels.
const (
	panelWidth, panelHeight = 760, 300
	plotLeft, plotTop       = 60, 40
	plotWidth, plotHeight   = 560, 220
)

// colors are distinguishable without colour vision (Okabe and Ito).
var colors = []string{"#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000"}

// panel draws lines over sizes, which double from one to the next.
func (s *svg) panel(title string, sizes []int, lines []line) {
	top := s.n * panelHeight
	s.n++
	x := func(i int) float64 { return plotLeft + float64(i)*plotWidth/float64(len(sizes)-1) }
	y := func(v float64) float64 { return float64(top+plotTop) + (1-v)*plotHeight }
	text := func(x, y float64, anchor, what string) {
		fmt.Fprintf(&s.b, `<text x="%.1f" y="%.1f" text-anchor="%s">%s</text>`+"\n", x, y, anchor, what)
	}
	text(plotLeft, float64(top+24), "start", title)
	for k := 0; k <= 10; k += 2 {
		v := float64(k) / 10
		fmt.Fprintf(&s.b, `<path d="M%d %.1fh%d" stroke="#ddd"/>`+"\n", plotLeft, y(v), plotWidth)
		text(plotLeft-8, y(v)+4, "end", fmt.Sprintf("%d %%", 10*k))
	}
	for i, n := range sizes {
		text(x(i), y(0)+18, "middle", fmt.Sprint(n))
	}
	order := make([]int, len(lines)) // labels from top to bottom
	for i := range order {
		order[i] = i
	}
	half := len(sizes) / 2
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(lines[b].y[half], lines[a].y[half]) })
	for rank, k := range order {
		l := lines[k]
		fmt.Fprintf(&s.b, `<polyline fill="none" stroke="%s" stroke-width="2"%s points="`, colors[k],
			map[bool]string{true: ` stroke-dasharray="5 4"`}[l.name == "bound"])
		for i, v := range l.y {
			fmt.Fprintf(&s.b, "%.1f,%.1f ", x(i), y(v))
		}
		s.b.WriteString(`"/>` + "\n")
		at := float64(top + plotTop + 20 + 22*rank)
		fmt.Fprintf(&s.b, `<path d="M%d %.1fh20" stroke="%s" stroke-width="2"/>`+"\n", plotLeft+plotWidth+20, at-4, colors[k])
		text(plotLeft+plotWidth+46, at, "start", l.name)
	}
}

func (s *svg) String() string {
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+
		"\n<title>Hit rate of the row cache against its size in rows</title>\n"+
		`<rect width="100%%" height="100%%" fill="white"/>`+"\n%s</svg>\n", panelWidth, s.n*panelHeight, s.b.String())
}
