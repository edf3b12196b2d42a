package ple

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// hanging is a source in which reads that touch certain rows do not come back
// until they are let go.
type hanging struct {
	*source
	mu   sync.Mutex
	rows map[int]chan struct{}
}

func (h *hanging) ReadAt(p []byte, off int64) (int, error) {
	first, last := int(off)/h.rowBytes, (int(off)+len(p)-1)/h.rowBytes
	for r := first; r <= last; r++ {
		h.mu.Lock()
		gate := h.rows[r]
		h.mu.Unlock()
		if gate != nil {
			<-gate
		}
	}
	return h.source.ReadAt(p, off)
}

// hang makes rows hang, and returns what lets them go.
func (h *hanging) hang(rows ...int) (heal func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	gate := make(chan struct{})
	h.rows = map[int]chan struct{}{}
	for _, r := range rows {
		h.rows[r] = gate
	}
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.rows = nil
		close(gate)
	}
}

const slowTimeout = 40 * time.Millisecond

func openHanging(t *testing.T, rows int, o Options) (*hanging, *Table) {
	t.Helper()
	h := &hanging{source: newSource(rows, 8)}
	o.Timeout = slowTimeout
	table, err := Open(h, rows, 8, o)
	if err != nil {
		t.Fatal(err)
	}
	table.mangle = true
	return h, table
}

func TestSlowRowFailsAloneAndHeals(t *testing.T) {
	h, table := openHanging(t, 100, Options{Workers: 2})
	heal := h.hang(6)
	slow, sound := table.Fetch([]int32{5, 6, 7}), table.Fetch([]int32{5, 7, 40})
	if err := sound.Wait(ctx); err != nil { // 5 and 7 were read with 6 at first
		t.Errorf("rows beside the slow one: %v", err)
	}
	checkRows(t, sound, []int32{5, 7, 40}, 8)
	sound.Release()
	if err := slow.Wait(ctx); !errors.Is(err, ErrSlow) || !strings.Contains(err.Error(), "read row 6 at table offset 48: ") {
		t.Errorf("error %v", err)
	}
	slow.Release()
	again := table.Fetch([]int32{6}) // still slow: fails too, and does not join the old read
	if err := again.Wait(ctx); !errors.Is(err, ErrSlow) {
		t.Errorf("error %v", err)
	}
	again.Release()
	for id := range int32(5) { // the readers that hang were replaced
		f := table.Fetch([]int32{50 + id})
		if err := f.Wait(ctx); err != nil {
			t.Fatal(err)
		}
		f.Release()
	}
	heal()
	f := table.Fetch([]int32{6})
	if err := f.Wait(ctx); err != nil {
		t.Fatalf("after healing: %v", err)
	}
	checkRows(t, f, []int32{6}, 8)
	f.Release()
	until(t, func() bool { return !table.hangs() })
	if err := table.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	table.checkIdle(t)
}

// told counts what a source was told of.
type told struct{ n atomic.Int64 }

func (a *told) advise(int64, int) { a.n.Add(1) }

// A device that hangs is not told of more reads, which may hang as well.
func TestHungDeviceIsToldNothing(t *testing.T) {
	h, table := openHanging(t, 100, Options{Workers: 2})
	defer table.Close()
	var ears told
	table.adviser = &ears
	read := func(row int32, want error) {
		t.Helper()
		f := table.Fetch([]int32{row})
		defer f.Release()
		if err := f.Wait(ctx); !errors.Is(err, want) {
			t.Errorf("row %d: error %v, want %v", row, err, want)
		}
	}
	read(1, nil)
	heal := h.hang(6)
	read(6, ErrSlow)
	if n := ears.n.Load(); n != 2 {
		t.Errorf("told of %d reads, want 2", n)
	}
	read(7, nil) // by the other reader
	if n := ears.n.Load(); n != 2 {
		t.Errorf("while a read hangs: told of %d reads, want 2", n)
	}
	heal()
	until(t, func() bool { return !table.hangs() })
	read(6, nil)
	if n := ears.n.Load(); n != 3 {
		t.Errorf("after healing: told of %d reads, want 3", n)
	}
}

