package ple

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"
)

// Measurements of docs/measurements/ple-io.md; -table names a large file that
// stands for a table (its bytes do not matter). Only that file is dropped from the
// page cache. Whole steps of a model are measured in package gemma.
//
//	go test ./internal/ple -run '^$' -bench 'Prompt|Row|Depth' -table FILE [-url URL]
var (
	tableFile = flag.String("table", "", "file to measure reads of")
	tableURL  = flag.String("url", "", "a copy of it on a web server")
)

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
}

// poolOnly hides everything of a source but ReadAt.
type poolOnly struct{ Source }

// openWay opens the first bytes of -table as a table of rowBytes each.
func openWay(b *testing.B, kind Kind, pool bool, rowBytes int, o Options) (*Table, int) {
	b.Helper()
	if *tableFile == "" {
		b.Skip("no -table")
	}
	st, err := os.Stat(*tableFile)
	if err != nil {
		b.Fatal(err)
	}
	rows := int((st.Size() - 32) / int64(rowBytes))
	spec := Spec{Path: *tableFile, Offset: 32, Bytes: int64(rows) * int64(rowBytes)}
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
			for _, w := range ways {
				b.Run(fmt.Sprintf("%d/%d/%s", rowBytes, part, w.name), func(b *testing.B) {
					table, rows := openWay(b, w.kind, w.pool, rowBytes, Options{CacheBytes: -1})
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

// BenchmarkDepth fetches the rows of 512 distinct random tokens with so many reads of at
// most so many KiB under way, the ways in turn: by direct reads, or with -url by HTTP.
func BenchmarkDepth(b *testing.B) {
	const rowBytes = 7350
	if *tableFile == "" {
		b.Skip("no -table")
	}
	st, err := os.Stat(*tableFile)
	if err != nil {
		b.Fatal(err)
	}
	kind, rows := Direct, int((st.Size()-32)/rowBytes)
	spec := Spec{Path: *tableFile, URL: *tableURL, Offset: 32, Bytes: int64(rows) * rowBytes}
	if spec.URL != "" {
		kind = HTTP
	}
	var tables []*Table
	var ways []string
	for _, workers := range []int{16, 32, 64} {
		for _, kib := range []int{64, 256} {
			src, err := OpenSource(kind, spec)
			if err != nil {
				b.Fatal(err)
			}
			defer src.Close()
			t, err := Open(src, rows, rowBytes, Options{Workers: workers, MaxReadBytes: kib << 10, CacheBytes: -1})
			if err != nil {
				b.Fatal(err)
			}
			defer t.Close()
			tables, ways = append(tables, t), append(ways, fmt.Sprintf("%d×%dKiB-ms", workers, kib))
		}
	}
	times := make([][]float64, len(ways))
	ids := make([]int32, 512)
	for b.Loop() {
		for i, t := range tables {
			for k, r := range rand.Perm(rows)[:len(ids)] {
				ids[k] = int32(r)
			}
			begin := time.Now()
			f := t.Fetch(ids)
			if err := f.Wait(ctx); err != nil {
				b.Fatal(err)
			}
			times[i] = append(times[i], time.Since(begin).Seconds()*1e3)
			f.Release()
		}
	}
	for i, way := range ways {
		slices.Sort(times[i])
		b.ReportMetric(times[i][len(times[i])/2], way)
	}
}

// BenchmarkRow is what the goroutine that computes pays for one cold row: asking
// for it, and waiting for it 2 ms later, a layer's time.
func BenchmarkRow(b *testing.B) {
	for _, w := range ways {
		b.Run(w.name, func(b *testing.B) {
			table, rows := openWay(b, w.kind, w.pool, 5040, Options{CacheBytes: -1})
			var asked, waited []time.Duration
			ids := make([]int32, 1)
			for b.Loop() {
				forget(b)
				ids[0] = rand.Int32N(int32(rows))
				begin := time.Now()
				f := table.Fetch(ids)
				asked = append(asked, time.Since(begin))
				for time.Since(begin) < 2*time.Millisecond { // computing, not sleeping
				}
				begin = time.Now()
				if err := f.Wait(ctx); err != nil {
					b.Fatal(err)
				}
				waited = append(waited, time.Since(begin))
				f.Release()
			}
			for name, times := range map[string][]time.Duration{"ask": asked, "wait": waited} {
				slices.Sort(times)
				for _, q := range []int{50, 90, 99} {
					b.ReportMetric(float64(times[len(times)*q/100].Nanoseconds())/1e3, fmt.Sprintf("%s-p%d-µs", name, q))
				}
			}
		})
	}
}
