package ple

import (
	"math/bits"
	"time"
)

// Stats are counts since Open. Distinct = CacheHits + Shared + the rows queued
// for reading. In a table held in memory every row is a hit.
type Stats struct {
	Fetches     int64         // calls of Fetch with valid ids on an open table
	Rows        int64         // rows asked for, repetitions included
	Distinct    int64         // different rows, summed over fetches
	CacheHits   int64         // of Distinct: already in memory
	Shared      int64         // of Distinct: already queued or being read for another Fetch
	Reads       int64         // reads of the source that ended
	RowsRead    int64         // rows that arrived
	BytesRead   int64         // bytes that arrived, gaps and failed reads included
	DeviceBytes int64         // the same, widened to the device's blocks
	Errors      int64         // rows that could not be read
	Waits       int64         // calls of Wait that found rows missing
	Wait        time.Duration // time spent in those calls
	Latency     time.Duration // for every Fetch with rows to read: until the last was here
	WaitTimes   Histogram     // of every Fetch waited for; 0 where nothing was missing
	IdleBytes   int64         // now: bytes of rows in the cache (not a count)
}

// Sub returns the counts since the earlier snapshot b; IdleBytes stays s's.
func (s Stats) Sub(b Stats) Stats {
	s.Fetches -= b.Fetches
	s.Rows -= b.Rows
	s.Distinct -= b.Distinct
	s.CacheHits -= b.CacheHits
	s.Shared -= b.Shared
	s.Reads -= b.Reads
	s.RowsRead -= b.RowsRead
	s.BytesRead -= b.BytesRead
	s.DeviceBytes -= b.DeviceBytes
	s.Errors -= b.Errors
	s.Waits -= b.Waits
	s.Wait -= b.Wait
	s.Latency -= b.Latency
	for i := range s.WaitTimes {
		s.WaitTimes[i] -= b.WaitTimes[i]
	}
	return s
}

// Overlap is the part of the reads' time that nobody waited through, 0 to 1; 1
// when nothing was read. Reads that end unnoticed while all processors compute
// count as long as they were unnoticed.
func (s Stats) Overlap() float64 {
	if s.Latency <= 0 {
		return 1
	}
	return max(0, 1-float64(s.Wait)/float64(s.Latency))
}

// Stats returns one consistent snapshot of the counts, also while rows are
// being read and after Close.
func (t *Table) Stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.stats
	s.IdleBytes = t.cache.bytes()
	return s
}

// Source says where the table is and how it is read, as far as the source told.
func (t *Table) Source() Traits { return t.traits }

// Histogram counts durations by size: bucket 0 those below a microsecond, then
// four buckets for each doubling, the last one open to the top (over an hour).
type Histogram [1 + 4*32]int64

func (h *Histogram) add(d time.Duration) { h[bucket(d)]++ }

func bucket(d time.Duration) int {
	us := uint64(max(0, d) / time.Microsecond)
	if us == 0 {
		return 0
	}
	octave := bits.Len64(us) - 1
	quarter := us << 2 >> octave & 3
	return min(1+4*octave+int(quarter), len(Histogram{})-1)
}

// Count is how many durations were counted.
func (h Histogram) Count() int64 {
	n := int64(0)
	for _, c := range h {
		n += c
	}
	return n
}

// Quantile returns a duration that a part q of all durations does not exceed, at
// most a quarter more than the smallest such; 0 when nothing was counted.
func (h Histogram) Quantile(q float64) time.Duration {
	rank := int64(q * float64(h.Count()))
	for i, c := range h {
		if rank -= c; rank < 0 || rank == 0 && q >= 1 {
			if i == 0 {
				return 0
			}
			octave, quarter := (i-1)/4, (i-1)%4
			return time.Microsecond << octave * time.Duration(5+quarter) / 4
		}
	}
	return 0
}
