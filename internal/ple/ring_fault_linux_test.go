package ple

import (
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// has reports whether r is to bring a row.
func (r *read) has(row int32) bool {
	return slices.ContainsFunc(r.slots, func(s *slot) bool { return s.row == row })
}

// TestRingCompletionFails: a read that the device ends with an error is repeated by a
// plain call; when that fails too, its row fails alone, and heals.
func TestRingCompletionFails(t *testing.T) {
	h := newHome(t, 500, 735)
	g, table := openRingTable(t, h, Options{Workers: 4, CacheBytes: -1})
	failed := 0
	set := func(fault func(uint32, int32) (int32, bool), f *os.File) {
		table.mu.Lock()
		defer table.mu.Unlock()
		g.fault, g.src.f = fault, f
	}
	eio := func(user uint32, res int32) (int32, bool) {
		if g.reads[user].has(6) {
			failed++
			return -int32(syscall.EIO), true
		}
		return res, true
	}
	sound := g.src.f
	ids := []int32{5, 6, 7, 40}
	set(eio, sound)
	checkParts(t, table.Fetch(ids), ids, nil, h.row)
	unreadable, err := os.OpenFile(h.spec.Path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unreadable.Close()
	set(eio, unreadable)
	f := table.Fetch(ids)
	if err := f.Wait(ctx); !errors.Is(err, syscall.EBADF) || !strings.Contains(err.Error(), "read row 6 at offset ") || !strings.Contains(err.Error(), h.spec.Path) {
		t.Errorf("error %v", err)
	}
	for i, id := range ids {
		if err := f.Err(i); (err != nil) != (id == 6) {
			t.Errorf("row %d: %v", id, err)
		}
	}
	f.Release()
	set(nil, sound)
	checkParts(t, table.Fetch(ids), ids, nil, h.row)
	if s := table.Stats(); s.Errors != 1 || failed < 3 {
		t.Errorf("%d completions failed, stats %+v", failed, s)
	}
}

// TestRingCompletionWithheld: a read that the device never ends is given up; what was read
// with it and after it comes, and its buffer is used again when it ends after all.
func TestRingCompletionWithheld(t *testing.T) {
	h := newHome(t, 500, 735)
	g, table := openRingTable(t, h, Options{Workers: 4, CacheBytes: -1})
	var lost []*read
	withhold := func() {
		table.mu.Lock()
		defer table.mu.Unlock()
		g.fault = func(user uint32, res int32) (int32, bool) {
			if r := g.reads[user]; r.has(6) {
				lost = append(lost, r)
				return 0, false
			}
			return res, true
		}
	}
	withhold()
	// expire makes the n-th withheld read as old as the watchdog looks for.
	expire := func(n int) {
		until(t, func() bool {
			table.mu.Lock()
			defer table.mu.Unlock()
			table.poll()
			return len(lost) == n && table.under.n == 1
		})
		table.mu.Lock()
		lost[n-1].begun = time.Now().Add(-time.Hour)
		table.mu.Unlock()
		table.due()
	}
	f := table.Fetch([]int32{5, 6, 7}) // one read, then three
	expire(1)
	expire(2)
	if err := f.Wait(ctx); !errors.Is(err, ErrSlow) || !strings.Contains(err.Error(), "read row 6 at offset ") {
		t.Errorf("error %v", err)
	}
	if f.Err(0) != nil || f.Err(2) != nil {
		t.Errorf("rows beside it: %v, %v", f.Err(0), f.Err(2))
	}
	f.Release()
	others := []int32{40, 41, 90, 100, 110, 120}
	checkParts(t, table.Fetch(others), others, nil, h.row) // by two buffers
	if !table.hangs() {
		t.Error("nothing hangs")
	}
	table.mu.Lock()
	g.fault = nil
	for _, r := range lost { // the device answers at last
		from, n := g.src.widen(g.src.spec.Offset+r.off, r.n)
		g.push(r.buf[:n], from, r.user)
		if n, e := g.enter(1, 0); n != 1 || e != 0 {
			t.Errorf("submit: %d, %v", n, e)
		}
	}
	table.mu.Unlock()
	until(t, func() bool {
		table.mu.Lock()
		defer table.mu.Unlock()
		table.poll()
		return len(g.free) == 4
	})
	checkParts(t, table.Fetch([]int32{6}), []int32{6}, nil, h.row)
	if err := table.Close(); err != nil {
		t.Error(err)
	}
	table.checkIdle(t)
}

// TestRingClosedWhileWithheld: closing does not wait for a device that is gone.
func TestRingClosedWhileWithheld(t *testing.T) {
	h := newHome(t, 500, 735)
	g, table := openRingTable(t, h, Options{Workers: 2, CacheBytes: -1})
	lost := 0
	table.mu.Lock()
	g.fault = func(uint32, int32) (int32, bool) { lost++; return 0, false }
	table.mu.Unlock()
	f := table.Fetch([]int32{6, 90})
	until(t, func() bool {
		table.mu.Lock()
		defer table.mu.Unlock()
		table.poll()
		return lost == 2
	})
	table.mu.Lock()
	for r := table.under.first(); r != &table.under.ring; r = r.next {
		r.begun = time.Now().Add(-time.Hour)
	}
	table.mu.Unlock()
	table.due()
	if err := f.Wait(ctx); !errors.Is(err, ErrSlow) {
		t.Errorf("error %v", err)
	}
	f.Release()
	late := table.Fetch([]int32{200}) // no buffer is left
	if err := late.Wait(ctx); !errors.Is(err, ErrSlow) || !strings.Contains(err.Error(), "row 200") {
		t.Errorf("error %v", err)
	}
	late.Release()
	if err := table.Close(); !errors.Is(err, ErrSlow) {
		t.Errorf("close: %v", err)
	}
}