// until waits for something that happens soon.
func until(t *testing.T, done func() bool) {
	t.Helper()
	for begin := time.Now(); !done(); time.Sleep(time.Millisecond) {
		if time.Since(begin) > 5*time.Second {
			t.Fatal("it does not happen")
		}
	}
}

func TestWhenEveryReadHangs(t *testing.T) {
	h, table := openHanging(t, 1000, Options{Workers: 2, MaxReadBytes: -1})
	all := make([]int, 500)
	for i := range all {
		all[i] = i
	}
	heal := h.hang(all...)
	ids := make([]int32, 100)
	for i := range ids {
		ids[i] = int32(i)
	}
	f := table.Fetch(ids) // more than the readers that may hang
	if err := f.Wait(ctx); !errors.Is(err, ErrSlow) || !strings.Contains(err.Error(), "row 0 ") {
		t.Errorf("error %v", err)
	}
	f.Release()
	begin := time.Now()
	late := table.Fetch([]int32{700})
	if err := late.Wait(ctx); !errors.Is(err, ErrSlow) || !strings.Contains(err.Error(), "hang") {
		t.Errorf("error %v", err)
	}
	late.Release()
	if d := time.Since(begin); d > slowTimeout {
		t.Errorf("the error took %v though no reader was left", d)
	}
	heal()
	until(t, func() bool { return !table.hangs() })
	f = table.Fetch([]int32{1, 700})
	if err := f.Wait(ctx); err != nil {
		t.Fatalf("after healing: %v", err)
	}
	checkRows(t, f, []int32{1, 700}, 8)
	f.Release()
	if err := table.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	table.checkIdle(t)
}

func TestCloseLeavesHangingReadsBehind(t *testing.T) {
	h, table := openHanging(t, 100, Options{})
	heal := h.hang(3)
	f := table.Fetch([]int32{3, 9})
	until(t, func() bool {
		table.mu.Lock()
		defer table.mu.Unlock()
		return table.queue.empty()
	})
	if err := table.Close(); !errors.Is(err, ErrSlow) {
		t.Errorf("close: %v", err)
	}
	if err := f.Wait(ctx); err == nil {
		t.Error("no error for a row that never came")
	}
	f.Release()
	heal()
	until(t, func() bool { return !table.hangs() })
	table.workers.Wait()
	if err := table.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
}

func TestPartsAreNotTakenForWholeRows(t *testing.T) {
	src := newSource(100, 10)
	table := open(t, src, Options{})
	get := func(want Stats, ids []int32, part []int) {
		t.Helper()
		before := table.Stats()
		checkParts(t, table.FetchPart(ids, part), ids, part, 10)
		got := table.Stats().Sub(before)
		if got.Reads != want.Reads || got.BytesRead != want.BytesRead || got.CacheHits != want.CacheHits {
			t.Errorf("%v %v: %d reads, %d bytes, %d hits, want %d, %d, %d", ids, part,
				got.Reads, got.BytesRead, got.CacheHits, want.Reads, want.BytesRead, want.CacheHits)
		}
	}
	get(Stats{Reads: 1, BytesRead: 4}, []int32{5}, []int{4})
	get(Stats{CacheHits: 1}, []int32{5}, []int{3})
	get(Stats{Reads: 1, BytesRead: 10}, []int32{5}, nil)
	get(Stats{CacheHits: 1}, []int32{5}, []int{10})
	get(Stats{CacheHits: 1}, []int32{5}, []int{1})
	get(Stats{}, []int32{6, 7}, []int{0, 0})
	get(Stats{Reads: 1, BytesRead: 7}, []int32{8, 8, 8}, []int{2, 7, 0})
	get(Stats{Reads: 1, BytesRead: 13}, []int32{20, 21}, []int{3, 3}) // neighbours: one read
	get(Stats{Reads: 2, BytesRead: 6}, []int32{30, 32}, []int{3, 3})
	if s := table.Stats(); s.IdleBytes != 6*10 { // a part takes the room of a whole row
		t.Errorf("%d bytes kept", s.IdleBytes)
	}
	for _, bad := range [][]int{{-1}, {11}, {1, 1}, {}} {
		f := table.FetchPart([]int32{1}, bad)
		if err := f.Wait(ctx); err == nil {
			t.Errorf("no error for lengths %v", bad)
		}
		f.Release()
	}
}

