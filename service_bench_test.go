package plume

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/plume-run/plume/internal/engine"
)

// benchModel names the file that the benchmarks of a service run on; the demo model
// when it is not set.
const benchModel = "PLUME_BENCH_MODEL"

func openBench(b *testing.B) *Model {
	b.Helper()
	var m *Model
	var err error
	if path := os.Getenv(benchModel); path != "" {
		m, err = Open(path, Options{RAM: -1})
	} else {
		m, err = OpenDemo(Options{RAM: -1}, nil)
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { m.Close() })
	return m
}

// benchIDs returns n ids of a text named by seed.
func benchIDs(m *Model, seed, n int) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32((seed*7919 + i*104729) % m.VocabSize())
	}
	return ids
}

// BenchmarkServiceDecode is what many answers at once are worth: tokens per second of
// all together while every one of them decodes, by the median step and by the fastest
// eighth of the steps.
//
//	PLUME_BENCH_MODEL=e2b-q4_0.gguf go test -run - -bench ServiceDecode -benchtime 1x .
func BenchmarkServiceDecode(b *testing.B) {
	m := openBench(b)
	for _, n := range []int{1, 2, 4, 8, 16} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, err := m.NewService(ServiceOptions{Sequences: n, Context: 128, PrefixCacheBytes: -1})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close(context.Background())
			var steps []time.Duration
			for b.Loop() {
				steps = append(steps, decodeTogether(b, m, s, n, 16, 33)...)
			}
			slices.Sort(steps)
			b.ReportMetric(float64(n)/steps[len(steps)/2].Seconds(), "tok/s")
			b.ReportMetric(float64(n)/steps[len(steps)/8].Seconds(), "tok/s-best-eighth")
			b.ReportMetric(0, "ns/op") // prompts are in it
		})
	}
}

// decodeTogether has n answers of so many tokens computed and returns the times between
// tokens of one of them while all of them decode: each is a step that yields n tokens.
func decodeTogether(b *testing.B, m *Model, s *Service, n, prompt, tokens int) []time.Duration {
	times := make([][]time.Time, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			sampling := m.Sampling()
			sampling.Seed = uint64(i + 1)
			req, err := (&answer{m: m}).prepare(Request{Tokens: benchIDs(m, i, prompt), Sampling: &sampling, MaxTokens: tokens})
			if err == nil {
				req.Stop = nil
				_, err = s.sch.Generate(context.Background(), req, func(engine.Token) bool {
					times[i] = append(times[i], time.Now())
					return true
				})
			}
			if err != nil {
				b.Error(err)
			}
		})
	}
	wg.Wait()
	if b.Failed() {
		b.FailNow()
	}
	begin, end := times[0][0], times[0][tokens-1]
	for _, t := range times {
		if t[0].After(begin) {
			begin = t[0]
		}
		if t[tokens-1].Before(end) {
			end = t[tokens-1]
		}
	}
	var steps []time.Duration
	for i, at := range times[0][1:] {
		if before := times[0][i]; !before.Before(begin) && !at.After(end) {
			steps = append(steps, at.Sub(before))
		}
	}
	return steps
}

// BenchmarkServiceTurn10 is the time to the first token of a chat's tenth turn, when
// others have used the service between all turns, with the prefix cache and without.
// A turn adds 80 tokens of the user and 20 of the answer.
func BenchmarkServiceTurn10(b *testing.B) {
	m := openBench(b)
	for name, bytes := range map[string]int64{"with": 0, "without": -1} {
		b.Run(name, func(b *testing.B) {
			var first time.Duration
			for b.Loop() {
				first += turn10(b, m, bytes)
			}
			b.ReportMetric(first.Seconds()*1000/float64(b.N), "ms-to-first-token")
			b.ReportMetric(0, "ns/op") // the turns before are not the matter
		})
	}
}

