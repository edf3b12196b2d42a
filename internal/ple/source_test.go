package ple

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"
)

var errDisk = errors.New("disk on fire")

// span is one ReadAt call, in rows.
type span struct{ first, n int }

// source is a table in memory whose reads can be watched, held back and broken.
type source struct {
	rowBytes int
	data     []byte

	mu      sync.Mutex
	gate    chan struct{} // when set, a read takes one value before it goes on
	begun   chan span     // when set, told of each read before the gate
	bad     map[int]error // rows whose reads fail with no bytes
	short   map[int]bool  // rows that end early, with err nil
	reads   []span
	now     int // reads under way
	most    int // largest now
	delay   time.Duration
	touched map[int]int // row → times read
}

func newSource(rows, rowBytes int) *source {
	s := &source{rowBytes: rowBytes, data: make([]byte, rows*rowBytes), touched: map[int]int{}}
	for i := range s.data {
		s.data[i] = wantByte(i/rowBytes, i%rowBytes)
	}
	return s
}

func wantByte(row, i int) byte { return byte(row*31 + row>>8 + i*7) }

func (s *source) ReadAt(p []byte, off int64) (int, error) {
	sp := span{int(off) / s.rowBytes, len(p) / s.rowBytes}
	s.mu.Lock()
	s.reads = append(s.reads, sp)
	for r := sp.first; r < sp.first+sp.n; r++ {
		s.touched[r]++
	}
	s.now++
	s.most = max(s.most, s.now)
	begun, gate := s.begun, s.gate
	s.mu.Unlock()
	if begun != nil {
		begun <- sp
	}
	if gate != nil {
		<-gate
	}
	time.Sleep(s.delay)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now--
	for r := sp.first; r < sp.first+sp.n; r++ {
		if err := s.bad[r]; err != nil {
			return 0, err
		}
		if s.short[r] {
			return copy(p[:(r-sp.first)*s.rowBytes+1], s.data[off:]), nil
		}
	}
	n := copy(p, s.data[off:])
	if int(off)+n == len(s.data) {
		return n, io.EOF // allowed beside a full read
	}
	return n, nil
}

// set changes the faults; nil heals.
func (s *source) set(bad map[int]error, short map[int]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bad, s.short = bad, short
}

func (s *source) log() []span {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]span(nil), s.reads...)
}

func open(t testing.TB, s *source, o Options) *Table {
	t.Helper()
	table, err := Open(s, len(s.data)/s.rowBytes, s.rowBytes, o)
	if err != nil {
		t.Fatal(err)
	}
	table.mangle = true
	t.Cleanup(func() { table.Close() })
	return table
}

// checkRow reports a row whose bytes are not those of the source.
func checkRow(row []byte, id int32, rowBytes int) error {
	if len(row) != rowBytes {
		return fmt.Errorf("row %d has %d bytes, want %d", id, len(row), rowBytes)
	}
	for i, b := range row {
		if w := wantByte(int(id), i); b != w {
			return fmt.Errorf("row %d, byte %d is %#x, want %#x", id, i, b, w)
		}
	}
	return nil
}

func checkRows(t testing.TB, f *Fetch, ids []int32, rowBytes int) {
	t.Helper()
	for i, id := range ids {
		if err := checkRow(f.Row(i), id, rowBytes); err != nil {
			t.Fatal(err)
		}
	}
}
