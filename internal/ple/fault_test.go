package ple

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestFailingRowIsNamedAndHeals(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(*source)
		is   error
	}{
		{"fails", func(s *source) { s.set(map[int]error{6: errDisk}, nil) }, errDisk},
		{"ends early", func(s *source) { s.set(nil, map[int]bool{6: true}) }, io.ErrUnexpectedEOF},
		{"says EOF", func(s *source) { s.set(map[int]error{6: io.EOF}, nil) }, io.ErrUnexpectedEOF},
	} {
		t.Run(c.name, func(t *testing.T) {
			src := newSource(100, 8)
			c.set(src)
			table := open(t, src, Options{})
			f := table.Fetch([]int32{5, 6, 7, 40}) // 5, 6, 7 are one read at first
			err := f.Wait(ctx)
			if !errors.Is(err, c.is) || !strings.Contains(err.Error(), "read row 6 at table offset 48: got ") {
				t.Errorf("error %v", err)
			}
			f.Release()
			sound := table.Fetch([]int32{5, 7, 40}) // must not suffer from 6
			if err := sound.Wait(ctx); err != nil {
				t.Error(err)
			}
			checkRows(t, sound, []int32{5, 7, 40}, 8)
			sound.Release()
			s := table.Stats()
			if s.Errors != 1 || s.RowsRead != 3 || s.CacheHits != 3 {
				t.Errorf("stats %+v", s)
			}
			src.set(nil, nil)
			f = table.Fetch([]int32{5, 6, 7})
			if err := f.Wait(ctx); err != nil {
				t.Fatalf("after healing: %v", err)
			}
			checkRows(t, f, []int32{5, 6, 7}, 8)
			f.Release()
		})
	}
}

// A fetch of which some rows fail has the others, and says which are which.
func TestRowsBesideAFailingOne(t *testing.T) {
	src := newSource(100, 8)
	src.set(map[int]error{6: errDisk, 50: errDisk}, nil)
	table := open(t, src, Options{})
	ids := []int32{6, 5, 7, 50, 40, 6, 5}
	f := table.FetchPart(ids, []int{8, 8, 8, 8, 8, 8, 0})
	if err := f.Wait(ctx); !errors.Is(err, errDisk) {
		t.Fatalf("error %v", err)
	}
	for i, id := range ids[:6] {
		err := f.Err(i)
		if bad := id == 6 || id == 50; bad != errors.Is(err, errDisk) {
			t.Errorf("row %d: %v", id, err)
		} else if !bad && !bytes.Equal(f.Row(i), src.data[id*8:id*8+8]) {
			t.Errorf("row %d: %x", id, f.Row(i))
		}
	}
	if err := f.Err(6); err != nil {
		t.Errorf("a row of which nothing is wanted: %v", err)
	}
	if err := f.Err(3); !strings.Contains(err.Error(), "read row 50 at table offset 400") {
		t.Errorf("row 50: %v", err)
	}
	f.Release()
	table.Close()
	f = table.Fetch(ids)
	if err := f.Wait(ctx); !errors.Is(err, ErrClosed) || !errors.Is(f.Err(1), ErrClosed) {
		t.Errorf("closed: %v, %v", err, f.Err(1))
	}
	f.Release()
}

func TestSourceShorterThanTheTable(t *testing.T) {
	src := newSource(10, 8)
	src.data = src.data[:10*8-3]
	table, err := Open(src, 10, 8, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	f := table.Fetch([]int32{8, 9})
	if err := f.Wait(ctx); !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "read row 9 at table offset 72: got 5 of 8 bytes") {
		t.Errorf("error %v", err)
	}
	f.Release()
}

func TestErrorOfTheSmallestRow(t *testing.T) {
	for seed := range uint64(20) {
		src := newSource(100, 8)
		src.set(map[int]error{30: errDisk, 50: errDisk, 90: errDisk}, nil)
		table := open(t, src, Options{Workers: 8, MaxReadBytes: -1})
		ids := []int32{90, 30, 50, 1, 2, 3}
		rand.New(rand.NewPCG(seed, 0)).Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
		f := table.Fetch(ids)
		if err := f.Wait(ctx); err == nil || !strings.Contains(err.Error(), "row 30 ") {
			t.Fatalf("error %v, want that of row 30", err)
		}
		f.Release()
	}
}

func TestErrorReachesEverySharer(t *testing.T) {
	src := newSource(100, 8)
	src.gate = make(chan struct{})
	src.set(map[int]error{4: errDisk}, nil)
	table := open(t, src, Options{})
	a, b, other := table.Fetch([]int32{4}), table.Fetch([]int32{1, 4}), table.Fetch([]int32{1})
	close(src.gate)
	for _, f := range []*Fetch{a, b} {
		if err := f.Wait(ctx); !errors.Is(err, errDisk) {
			t.Errorf("error %v", err)
		}
	}
	if err := other.Wait(ctx); err != nil {
		t.Errorf("fetch of a sound row: %v", err)
	}
	for _, f := range []*Fetch{a, b, other} {
		f.Release()
	}
}

