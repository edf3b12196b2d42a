package ple

import (
	"errors"
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// openRingTable opens a table whose device is a ring.
func openRingTable(t *testing.T, h *home, o Options) (*ring, *Table) {
	t.Helper()
	src, err := OpenSource(Direct, h.spec)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	table, err := Open(src, h.rows, h.row, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { table.Close() })
	g, ok := table.dev.(*ring)
	if !ok {
		t.Skip("io_uring is not allowed here")
	}
	table.mangle = true
	return g, table
}

// TestRingThatRefuses: reads that the kernel does not take come by plain calls.
func TestRingThatRefuses(t *testing.T) {
	h := newHome(t, 500, 735)
	g, table := openRingTable(t, h, Options{Workers: 4, CacheBytes: -1})
	ids := make([]int32, 50)
	for i := range ids {
		ids[i] = int32(i * 10)
	}
	checkParts(t, table.Fetch(ids), ids, nil, h.row)
	fd := g.fd
	g.fd = -1
	checkParts(t, table.Fetch(ids), ids, nil, h.row)
	until(t, func() bool {
		table.mu.Lock()
		defer table.mu.Unlock()
		return len(g.free) == 4
	})
	g.fd = fd
	checkParts(t, table.Fetch(ids), ids, nil, h.row)
	if s := table.Stats(); s.RowsRead != 150 || s.Errors != 0 || s.DeviceBytes <= s.BytesRead || s.DeviceBytes%int64(g.src.align) != 0 {
		t.Errorf("stats %+v", s)
	}
}

// TestRingGivesBuffersBack uses few buffers for many rows, some of which fail.
func TestRingGivesBuffersBack(t *testing.T) {
	h := newHome(t, 500, 735)
	g, table := openRingTable(t, h, Options{Workers: 3, MaxReadBytes: -1, CacheBytes: -1})
	if err := os.Truncate(h.spec.Path, tableOffset+250*735); err != nil {
		t.Fatal(err)
	}
	ids := make([]int32, 500)
	for i := range ids {
		ids[i] = int32(i)
	}
	for range 3 {
		f := table.Fetch(ids)
		if err := f.Wait(ctx); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("error %v", err)
		}
		f.Release()
	}
	checkParts(t, table.Fetch(ids[:250]), ids[:250], nil, h.row)
	table.mu.Lock()
	if len(g.free) != 3 || len(g.numbers) != 3 {
		t.Errorf("%d buffers and %d numbers free, want 3", len(g.free), len(g.numbers))
	}
	table.mu.Unlock()
	if err := table.Close(); err != nil {
		t.Error(err)
	}
	table.checkIdle(t)
}

// TestPageCacheIsLeftAlone asks the kernel which pages it holds after rows were
// read from a cold file, past the page cache and dropped from it.
func TestPageCacheIsLeftAlone(t *testing.T) {
	h := newHome(t, 2000, 5040)
	f, err := os.Open(h.spec.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const written = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
	if err := unix.SyncFileRange(int(f.Fd()), 0, 0, written); err != nil { // no Sync: that waits for other files too
		t.Fatal(err)
	}
	ids := make([]int32, 400)
	for i := range ids {
		ids[i] = int32(i * 5)
	}
	for _, kind := range []Kind{Direct, Disk} {
		t.Run(string(kind), func(t *testing.T) {
			spec := h.spec
			spec.Drop = true
			src, err := OpenSource(kind, spec)
			if errors.Is(err, errors.ErrUnsupported) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer src.Close()
			table, err := Open(src, h.rows, h.row, Options{CacheBytes: -1})
			if err != nil {
				t.Fatal(err)
			}
			defer table.Close()
			dropCached(f)
			before := cachedPages(t, f, len(h.data))
			checkParts(t, table.Fetch(ids), ids, nil, h.row)
			checkParts(t, table.Fetch(ids[7:8]), ids[7:8], nil, h.row)
			if after := cachedPages(t, f, len(h.data)); after > before+len(ids)/10 { // a neighbour's read may hold one
				t.Errorf("%d pages of the table in the page cache, %d before", after, before)
			}
		})
	}
}

// TestCachedRowsNeedNobody: rows in the page cache are here when Fetch returns.
func TestCachedRowsNeedNobody(t *testing.T) {
	h := newHome(t, 200, 5040)
	src, err := OpenSource(Disk, h.spec)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	table, err := Open(src, h.rows, h.row, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	probe := make([]byte, 10)
	if !src.(*file).readCached(probe, 0) {
		t.Skip("the file system cannot tell what needs no waiting")
	}
	ids := []int32{3, 4, 5, 90, 150}
	f := table.Fetch(ids)
	if f.lacks() > 0 {
		t.Error("rows of the page cache are missing after Fetch")
	}
	checkParts(t, f, ids, nil, h.row)
	if p := table.dev.(*pool); p.started != 0 {
		t.Errorf("%d goroutines for rows of the page cache", p.started)
	}
	if s := table.Stats(); s.Waits != 0 || s.RowsRead != 5 || s.Reads != 3 {
		t.Errorf("stats %+v", s)
	}
}

// TestUnheardCompletions: reads that nobody waits for end all the same, at the
// latest when the table is closed.
func TestUnheardCompletions(t *testing.T) {
	h := newHome(t, 500, 735)
	g, table := openRingTable(t, h, Options{Workers: 4})
	for i := range int32(20) {
		table.Fetch([]int32{i, 100 + i, 200 + i}).Release()
	}
	more := table.Fetch([]int32{300, 310, 320, 330, 340, 350, 360, 370, 380}) // more than fit the ring
	until(t, func() bool { return more.lacks() <= 4 })                        // without Wait: reads that are queued follow
	more.Release()
	if err := table.Close(); err != nil {
		t.Error(err)
	}
	if len(g.free) != 4 {
		t.Errorf("%d buffers free, want 4", len(g.free))
	}
	table.checkIdle(t)
}

// lacks returns how many rows of f are missing, without looking for itself.
func (f *Fetch) lacks() int {
	f.t.mu.Lock()
	defer f.t.mu.Unlock()
	return f.missing
}

func cachedPages(t *testing.T, f *os.File, n int) int {
	t.Helper()
	m, err := unix.Mmap(int(f.Fd()), 0, n, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(m)
	in := make([]byte, (n+os.Getpagesize()-1)/os.Getpagesize())
	if err := mincore(m, in); err != nil {
		t.Skip(err)
	}
	held := 0
	for _, b := range in {
		held += int(b & 1)
	}
	return held
}

// buffersOutside are the bytes of the buffers that are not Go's.
func buffersOutside(t *Table) int64 {
	if g, ok := t.dev.(*ring); ok {
		return int64(len(g.buffers))
	}
	return 0
}
