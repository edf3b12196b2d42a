package ple

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// tape is a simulated device that answers when it is told to.
type tape struct {
	mu    sync.Mutex
	asked []int64
	ready chan struct{}
}

func (d *tape) begin(off int64, n int) Answer {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, off)
	return d
}

func (d *tape) Here() bool {
	select {
	case <-d.ready:
		return true
	default:
		return false
	}
}

func (d *tape) Wait() { <-d.ready }

// times is how often the device was asked for each offset.
func (d *tape) times() map[int64]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := map[int64]int{}
	for _, off := range d.asked {
		m[off]++
	}
	return m
}

// A row of a slow source comes when its device answers, which is asked for it once and before
// Fetch returns: nobody has to come to it afterwards.
func TestSlowSource(t *testing.T) {
	const rows, rowBytes, base = 100, 1000, 500
	data := make([]byte, base+rows*rowBytes)
	for i := range data {
		data[i] = byte(i * 7 / 3)
	}
	path := filepath.Join(t.TempDir(), "table")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []Kind{Disk, Mmap} {
		d := &tape{ready: make(chan struct{})}
		src, err := OpenSource(kind, Spec{Path: path, Offset: base, Bytes: rows * rowBytes, Through: func(s Source) (Source, error) {
			return Slow(s, "tape", d.begin), nil
		}})
		if err != nil {
			t.Skip(err)
		}
		table, err := Open(src, rows, rowBytes, Options{MaxReadBytes: -1})
		if err != nil {
			t.Fatal(err)
		}
		ids := []int32{7, 90, 11}
		f := table.Fetch(ids)
		if kind == Disk {
			if got := d.times(); len(got) != len(ids) {
				t.Errorf("%s: the device was asked for %v before anybody waits", kind, got)
			}
		}
		table.Fetch(ids[:1]).Release()
		if n := table.Stats().RowsRead; n != 0 {
			t.Errorf("%s: %d rows came before the device has answered", kind, n)
		}
		done := make(chan error)
		go func() { done <- f.Wait(t.Context()) }()
		close(d.ready)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		for i, id := range ids {
			off := base + int64(id)*rowBytes
			if !bytes.Equal(f.Row(i), data[off:off+rowBytes]) {
				t.Errorf("%s: row %d has other bytes", kind, id)
			}
			if n := d.times()[off]; n != 1 {
				t.Errorf("%s: the device was asked %d times for row %d", kind, n, id)
			}
		}
		f.Release()
		if err := table.Close(); err != nil {
			t.Error(err)
		}
		if err := src.Close(); err != nil {
			t.Error(err)
		}
	}
}

// nowhere is a source of nothing.
type nowhere struct{}

func (nowhere) ReadAt([]byte, int64) (int, error) { return 0, io.EOF }
func (nowhere) Traits() Traits                    { return Traits{} }
func (nowhere) Close() error                      { return nil }

// Notice that nothing follows is forgotten.
func TestSlowSourceForgets(t *testing.T) {
	d := &tape{ready: make(chan struct{})}
	s := Slow(nowhere{}, "tape", d.begin).(*slow)
	for i := range int64(3 * mostAsked) {
		s.advise(i, 1)
		if len(s.asked) > mostAsked {
			t.Fatalf("%d reads are remembered", len(s.asked))
		}
	}
}
