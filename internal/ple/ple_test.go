package ple

import (
	"context"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

var ctx = context.Background()

func TestRowsAreTheSourcesWhateverTheOptions(t *testing.T) {
	const rows, rowBytes = 400, 24
	for _, o := range []Options{
		{},
		{Workers: 1, CacheBytes: -1, MaxReadBytes: -1},
		{Workers: 3, CacheBytes: rowBytes, MaxReadBytes: 5 * rowBytes},
		{Workers: 64, CacheBytes: 1 << 30, MaxReadBytes: 1 << 20},
		{MaxReadBytes: rowBytes - 1},
	} {
		rng := rand.New(rand.NewPCG(1, 2))
		table := open(t, newSource(rows, rowBytes), o)
		for range 50 {
			ids := make([]int32, rng.IntN(200))
			for i := range ids {
				ids[i] = int32(rng.IntN(1 + rng.IntN(rows))) // small ids more often
			}
			asked := slices.Clone(ids)
			f := table.Fetch(ids)
			clear(ids) // the table must not keep the caller's slice
			if err := f.Wait(ctx); err != nil {
				t.Fatalf("%+v: %v", o, err)
			}
			checkRows(t, f, asked, rowBytes)
			f.Release()
		}
	}
}

func TestReadsAreSortedDistinctAndMerged(t *testing.T) {
	src := newSource(100, 10)
	table := open(t, src, Options{Workers: 1, MaxReadBytes: 30})
	f := table.Fetch([]int32{7, 50, 8, 7, 12, 9, 10, 50, 99, 0})
	if err := f.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	want := []span{{0, 1}, {7, 3}, {10, 1}, {12, 1}, {50, 1}, {99, 1}}
	if got := src.log(); !slices.Equal(got, want) {
		t.Errorf("reads %v, want %v", got, want)
	}
	f.Release()
	s := table.Stats()
	if s.Rows != 10 || s.Distinct != 8 || s.Reads != 6 || s.RowsRead != 8 || s.BytesRead != 80 || s.CacheHits != 0 {
		t.Errorf("stats %+v", s)
	}
	// Row 9 is in the cache now: it splits the run 6…11 in two.
	f = table.Fetch([]int32{6, 9, 11, 5})
	if err := f.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	checkRows(t, f, []int32{6, 9, 11, 5}, 10)
	f.Release()
	if got, want := src.log()[6:], []span{{5, 2}, {11, 1}}; !slices.Equal(got, want) {
		t.Errorf("reads %v, want %v", got, want)
	}
	if d := table.Stats().Sub(s); d.Rows != 4 || d.CacheHits != 1 || d.Distinct != 4 || d.RowsRead != 3 {
		t.Errorf("difference %+v", d)
	}
}

func TestCacheKeepsTheRowsUsedAgain(t *testing.T) {
	src := newSource(1000, 8)
	table := open(t, src, Options{CacheBytes: 20*8 + 7}) // twenty rows, two of them for newcomers
	use := func(ids ...int32) (hits int64) {
		before := table.Stats()
		f := table.Fetch(ids)
		defer f.Release()
		if err := f.Wait(ctx); err != nil {
			t.Fatal(err)
		}
		checkRows(t, f, ids, 8)
		return table.Stats().Sub(before).CacheHits
	}
	use(1, 2, 3)
	if use(1, 2, 3) != 3 {
		t.Error("rows used just now are gone")
	}
	for id := range int32(100) { // a scan
		use(100 + id)
	}
	if use(1, 2, 3) != 3 {
		t.Error("a scan swept the cache")
	}
	if use(150) != 0 {
		t.Error("a row of the scan stayed")
	}
	if s := table.Stats(); s.IdleBytes != 160 {
		t.Errorf("%d bytes kept, want 160", s.IdleBytes)
	}
	use(500, 501, 502, 503, 504, 505, 506, 507, 508, 509, 510, 511, 512, 513, 514, 515, 516, 517, 518, 519, 520, 521)
	if s := table.Stats(); s.IdleBytes != 160 {
		t.Errorf("%d bytes kept after a large fetch, want 160", s.IdleBytes)
	}
}

func TestPinnedRowsOutliveTheCache(t *testing.T) {
	table := open(t, newSource(100, 8), Options{CacheBytes: -1})
	held := table.Fetch([]int32{5, 6})
	if err := held.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	for id := range int32(100) { // would reuse the buffers of 5 and 6 if it could
		f := table.Fetch([]int32{id})
		if err := f.Wait(ctx); err != nil {
			t.Fatal(err)
		}
		f.Release()
	}
	checkRows(t, held, []int32{5, 6}, 8)
	held.Release()
	if s := table.Stats(); s.CacheHits != 2 || s.IdleBytes != 0 {
		t.Errorf("stats %+v, want the 2 held rows as hits and nothing idle", s)
	}
}

func TestFetchReturnsBeforeTheRead(t *testing.T) {
	src := newSource(100, 8)
	src.gate = make(chan struct{})
	table := open(t, src, Options{})
	f := table.Fetch([]int32{1, 3})
	short, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	if err := f.Wait(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Wait on a blocked source: %v", err)
	}
	close(src.gate)
	if err := f.Wait(ctx); err != nil {
		t.Fatalf("second Wait: %v", err)
	}
	checkRows(t, f, []int32{1, 3}, 8)
	f.Release()
	if s := table.Stats(); s.Waits < 1 || s.Wait <= 0 {
		t.Errorf("waited %v in %d waits", s.Wait, s.Waits)
	}
	f = table.Fetch([]int32{1})
	done, cancel := context.WithCancel(ctx)
	cancel()
	if err := f.Wait(done); err != nil {
		t.Errorf("Wait for a row that is here, context ended: %v", err)
	}
	f.Release()
}

func TestSingleFlight(t *testing.T) {
	src := newSource(100, 8)
	src.gate = make(chan struct{})
	table := open(t, src, Options{Workers: 2, CacheBytes: -1})
	a := table.Fetch([]int32{4, 9})
	b := table.Fetch([]int32{9, 4, 4})
	c := table.Fetch([]int32{4})
	c.Release() // must not take the row from the others
	close(src.gate)
	for _, f := range []*Fetch{a, b} {
		if err := f.Wait(ctx); err != nil {
			t.Fatal(err)
		}
	}
	checkRows(t, a, []int32{4, 9}, 8)
	a.Release()
	checkRows(t, b, []int32{9, 4, 4}, 8)
	b.Release()
	if got := len(src.log()); got != 2 {
		t.Errorf("%d reads, want 2", got)
	}
	if s := table.Stats(); s.Shared != 3 || s.RowsRead != 2 || s.Distinct != 5 {
		t.Errorf("stats %+v", s)
	}
}

func TestReleaseInsteadOfWait(t *testing.T) {
	src := newSource(100, 8)
	src.gate, src.begun = make(chan struct{}), make(chan span, 10)
	table := open(t, src, Options{Workers: 1})
	a := table.Fetch([]int32{10})
	<-src.begun
	b := table.Fetch([]int32{20, 30})
	c := table.Fetch([]int32{30})
	b.Release() // 20 has not begun and nobody else wants it
	a.Release() // 10 is being read
	close(src.gate)
	if err := c.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	checkRows(t, c, []int32{30}, 8)
	c.Release()
	if got, want := src.log(), []span{{10, 1}, {30, 1}}; !slices.Equal(got, want) {
		t.Errorf("reads %v, want %v", got, want)
	}
	f := table.Fetch([]int32{10, 20}) // 10 was cached by its worker
	if err := f.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	checkRows(t, f, []int32{10, 20}, 8)
	f.Release()
	if s := table.Stats(); s.CacheHits != 1 || s.RowsRead != 3 {
		t.Errorf("stats %+v", s)
	}
}

func TestPoolIsBoundedAndUsed(t *testing.T) {
	src := newSource(100, 8)
	src.gate, src.begun = make(chan struct{}), make(chan span, 100)
	table := open(t, src, Options{Workers: 4})
	var ids []int32
	for id := int32(0); id < 100; id += 2 {
		ids = append(ids, id)
	}
	f := table.Fetch(ids)
	for range 4 {
		<-src.begun
	}
	close(src.gate)
	if err := f.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	f.Release()
	if src.most != 4 {
		t.Errorf("%d reads at once, want 4", src.most)
	}
}

func TestOpenRefuses(t *testing.T) {
	src := newSource(2, 8)
	for _, c := range []struct {
		name           string
		src            io.ReaderAt
		rows, rowBytes int
		o              Options
	}{
		{"no source", nil, 2, 8, Options{}},
		{"no rows", src, 0, 8, Options{}},
		{"negative rows", src, -1, 8, Options{}},
		{"too many rows", src, math.MaxInt32 + 1, 8, Options{}},
		{"empty rows", src, 2, 0, Options{}},
		{"product overflows", src, math.MaxInt32, math.MaxInt64 / 2, Options{}},
		{"negative workers", src, 2, 8, Options{Workers: -1}},
	} {
		if _, err := Open(c.src, c.rows, c.rowBytes, c.o); err == nil || !strings.HasPrefix(err.Error(), "open table: ") {
			t.Errorf("%s: error %v", c.name, err)
		}
	}
}

func TestIDsOutsideTheTable(t *testing.T) {
	src := newSource(10, 8)
	table := open(t, src, Options{})
	for _, bad := range []int32{-1, 10, math.MinInt32, math.MaxInt32} {
		f := table.Fetch([]int32{3, bad})
		if err := f.Wait(ctx); err == nil || !strings.Contains(err.Error(), "the table has rows 0 to 9") {
			t.Errorf("row %d: error %v", bad, err)
		}
		f.Release()
	}
	if got := src.log(); len(got) != 0 {
		t.Errorf("reads %v, want none", got)
	}
	f := table.Fetch([]int32{0, 9})
	if err := f.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	checkRows(t, f, []int32{0, 9}, 8)
	f.Release()
}

func TestMisuseIsNoticed(t *testing.T) {
	table := open(t, newSource(10, 8), Options{})
	wantPanic := func(name string, do func()) {
		t.Helper()
		defer func() {
			if s, _ := recover().(string); !strings.HasPrefix(s, "ple: internal error: ") {
				t.Errorf("%s: panic %q", name, s)
			}
		}()
		do()
	}
	f := table.Fetch([]int32{1})
	wantPanic("Row before Wait", func() { f.Row(0) })
	if err := f.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	f.Release()
	wantPanic("second Release", f.Release)
	bad := table.Fetch([]int32{-1})
	if bad.Wait(ctx) == nil {
		t.Error("no error for row -1")
	}
	wantPanic("Row after an error", func() { bad.Row(0) })
}

func TestSingleRowFetchAllocatesNothing(t *testing.T) {
	table := open(t, newSource(1000, 64), Options{CacheBytes: 64 * 100})
	id, ids := int32(0), make([]int32, 1)
	one := func() {
		id = (id + 7) % 1000 // comes round after 1000: never cached
		ids[0] = id
		f := table.Fetch(ids)
		if err := f.Wait(ctx); err != nil {
			t.Fatal(err)
		}
		f.Row(0)
		f.Release()
	}
	one() // starts a goroutine
	if n := testing.AllocsPerRun(2000, one); n != 0 {
		t.Errorf("%v allocations per row read, with a cache that is empty at first", n)
	}
	if s := table.Stats(); s.CacheHits != 0 {
		t.Fatalf("%d cache hits: the test must read", s.CacheHits)
	}
	ids[0] = id
	hit := func() {
		f := table.Fetch(ids)
		if err := f.Wait(ctx); err != nil {
			t.Fatal(err)
		}
		f.Release()
	}
	if n := testing.AllocsPerRun(1000, hit); n != 0 {
		t.Errorf("%v allocations per cached row", n)
	}
}

func BenchmarkFetch(b *testing.B) {
	const rows, rowBytes = 4096, 7350 // an E2B row in Q6_K
	for _, c := range []struct {
		name string
		n    int
		o    Options
	}{
		{"read/1", 1, Options{CacheBytes: -1}},
		{"cached/1", 1, Options{CacheBytes: 1 << 30}},
		{"read/512", 512, Options{CacheBytes: -1}},
		{"cached/512", 512, Options{CacheBytes: 1 << 30}},
	} {
		b.Run(c.name, func(b *testing.B) {
			table, err := Open(zeros{}, rows, rowBytes, c.o)
			if err != nil {
				b.Fatal(err)
			}
			defer table.Close()
			ids, next := make([]int32, c.n), int32(0)
			b.ReportAllocs()
			b.SetBytes(int64(c.n) * rowBytes)
			for b.Loop() {
				for i := range ids {
					next = (next + 7*5) % rows
					ids[i] = next
				}
				f := table.Fetch(ids)
				if err := f.Wait(ctx); err != nil {
					b.Fatal(err)
				}
				f.Release()
			}
		})
	}
}

// zeros is a source without end that costs nothing.
type zeros struct{}

func (zeros) ReadAt(p []byte, off int64) (int, error) { return len(p), nil }
