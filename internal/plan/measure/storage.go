package measure

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/plume-run/plume/internal/plan/flash"
)

// What of the storage is measured: random reads of these sizes at these depths, all of them in
// turn, so often, for this long each. Storage stalls for tenths of a second now and then, virtual
// disks above all; the median of a point's rounds leaves that out.
var (
	sizes  = []int{4 << 10, 8 << 10, 16 << 10}
	depths = []int{1, 2, 4, 8, 16, 32}
)

const (
	rounds     = 5
	each       = 20 * time.Millisecond
	fewest     = 8        // reads of a point in a round, however long they take
	leastBytes = 64 << 20 // of a file that random reads make sense on
	block      = 4096     // reads are aligned to it, and so is their memory

	sequentialBlock = 1 << 20
	sequentialDepth = 8
	sequentialTime  = 500 * time.Millisecond
)

// Storage measures random reads of r, which has size bytes, and its sequential rate in 10⁹
// bytes per second. Buffers are aligned for direct reads. It takes two to three seconds, more
// on storage whose single reads take longer than a millisecond.
func Storage(r io.ReaderAt, size int64) (points []flash.Point, sequential float64, err error) {
	if size < leastBytes {
		return nil, 0, fmt.Errorf("measure storage: a file of %d bytes, want one of at least %d MiB", size, leastBytes>>20)
	}
	all := make([][]flash.Point, len(sizes)*len(depths))
	for range rounds {
		for i := range all {
			p, err := random(r, size, sizes[i/len(depths)], depths[i%len(depths)])
			if err != nil {
				return nil, 0, fmt.Errorf("measure storage: %w", err)
			}
			all[i] = append(all[i], p)
		}
	}
	for _, round := range all {
		slices.SortFunc(round, func(a, b flash.Point) int { return cmp.Compare(a.IOPS, b.IOPS) })
		points = append(points, round[len(round)/2])
	}
	if sequential, err = stream(r, size); err != nil {
		return nil, 0, fmt.Errorf("measure storage: %w", err)
	}
	return points, sequential, nil
}

// random reads n bytes at random places with depth reads under way.
func random(r io.ReaderAt, size int64, n, depth int) (flash.Point, error) {
	var reads, latency atomic.Int64
	begin := time.Now()
	err := together(depth, func() error {
		p := aligned(n)
		for time.Since(begin) < each || reads.Load() < fewest {
			start := time.Now()
			if err := read(r, p, rand.Int64N((size-int64(n))/block)*block); err != nil {
				return err
			}
			latency.Add(time.Since(start).Nanoseconds())
			reads.Add(1)
		}
		return nil
	})
	count := float64(max(reads.Load(), 1))
	return flash.Point{
		Bytes: n, Depth: depth, IOPS: count / time.Since(begin).Seconds(), Mean: float64(latency.Load()) / count / 1000,
	}, err
}

// stream reads large blocks one after the other.
func stream(r io.ReaderAt, size int64) (float64, error) {
	var next, done atomic.Int64
	begin := time.Now()
	err := together(sequentialDepth, func() error {
		p := aligned(sequentialBlock)
		for time.Since(begin) < sequentialTime {
			at := next.Add(sequentialBlock) - sequentialBlock
			at %= size / sequentialBlock * sequentialBlock
			if err := read(r, p, at); err != nil {
				return err
			}
			done.Add(sequentialBlock)
		}
		return nil
	})
	return float64(done.Load()) / float64(time.Since(begin).Nanoseconds()), err
}

func read(r io.ReaderAt, p []byte, off int64) error {
	if n, err := r.ReadAt(p, off); n < len(p) {
		return errors.Join(fmt.Errorf("read %d of %d bytes at %d", n, len(p), off), err)
	}
	return nil
}

// together runs f on n goroutines and returns their errors.
func together(n int, f func() error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = f() })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// aligned is n bytes that begin on a block.
func aligned(n int) []byte {
	p := make([]byte, n+block)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(p)))) & (block - 1)
	return p[skip : skip+n : skip+n]
}