func turn10(b *testing.B, m *Model, prefixBytes int64) time.Duration {
	s, err := m.NewService(ServiceOptions{Sequences: 1, Context: 1100, PrefixCacheBytes: prefixBytes})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close(context.Background())
	ask := func(ids []int32, tokens int) *Result {
		a, err := Collect(s.Generate(context.Background(), Request{Tokens: ids, MaxTokens: tokens}))
		if err != nil {
			b.Fatal(err)
		}
		return &a.Result
	}
	chat := benchIDs(m, 1, 80)
	for turn := 1; turn < 10; turn++ {
		said := benchIDs(m, 20+turn, 20)
		if prefixBytes >= 0 { // without, the turns before make no difference
			said = ask(chat, 20).IDs
			ask(benchIDs(m, 100+turn, 32), 1)
		}
		chat = slices.Concat(chat, said, benchIDs(m, 40+turn, 80))
	}
	r := ask(chat, 1)
	b.ReportMetric(float64(r.Usage.Prompt-r.Usage.Cached), "tokens-computed")
	return r.Timings.FirstToken
}

// BenchmarkServiceStall is what a prompt of 2,000 tokens does to three answers that are
// being computed: the time between their tokens before it comes and while it is computed,
// by ServiceOptions.ChunkTokens, and how long its own first token takes.
//
//	PLUME_BENCH_MODEL=e2b-q4_0.gguf go test -run - -bench ServiceStall -benchtime 1x .
func BenchmarkServiceStall(b *testing.B) {
	m := openBench(b)
	for _, chunk := range []int{8, 16, 32, 64, 128, 256} {
		b.Run(fmt.Sprint(chunk), func(b *testing.B) {
			var before, during []time.Duration
			var first time.Duration
			for b.Loop() {
				quiet, busy, took := stall(b, m, chunk, min(2000, m.Options().Context-100))
				before, during, first = append(before, quiet...), append(during, busy...), first+took
			}
			slices.Sort(before)
			slices.Sort(during)
			ms := func(d time.Duration) float64 { return d.Seconds() * 1000 }
			b.ReportMetric(ms(before[len(before)/2]), "ms-before-p50")
			b.ReportMetric(ms(during[len(during)/2]), "ms-during-p50")
			b.ReportMetric(ms(during[len(during)*99/100]), "ms-during-p99")
			b.ReportMetric(first.Seconds()/float64(b.N), "s-to-first-token")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// stall returns the times between the tokens of three answers before and while a prompt
// of so many tokens is computed, and how long that took.
func stall(b *testing.B, m *Model, chunk, prompt int) (before, during []time.Duration, first time.Duration) {
	s, err := m.NewService(ServiceOptions{Sequences: 4, Context: prompt + 1, ChunkTokens: chunk, PrefixCacheBytes: -1})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close(context.Background())
	ctx, cancel := context.WithCancel(context.Background())
	const answers, warm = 3, 12
	times, ready := make([][]time.Time, answers), make(chan struct{}, answers)
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() {
			req, err := (&answer{m: m}).prepare(Request{Tokens: benchIDs(m, i, 16)})
			if err == nil {
				req.Stop = nil
				_, err = s.sch.Generate(ctx, req, func(engine.Token) bool {
					if times[i] = append(times[i], time.Now()); len(times[i]) == warm {
						ready <- struct{}{}
					}
					return true
				})
			}
			if ctx.Err() == nil {
				b.Errorf("answer %d ended: %v", i, err)
			}
		})
	}
	for range answers {
		<-ready
	}
	begin := time.Now()
	a, err := Collect(s.Generate(ctx, Request{Tokens: benchIDs(m, 77, prompt), MaxTokens: 1}))
	end := time.Now()
	cancel()
	wg.Wait()
	if err != nil || a.Result.Usage.Cached > 0 {
		b.Fatalf("%+v, %v", a.Result.Usage, err)
	}
	for _, at := range times {
		for k := 3; k < len(at); k++ {
			switch gap := at[k].Sub(at[k-1]); {
			case at[k].Before(begin):
				before = append(before, gap)
			case at[k-1].After(begin) && at[k].Before(end):
				during = append(during, gap)
			}
		}
	}
	return before, during, end.Sub(begin)
}
