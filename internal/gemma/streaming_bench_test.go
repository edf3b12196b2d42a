package gemma_test

import (
	"context"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plume-run/plume/internal/backend/cpu"
	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/gemma"
)

// BenchmarkStreaming decodes with weights that do not stay in memory. The file is named
// by PLUME_STREAM_MODEL; PLUME_STREAM lists residencies as MiB[/slots], as in "0 40 99999" or
// "0/240".
func BenchmarkStreaming(b *testing.B) {
	path := os.Getenv("PLUME_STREAM_MODEL")
	if path == "" {
		b.Skip("PLUME_STREAM_MODEL names no file")
	}
	for _, word := range strings.Fields(os.Getenv("PLUME_STREAM")) {
		r := parseResidency(b, word)
		b.Run(word, func(b *testing.B) { streamed(b, path, r) })
	}
	b.Run("disk", func(b *testing.B) { sequentially(b, path) })
}

func parseResidency(b *testing.B, word string) (r gemma.Residency) {
	number := func(s string) int {
		n, err := strconv.Atoi(s)
		if err != nil {
			b.Fatalf("PLUME_STREAM: %q", word)
		}
		return n
	}
	dense, slots, found := strings.Cut(word, "/")
	if found {
		r.ExpertSlots = number(slots)
	}
	r.StreamBytes = int64(number(dense)) << 20
	return r
}

func streamed(b *testing.B, path string, r gemma.Residency) {
	dev, err := cpu.New(2)
	if err != nil {
		b.Fatal(err)
	}
	defer dev.Close()
	cat, err := checkpoint.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer cat.Close()
	cfg, err := gemma.ReadConfig(cat)
	if err != nil {
		b.Fatal(err)
	}
	m, err := gemma.Bind(cat, cfg, dev, gemma.BindOptions{Residency: r, DropRead: true})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	c, err := m.NewCache(4096, 0)
	if err != nil {
		b.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	step := func() {
		ids := []int32{rng.Int32N(int32(cfg.VocabSize))}
		if _, _, err := m.Forward(context.Background(), &gemma.Batch{Parts: []gemma.Part{{Cache: c, IDs: ids, Want: gemma.WantLast}}}); err != nil {
			b.Fatal(err)
		}
	}
	step()
	for s := m.WeightStats(); s.ExpertMisses > 0 && s.ExpertEvictions == 0; s = m.WeightStats() {
		step() // until the slots are full
	}
	b.ResetTimer()
	before := m.WeightStats()
	for range b.N {
		step()
	}
	b.StopTimer()
	s := m.WeightStats().Sub(before)
	n, took := float64(b.N), b.Elapsed().Seconds()
	b.ReportMetric(n/took, "tok/s")
	b.ReportMetric(float64(s.ReadBytes)/n/1e6, "MB/tok")
	b.ReportMetric(float64(s.ReadBytes)/took/1e9, "GB/s")
	b.ReportMetric(s.Overlap(), "overlap")
	b.ReportMetric(float64(m.ResidentBytes())/(1<<20), "MiB")
	if all := s.ExpertHits + s.ExpertMisses; all > 0 {
		b.ReportMetric(float64(s.ExpertHits)/float64(all), "hits")
	}
	b.ReportMetric(0, "ns/op")
}

// sequentially reads the file as the model does, a MiB at a time, four at once, with
// nothing else to do.
func sequentially(b *testing.B, path string) {
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	cat, err := checkpoint.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer cat.Close()
	cat.ReadExactly()
	cat.DropAll()
	const mib, total = 1 << 20, 512
	var next sync.Mutex
	at, begin := 0, time.Now()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			buf := make([]byte, mib)
			for {
				next.Lock()
				i := at
				at++
				next.Unlock()
				if i >= total {
					return
				}
				if _, err := f.ReadAt(buf, int64(i)*mib); err != nil && err != io.EOF {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(begin)
	cat.DropAll()
	b.ReportMetric(total*mib/1e9/took.Seconds(), "GB/s")
	b.ReportMetric(0, "ns/op")
}