func TestCloseWhileFetching(t *testing.T) {
	src := newSource(100, 8)
	src.gate, src.begun = make(chan struct{}), make(chan span, 10)
	table := open(t, src, Options{Workers: 1})
	reading := table.Fetch([]int32{1})
	<-src.begun
	queued := table.Fetch([]int32{2, 3})
	closed := make(chan error)
	go func() { closed <- table.Close() }()
	if err := queued.Wait(ctx); !errors.Is(err, ErrClosed) || !strings.Contains(err.Error(), "row 2 ") {
		t.Errorf("queued rows: %v", err)
	}
	select {
	case <-closed:
		t.Error("Close returned during a read")
	case <-time.After(5 * time.Millisecond):
	}
	close(src.gate)
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if err := reading.Wait(ctx); err != nil {
		t.Errorf("row being read at Close: %v", err)
	}
	checkRows(t, reading, []int32{1}, 8)
	reading.Release()
	queued.Release()
	late := table.Fetch([]int32{1})
	if err := late.Wait(ctx); !errors.Is(err, ErrClosed) {
		t.Errorf("Fetch after Close: %v", err)
	}
	late.Release()
	if err := table.Close(); err != nil {
		t.Error(err)
	}
	if n := len(src.log()); n != 1 {
		t.Errorf("%d reads, want 1", n)
	}
}

// TestNoGoroutineIsLeft opens, uses and closes a table of every kind.
func TestNoGoroutineIsLeft(t *testing.T) {
	h := newHome(t, 300, 50)
	web := h.serve(t)
	before := runtime.NumGoroutine()
	for _, kind := range append(Kinds(), HTTP) {
		spec := h.spec
		if kind == HTTP {
			spec = web
		}
		src, err := OpenSource(kind, spec)
		if errors.Is(err, errors.ErrUnsupported) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		table, err := Open(src, h.rows, h.row, Options{Workers: 4})
		if err != nil {
			t.Fatal(err)
		}
		abandoned := table.Fetch([]int32{250, 270})
		checkParts(t, table.Fetch([]int32{1, 2, 200}), []int32{1, 2, 200}, nil, h.row)
		abandoned.Release()
		if err := errors.Join(table.Close(), src.Close()); err != nil {
			t.Error(err)
		}
	}
	until(t, func() bool { return runtime.NumGoroutine() <= before })
}

// TestHammer lets everything happen at once, with buffers overwritten as soon
// as they are given back: it is the test to run with -race.
func TestHammer(t *testing.T) {
	const rows, rowBytes, goroutines, rounds = 300, 16, 8, 200
	src := newSource(rows, rowBytes)
	src.delay = 20 * time.Microsecond
	src.set(map[int]error{77: errDisk}, map[int]bool{200: true})
	table := open(t, src, Options{Workers: 5, CacheBytes: 20 * rowBytes, MaxReadBytes: 4 * rowBytes})
	var all sync.WaitGroup
	for g := range goroutines {
		all.Go(func() { hammer(t, table, rand.New(rand.NewPCG(uint64(g), 9)), rounds) })
	}
	stop, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		for {
			if s := table.Stats(); s.CacheHits+s.Shared > s.Distinct || s.Distinct > s.Rows || s.IdleBytes > 20*rowBytes {
				t.Errorf("torn or unbounded: %+v", s)
			}
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Microsecond):
			}
		}
	}()
	all.Wait()
	close(stop)
	<-watched
	if err := table.Close(); err != nil {
		t.Error(err)
	}
	table.checkIdle(t)
}

func hammer(t *testing.T, table *Table, rng *rand.Rand, rounds int) {
	for range rounds {
		ids, bad := make([]int32, rng.IntN(30)), false
		for i := range ids {
			ids[i] = int32(rng.IntN(300))
			bad = bad || ids[i] == 77 || ids[i] == 200
		}
		wait := ctx
		if rng.IntN(4) == 0 {
			short, cancel := context.WithTimeout(ctx, time.Duration(rng.IntN(100))*time.Microsecond)
			defer cancel()
			wait = short
		}
		if rng.IntN(2) == 0 {
			defer table.Ahead(ids[rng.IntN(len(ids)+1):]).Release()
		}
		f := table.Fetch(ids)
		switch err := f.Wait(wait); {
		case err == nil && bad:
			t.Errorf("no error for %v", ids)
		case err == nil:
			for i, id := range ids {
				if err := checkRow(f.Row(i), id, 16); err != nil {
					t.Error(err)
				}
			}
		case errors.Is(err, context.DeadlineExceeded):
		case !bad:
			t.Errorf("fetch %v: %v", ids, err)
		}
		f.Release()
	}
}

// checkIdle checks the books of a closed table whose fetches are all released.
func (t *Table) checkIdle(tb testing.TB) {
	tb.Helper()
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.known) != t.cache.n() || t.queue.n+t.under.n+t.ending+t.hung != 0 {
		tb.Errorf("%d rows known, %d cached, %d+%d+%d+%d reads", len(t.known), t.cache.n(), t.queue.n, t.under.n, t.ending, t.hung)
	}
	for _, l := range []*fifo{&t.cache.small, &t.cache.main} {
		n, bytes := 0, 0
		for s := l.ring.next; s != &l.ring; s = s.next {
			n++
			bytes += len(s.buf)
			if !s.home {
				tb.Errorf("cached row %d is not in the table's memory", s.row)
			}
			if s.refs != 0 || s.state != ready || t.known[s.row] != s || s.in != l {
				tb.Errorf("cached row %d: %d holders, state %v", s.row, s.refs, s.state)
			}
		}
		if n != l.n || int64(bytes) != l.bytes {
			tb.Errorf("%d rows of %d bytes linked, %d of %d counted", n, bytes, l.n, l.bytes)
		}
	}
	if len(t.spare)+t.cache.n() != cap(t.spare) || len(t.fetches) > maxFetches || t.sleepers != 0 {
		tb.Errorf("%d rows spare and %d cached of %d, %d spare fetches, %d sleepers", len(t.spare), t.cache.n(), cap(t.spare), len(t.fetches), t.sleepers)
	}
	for _, s := range t.spare {
		if !s.home || s.refs != 0 || s.in != nil {
			tb.Errorf("spare slot %+v", s)
		}
	}
}
