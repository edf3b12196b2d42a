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
	Waits       int64         // calls of Wait that had to sleep
	Wait        time.Duration // time spent in all calls of Wait, looking for ended reads included
	Latency     time.Duration // for every Fetch with rows to read: until the last was here
	WaitTimes   Histogram     // of every Fetch waited for, one step each; 0 where nothing was missing
	ReadTimes   Histogram     // of every read of the source that ended, from its start until it was noticed
	Checks      int64         // looks whether the file was written to: one a second while rows are asked for
	Nameless    bool          // now: the file was removed, or another one has its name; rows come from it all the same
	IdleBytes   int64         // now: bytes of rows in the cache (not a count)
}

// Sub returns the counts since the earlier snapshot b; what is of now stays s's.
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
	s.Checks -= b.Checks
	s.Wait -= b.Wait
	s.Latency -= b.Latency
	s.WaitTimes.sub(&b.WaitTimes)
	s.ReadTimes.sub(&b.ReadTimes)
	return s
}

// Overlap is the part of the reads' time that nobody waited through, 0 to 1; 1
// when nothing was read. Reads that end unnoticed while all processors compute
// count as long as they were unnoticed.
func (s Stats) Overlap() float64 {
	return overlap(s.Wait, s.Latency)
}

func overlap(wait, latency time.Duration) float64 {
	if latency <= 0 {
		return 1
	}
	return max(0, 1-float64(wait)/float64(latency))
}

// origin is where a Fetch found a row.
type origin uint8

const (
	fromMemory origin = iota // the cache, another fetch, or a repetition within the fetch
	fromOther                // being read for somebody else
	fromRead                 // nowhere: a read was queued for this fetch
)

// Counts say where the rows of a Fetch, or of some of its ids, came from.
type Counts struct {
	Rows    int64         // asked for, repetitions included; Rows = Hits + Shared + Read
	Hits    int64         // in memory already, or asked for earlier in the same Fetch
	Shared  int64         // being read for another Fetch
	Read    int64         // read because of this one
	Bytes   int64         // of the rows read, what lies between rows left out
	Reads   int64         // reads of the source that began with one of the rows read; neighbours share one
	Device  int64         // bytes of those, as Stats.DeviceBytes
	Wait    time.Duration // that Wait took: of the whole Fetch, since all of its rows are waited for together
	Latency time.Duration // until the last row was here; 0 when all were at once; likewise
}

// Add adds the counts of another fetch.
func (c *Counts) Add(d Counts) {
	c.Rows += d.Rows
	c.Hits += d.Hits
	c.Shared += d.Shared
	c.Read += d.Read
	c.Bytes += d.Bytes
	c.Reads += d.Reads
	c.Device += d.Device
	c.Wait += d.Wait
	c.Latency += d.Latency
}

// Overlap is the part of the reads' time that nobody waited through, as
// [Stats.Overlap].
func (c Counts) Overlap() float64 { return overlap(c.Wait, c.Latency) }

// Counts returns where the rows of ids[i] to ids[end-1] came from, before Release and
// after a Wait that Row may follow for all of them: several requests may share one Fetch.
func (f *Fetch) Counts(i, end int) Counts {
	f.mustBeHere("Counts")
	f.t.mu.Lock()
	defer f.t.mu.Unlock()
	c := Counts{Rows: int64(end - i), Wait: f.wait, Latency: f.latency}
	for ; i < end; i++ {
		switch f.from[i] {
		case fromMemory:
			c.Hits++
		case fromOther:
			c.Shared++
		case fromRead:
			c.Read++
			c.Bytes += int64(f.slots[i].bytes)
			c.Reads += int64(f.slots[i].reads)
			c.Device += f.slots[i].device
		}
	}
	return c
}

// Stats returns one consistent snapshot of the counts, also while rows are
// being read and after Close.
func (t *Table) Stats() Stats {
	checks, nameless := t.guard.state()
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.stats
	s.Checks, s.Nameless = checks, nameless
	s.IdleBytes = t.cache.bytes()
	return s
}

// Source says where the table is and how it is read, as far as the source told.
func (t *Table) Source() Traits { return t.traits }

// Histogram counts durations by size: bucket 0 those below a microsecond, then
// four buckets for each doubling, the last one open to the top (over an hour).
type Histogram [1 + 4*32]int64

// Add counts a duration.
func (h *Histogram) Add(d time.Duration) { h[bucket(d)]++ }

func (h *Histogram) sub(b *Histogram) {
	for i := range h {
		h[i] -= b[i]
	}
}

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