// TestPartsInEveryState asks for more of a row while less of it is queued, being
// read, held, and cached.
func TestPartsInEveryState(t *testing.T) {
	src := newSource(100, 10)
	src.gate, src.begun = make(chan struct{}), make(chan span, 10)
	table := open(t, src, Options{Workers: 1, MaxReadBytes: -1})
	type want struct {
		f    *Fetch
		id   int32
		part int
	}
	var all []want
	ask := func(id int32, part int) {
		all = append(all, want{table.FetchPart([]int32{id}, []int{part}), id, part})
	}
	ask(1, 4) // being read
	<-src.begun
	ask(2, 3) // queued
	ask(2, 8) // lengthens it
	ask(2, 2)
	ask(1, 4) // shares
	ask(1, 9) // a read of its own
	ask(1, 5) // shares that one
	close(src.gate)
	for _, w := range all {
		if err := w.f.Wait(ctx); err != nil {
			t.Fatal(err)
		}
	}
	ask(1, 10) // while shorter ones are held
	for _, w := range all {
		checkParts(t, w.f, []int32{w.id}, []int{w.part}, 10)
	}
	if s := table.Stats(); s.Reads != 4 || s.BytesRead != 4+8+9+10 || s.Shared != 4 {
		t.Errorf("stats %+v", s)
	}
	if err := table.Close(); err != nil {
		t.Error(err)
	}
	table.checkIdle(t)
}

func TestHistogram(t *testing.T) {
	var h Histogram
	if h.Quantile(0.5) != 0 {
		t.Error("empty")
	}
	var all []time.Duration
	for i := range 2000 {
		d := time.Duration(i*i) * 100 * time.Nanosecond
		h.Add(d)
		all = append(all, d)
	}
	slices.Sort(all)
	for _, q := range []float64{0, 0.01, 0.5, 0.9, 0.99, 1} {
		want := all[min(len(all)-1, int(q*float64(len(all))))]
		got := h.Quantile(q)
		if got < want-time.Microsecond || got > want*5/4+2*time.Microsecond {
			t.Errorf("quantile %v: %v, want %v", q, got, want)
		}
	}
	h.Add(-1)
	h.Add(1 << 62)
	if n := h.Count(); n != 2002 {
		t.Errorf("%d counted", n)
	}
	for us := range 5000 {
		d := time.Duration(us) * time.Microsecond
		if b := bucket(d); us > 0 && (b < bucket(d-time.Microsecond) || b < 1) {
			t.Fatalf("%v in bucket %d", d, b)
		}
	}
}

func TestStatsTellWaitsApart(t *testing.T) {
	src := newSource(100, 8)
	src.delay = 2 * time.Millisecond
	table := open(t, src, Options{})
	for i := range 10 {
		f := table.Fetch([]int32{int32(i)})
		if i%2 == 0 {
			time.Sleep(20 * time.Millisecond) // the read hides
		}
		if err := f.Wait(ctx); err != nil {
			t.Fatal(err)
		}
		f.Release()
	}
	f := table.Fetch([]int32{1})
	if err := f.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	f.Release()
	s := table.Stats()
	if s.WaitTimes.Count() != 11 || s.WaitTimes.Quantile(0.99) < time.Millisecond || s.Latency < s.Wait {
		t.Errorf("%d waits, p99 %v, wait %v of %v", s.WaitTimes.Count(), s.WaitTimes.Quantile(0.99), s.Wait, s.Latency)
	}
	if o := s.Overlap(); o <= 0 || o > 1 {
		t.Errorf("overlap %v", o)
	}
	if d := s.Sub(s); fmt.Sprint(d.WaitTimes) != fmt.Sprint(Histogram{}) || d.Wait != 0 || d.Overlap() != 1 {
		t.Errorf("difference with itself %+v", d)
	}
}

