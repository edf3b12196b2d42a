package ple

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The measurements of docs/measurements/ple-io.md; -table names a large file that
// stands for a table (its bytes do not matter). Only that file is dropped from the
// page cache.
//
//	go test ./internal/ple -run '^$' -bench 'Prompt|Step' -table FILE
var tableFile = flag.String("table", "", "file to measure reads of")

// ways are the sources and devices compared.
var ways = []struct {
	name string
	kind Kind
	pool bool // no ring
}{
	{"disk", Disk, false},
	{"direct+ring", Direct, false},
	{"direct+pool", Direct, true},
	{"mmap", Mmap, false},
	{"ram", RAM, false},
	{"http", HTTP, false},
}

// poolOnly hides everything of a source but ReadAt.
type poolOnly struct{ Source }

// openWay opens the first bytes of -table as a table of rowBytes each.
func openWay(b *testing.B, kind Kind, pool bool, rowBytes int, delay time.Duration, o Options) (*Table, int) {
	b.Helper()
	if *tableFile == "" {
		b.Skip("no -table")
	}
	st, err := os.Stat(*tableFile)
	if err != nil {
		b.Fatal(err)
	}
	rows := int((st.Size() - 32) / int64(rowBytes))
	if kind == RAM {
		rows = min(rows, 1<<28/rowBytes)
	}
	spec := Spec{Path: *tableFile, Offset: 32, Bytes: int64(rows) * int64(rowBytes)}
	if kind == HTTP {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(delay)
			http.ServeFile(w, r, *tableFile)
		}))
		b.Cleanup(srv.Close)
		spec.Path, spec.URL = "", srv.URL
	}
	src, err := OpenSource(kind, spec)
	if errors.Is(err, errors.ErrUnsupported) {
		b.Skip(err)
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { src.Close() })
	if pool {
		src = poolOnly{src}
	}
	table, err := Open(src, rows, rowBytes, o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { table.Close() })
	return table, rows
}

// forget drops the file from the page cache, which makes every read cold.
func forget(b *testing.B) {
	b.Helper()
	f, err := os.Open(*tableFile)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	dropCached(f)
}

// BenchmarkPrompt fetches the rows of 512 distinct random tokens, cold, and
// nothing else runs.
func BenchmarkPrompt(b *testing.B) {
	for _, rowBytes := range []int{7350, 17920} {
		for _, part := range []int{rowBytes * 2 / 5, rowBytes} { // 14 of 35 layers
			for _, w := range ways[:4] {
				b.Run(fmt.Sprintf("%d/%d/%s", rowBytes, part, w.name), func(b *testing.B) {
					table, rows := openWay(b, w.kind, w.pool, rowBytes, 0, Options{CacheBytes: -1})
					ids, parts := make([]int32, 512), make([]int, 512)
					var times []time.Duration
					for b.Loop() {
						for i, r := range rand.Perm(rows)[:512] {
							ids[i], parts[i] = int32(r), part
						}
						forget(b)
						begin := time.Now()
						f := table.FetchPart(ids, parts)
						if err := f.Wait(ctx); err != nil {
							b.Fatal(err)
						}
						f.Release()
						times = append(times, time.Since(begin))
					}
					slices.Sort(times)
					b.ReportMetric(float64(times[len(times)/2].Nanoseconds())/512e3, "p50-µs/row")
					b.ReportMetric(float64(times[0].Nanoseconds())/512e3, "min-µs/row")
				})
			}
		}
	}
}

// BenchmarkStep is a decoder step seen from the table: as many goroutines as
// cores compute without a pause, one of them asks for a row, goes on for the
// length of a layer, waits for the row and goes on for the rest. extra is what
// asking and waiting cost it.
func BenchmarkStep(b *testing.B) {
	const rowBytes, layer, rest = 7350, 1500 * time.Microsecond, 6 * time.Millisecond
	cores := runtime.NumCPU()
	for _, procs := range []int{cores, cores + 1} {
		for _, w := range ways {
			b.Run(fmt.Sprintf("procs=cores+%d/%s", procs-cores, w.name), func(b *testing.B) {
				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
				table, rows := openWay(b, w.kind, w.pool, rowBytes, time.Millisecond, Options{CacheBytes: -1})
				forget(b)
				stop := compute(cores - 1)
				defer stop()
				var extra []time.Duration
				ids := make([]int32, 1)
				for b.Loop() {
					ids[0] = int32(rand.IntN(rows))
					begin := time.Now()
					f := table.Fetch(ids)
					asked := time.Since(begin)
					spin(layer)
					begin = time.Now()
					if err := f.Wait(ctx); err != nil {
						b.Fatal(err)
					}
					extra = append(extra, asked+time.Since(begin))
					f.Release()
					spin(rest)
				}
				slices.Sort(extra)
				for _, q := range []int{50, 90, 99} {
					b.ReportMetric(float64(extra[len(extra)*q/100].Nanoseconds())/1e3, fmt.Sprintf("extra-p%d-µs", q))
				}
			})
		}
	}
}

// compute keeps n goroutines busy until the result is called.
func compute(n int) (stop func()) {
	var end atomic.Bool
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			for !end.Load() {
				spin(20 * time.Microsecond)
			}
		})
	}
	return func() { end.Store(true); wg.Wait() }
}

// spin computes for a while, and like a kernel's Go entry it lets the scheduler
// preempt it.
//
//go:noinline
func spin(d time.Duration) {
	for begin := time.Now(); time.Since(begin) < d; {
	}
}
