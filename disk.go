package plume

import (
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/ple"
)

// Reads of ReadRate: as large, and as many at once, as it takes to see what a disk
// can do. 8 of 4 MiB gave as much as 16 or 32 on the disks measured.
const (
	rateReaders   = 8
	rateReadBytes = 4 << 20
)

// ReadRate measures how fast a file comes from its disk: large direct reads, past
// the page cache, several at once, from the file's first byte for at most so many
// bytes and at most about so long. It returns bytes per second, and
// errors.ErrUnsupported where there are no direct reads.
func ReadRate(path string, bytes int64, within time.Duration) (float64, error) {
	st, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	bytes = min(bytes, st.Size())
	src, err := ple.OpenSource(ple.Direct, ple.Spec{Path: path, Bytes: bytes})
	if err != nil {
		return 0, fmt.Errorf("measure reading: %w", err)
	}
	defer src.Close()
	var (
		wg         sync.WaitGroup
		next, done atomic.Int64
		failed     atomic.Pointer[error]
	)
	bufs, free := checkpoint.DirectBuffers(rateReaders, rateReadBytes)
	defer free()
	begin := time.Now()
	for _, buf := range bufs {
		wg.Go(func() {
			for time.Since(begin) < within {
				at := next.Add(rateReadBytes) - rateReadBytes
				if at >= bytes {
					return
				}
				n, err := src.ReadAt(buf[:rateReadBytes], at)
				if done.Add(int64(n)); err != nil && err != io.EOF {
					failed.Store(&err)
					return
				}
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return 0, fmt.Errorf("measure reading: %w", *err)
	}
	return float64(done.Load()) / time.Since(begin).Seconds(), nil
}