// TestCountsTellRequestsApart: requests that share a Fetch see their own rows.
func TestCountsTellRequestsApart(t *testing.T) {
	src := newSource(100, 8)
	table := open(t, src, Options{})
	f := table.Fetch([]int32{1, 2})
	if err := f.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	f.Release()
	src.gate, src.begun = make(chan struct{}), make(chan span, 10)
	other := table.FetchPart([]int32{3}, []int{8})
	<-src.begun
	f = table.FetchPart([]int32{2, 3, 50, 50, 7}, []int{8, 8, 4, 6, 0})
	close(src.gate)
	for _, f := range []*Fetch{f, other} {
		if err := f.Wait(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		i, end int
		want   Counts
	}{
		{0, 2, Counts{Rows: 2, Hits: 1, Shared: 1}},
		{2, 4, Counts{Rows: 2, Hits: 1, Read: 1, Bytes: 6, Reads: 1, Device: 6}},
		{4, 5, Counts{Rows: 1, Hits: 1}},
		{5, 5, Counts{}},
		{0, 5, Counts{Rows: 5, Hits: 3, Shared: 1, Read: 1, Bytes: 6, Reads: 1, Device: 6}},
	} {
		got := f.Counts(c.i, c.end)
		// Whoever waits may wake a little after the last row has arrived, so Wait may be the longer.
		if got.Latency <= 0 || got.Wait <= 0 || got.Overlap() < 0 || got.Overlap() > 1 {
			t.Errorf("ids %d to %d: waited %v of %v", c.i, c.end, got.Wait, got.Latency)
		}
		got.Wait, got.Latency = 0, 0
		if got != c.want {
			t.Errorf("ids %d to %d: %+v, want %+v", c.i, c.end, got, c.want)
		}
	}
	sum := f.Counts(0, 2)
	sum.Add(f.Counts(2, 5))
	all := f.Counts(0, 5)
	all.Wait, all.Latency = 2*all.Wait, 2*all.Latency
	if sum != all {
		t.Errorf("sum %+v, want %+v", sum, all)
	}
	f.Release()
	other.Release()
	if s := table.Stats(); s.ReadTimes.Count() != s.Reads || s.Reads != 3 {
		t.Errorf("%d reads timed, %d counted", s.ReadTimes.Count(), s.Reads)
	}
}

// TestAheadIsNoUse: what was read ahead belongs to the Fetch that follows, and the
// cache's policy does not see it.
func TestAheadIsNoUse(t *testing.T) {
	src := newSource(1000, 8)
	plain, early := open(t, src, Options{CacheBytes: 8 * 20}), open(t, src, Options{CacheBytes: 8 * 20})
	rng := rand.New(rand.NewPCG(5, 6))
	get := func(table *Table, id int32) Counts {
		f := table.Fetch([]int32{id})
		defer f.Release()
		if err := f.Wait(ctx); err != nil {
			t.Fatal(err)
		}
		checkRows(t, f, []int32{id}, 8)
		c := f.Counts(0, 1)
		c.Wait, c.Latency = 0, 0
		return c
	}
	for range 2000 {
		id := int32(rng.ExpFloat64() * 15)
		ahead := early.Ahead([]int32{id})
		if rng.IntN(2) == 0 {
			if err := ahead.Wait(ctx); err != nil {
				t.Fatal(err)
			}
		}
		got := get(early, id)
		ahead.Release()
		if want := get(plain, id); got != want {
			t.Fatalf("row %d: %+v, without reading ahead %+v", id, got, want)
		}
	}
	a, b := plain.Stats(), early.Stats()
	for _, s := range []*Stats{&a, &b} {
		s.Waits, s.Wait, s.Latency, s.WaitTimes, s.ReadTimes = 0, 0, 0, Histogram{}, Histogram{}
	}
	if a != b || a.CacheHits == 0 || a.CacheHits == a.Rows {
		t.Errorf("stats %+v, without reading ahead %+v", b, a)
	}
	early.Ahead([]int32{999}).Release() // not asked for in the end
	early.Ahead([]int32{-1}).Release()  // refused
	if err := early.Close(); err != nil {
		t.Error(err)
	}
	early.checkIdle(t)
}
