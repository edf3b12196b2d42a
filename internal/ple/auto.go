package ple

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Storage is what Auto measured, on random rows of the table.
type Storage struct {
	Kind     Kind          // read how: Direct, or Disk where that is not possible
	Row      time.Duration // one row, one at a time: lower quartile, since others' work only adds
	RowWorst time.Duration // the slowest of them
	RowsPerS float64       // with 16 reads under way, from their lower quartile
	Rows     int           // rows read
}

// What a storage must do to be read while computing. A decoder step takes 10 to
// 100 ms and its first layer, during which the row must arrive, a thirtieth of
// that; a prompt needs a row for each of its tokens, and no machine that runs
// from such a storage reads a thousand tokens a second.
const (
	fastRow      = 2 * time.Millisecond
	fastRowsPerS = 1000
)

// Bounds of the measurement.
const (
	autoRows    = 32
	autoDepth   = 16
	autoTime    = 40 * time.Millisecond // for each of the two parts
	autoTooLong = 100 * time.Millisecond
)

// Auto opens the table of spec the way that suits the machine and says in one
// sentence which way that is and why. rowBytes is the length of a row, memory
// what the process may take for the table beyond everything else, in bytes
// (0: nothing). It measures for less than 150 ms, or less than a read takes
// where one takes longer.
//
//	direct   when the storage is fast enough to be read while computing
//	disk     the same without direct reads, or without io_uring: then what was
//	         read is dropped from the page cache
//	ram      when it is not fast enough, and the table fits memory
//	disk     when it does not fit either; spec.Drop says whether what was read is dropped
func Auto(spec Spec, rowBytes int, memory int64) (Source, string, error) {
	begin, drop := time.Now(), spec.Drop
	src, noDirect, err := openFast(&spec)
	if err != nil {
		return nil, "", err
	}
	m, err := measure(src, spec, rowBytes)
	if err != nil {
		src.Close()
		return nil, "", fmt.Errorf("measure %s: %w", spec.name(), err)
	}
	kind, why := choose(m, spec.Bytes, memory, drop, noDirect)
	why += fmt.Sprintf(" (found out in %v)", time.Since(begin).Round(time.Millisecond))
	if kind == m.Kind && (m.fast() || spec.Drop == drop) {
		return src, why, nil
	}
	src.Close()
	spec.Drop = drop
	src, err = OpenSource(kind, spec)
	return src, why, err
}

// errNoRing is why direct reads are not taken where they would need goroutines:
// a page that the kernel reads ahead needs none, and is dropped after use.
var errNoRing = errors.New("the system does not allow io_uring")

// openFast opens a file the way that suits a fast storage, and says what stands
// against direct reads if they are not it.
func openFast(spec *Spec) (src Source, noDirect, err error) {
	src, err = OpenSource(Direct, *spec)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		noDirect = err
	case err == nil && FastKind() != Direct:
		src.Close()
		noDirect = errNoRing
	default:
		return src, nil, err
	}
	spec.Drop = true
	src, err = OpenSource(Disk, *spec)
	return src, noDirect, err
}

// FastKind is how Auto has rows read of a fast storage with direct reads: as Disk where those
// would need goroutines.
func FastKind() Kind {
	if directHides() {
		return Direct
	}
	return Disk
}

// fast reports whether rows may be read while computing.
func (m Storage) fast() bool { return m.Row <= fastRow && m.RowsPerS >= fastRowsPerS }

// choose is the rule of Auto.
func choose(m Storage, tableBytes, memory int64, drop bool, noDirect error) (Kind, string) {
	seen := fmt.Sprintf("a random row takes %v and %.0f arrive in a second, %d at a time", m.Row.Round(time.Microsecond), m.RowsPerS, autoDepth)
	fast := m.fast()
	size := fmt.Sprintf("the table of %d MiB", tableBytes>>20)
	room := fmt.Sprintf("the %d MiB of memory at hand", memory>>20)
	switch {
	case fast && m.Kind == Direct:
		return Direct, "rows are read past the page cache while layer 0 computes: " + seen
	case !fast && tableBytes <= memory:
		return RAM, fmt.Sprintf("%s is held in memory: %s, too slow to hide, and it fits %s", size, seen, room)
	case !fast && drop:
		return Disk, fmt.Sprintf("rows are read through the page cache and dropped after use, since memory is limited: %s, too slow to hide, and %s does not fit %s", seen, size, room)
	case !fast:
		return Disk, fmt.Sprintf("rows are read through the page cache, which may spare some reads: %s, too slow to hide, and %s does not fit %s", seen, size, room)
	}
	return Disk, fmt.Sprintf("rows are read ahead into the page cache and dropped after use, direct reads being impossible here (%v): %s", noDirect, seen)
}

// measure reads random rows of an open source, one at a time and then 16 at
// once, for less than 130 ms unless a single read takes longer.
func measure(src Source, spec Spec, rowBytes int) (Storage, error) {
	m := Storage{Kind: src.Traits().Kind}
	if rowBytes < 1 || int64(rowBytes) > spec.Bytes {
		return m, fmt.Errorf("rows of %d bytes in a table of %d", rowBytes, spec.Bytes)
	}
	rows := spec.Bytes / int64(rowBytes)
	one := func(p []byte) (time.Duration, error) {
		begin := time.Now()
		n, err := src.ReadAt(p, rand.Int64N(rows)*int64(rowBytes))
		spec.ended()
		if n == len(p) {
			err = nil
		}
		return time.Since(begin), err
	}
	p := make([]byte, rowBytes)
	if _, err := one(p); err != nil { // the first read finds out where the file lies
		return m, err
	}
	var times []time.Duration
	for begin := time.Now(); len(times) < autoRows && (len(times) < 3 || time.Since(begin) < autoTime); {
		d, err := one(p)
		if err != nil {
			return m, err
		}
		times = append(times, d)
		if d > autoTooLong {
			break
		}
	}
	slices.Sort(times)
	m.Row, m.RowWorst, m.Rows = times[len(times)/4], times[len(times)-1], len(times)
	if m.Row > 10*fastRow { // no need to know more, and it would take long
		m.RowsPerS = 1 / m.Row.Seconds()
		return m, nil
	}
	return m, m.together(one, rowBytes)
}

// together measures many reads at once.
func (m *Storage) together(one func([]byte) (time.Duration, error), rowBytes int) error {
	var (
		next  atomic.Int64
		wg    sync.WaitGroup
		mu    sync.Mutex
		times []time.Duration
		first error
	)
	begin := time.Now()
	for range autoDepth {
		wg.Go(func() {
			p := make([]byte, rowBytes)
			for next.Add(1) <= 8*autoRows {
				d, err := one(p)
				mu.Lock()
				times = append(times, d)
				if err != nil {
					first = err
				}
				mu.Unlock()
				if err != nil || time.Since(begin) > autoTime { // looked at after the first read: one there is
					return
				}
			}
		})
	}
	wg.Wait()
	slices.Sort(times)
	m.Rows += len(times)
	m.RowsPerS = autoDepth / max(1e-9, times[len(times)/4].Seconds())
	return first
}
