package gemma

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plume-run/plume/internal/backend/cpu"
	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/ple"
)

// The measurement of docs/measurements/ple-io.md: steps of one model whose table
// is in several places, which take turns every few steps. All weights and the
// whole table are held in memory.
//
//	go test ./internal/gemma -run '^$' -bench Places/decode -benchtime 100x -model FILE
var (
	modelFile = flag.String("model", "", "model to measure, one GGUF file")
	placeList = flag.String("places", "ram,disk,direct,http", "where its table is; the first one is what others are compared with; direct+pool: without io_uring, disk+drop: nothing stays in the page cache")
	rowCache  = flag.Int64("row-cache", -1, "bytes of the row cache, -1: none")
	moreProcs = flag.Int("more-procs", 2, "added to GOMAXPROCS, as the program does")
	serveBy   = flag.String("serve-by", "", "command in front of the web server's, such as chrt -r 20: it then does not queue for our processors, as if it were elsewhere")
	httpDelay = flag.Duration("http-delay", time.Millisecond, "added latency of the web server")
)

// TestMain serves a file instead of testing when it is asked to: the web server
// of the measurement is a process of its own.
func TestMain(m *testing.M) {
	path, delay := os.Getenv("PLUME_TEST_SERVE"), os.Getenv("PLUME_TEST_DELAY")
	if path == "" {
		os.Exit(m.Run())
	}
	wait, _ := time.ParseDuration(delay)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("http://" + l.Addr().String())
	go func() { // ends with the one that measures, however that ends
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(wait)
		http.ServeFile(w, r, path)
	}))
}

// serveAside starts that process and returns its URL.
func serveAside(b *testing.B, path string) string {
	b.Helper()
	args := append(strings.Fields(*serveBy), os.Args[0])
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "PLUME_TEST_SERVE="+path, "PLUME_TEST_DELAY="+httpDelay.String())
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if _, err := cmd.StdinPipe(); err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	line := make([]byte, 100)
	n, err := out.Read(line)
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(string(line[:n])) + "/table"
}

// place is one home of the table and what was measured there.
type place struct {
	name  string
	table *pleTable
	steps []time.Duration
	since ple.Stats
}

// plainSource hides how a source likes to be read: goroutines do it.
type plainSource struct{ ple.Source }

// places is a model whose table can be moved.
type places struct {
	m    *Model
	all  []*place
	next int // state of a walk through the vocabulary
}

func openPlaces(b *testing.B) *places {
	b.Helper()
	if *modelFile == "" {
		b.Skip("no -model")
	}
	procs := runtime.GOMAXPROCS(0)
	back, err := cpu.New(procs)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { back.Close() })
	runtime.GOMAXPROCS(procs + *moreProcs)
	b.Cleanup(func() { runtime.GOMAXPROCS(procs) })
	cat, err := checkpoint.Open(*modelFile)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { cat.Close() })
	cfg, err := ReadConfig(cat)
	if err != nil {
		b.Fatal(err)
	}
	var spec ple.Spec
	o := ple.Options{CacheBytes: *rowCache}
	p := &places{}
	p.m, err = Bind(cat, cfg, back, BindOptions{PLE: o, PLESource: func(s ple.Spec, _ int) (ple.Source, error) {
		spec = s
		return ple.OpenSource(ple.Disk, s)
	}})
	if err != nil {
		b.Fatal(err)
	}
	own := p.m.ple
	b.Cleanup(func() { p.m.ple = own; p.m.Close() })
	for name := range strings.SplitSeq(*placeList, ",") {
		at := spec
		kind, way, _ := strings.Cut(name, "+")
		at.Drop = way == "drop"
		if kind == "http" {
			at.URL, at.Path = serveAside(b, spec.Path), ""
		}
		table := *own
		if table.source, err = ple.OpenSource(ple.Kind(kind), at); err != nil {
			b.Fatal(err)
		}
		if way == "pool" {
			table.source = plainSource{table.source}
		}
		if table.rows, err = ple.Open(table.source, own.vocab, own.rowBytes, o); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { table.close() })
		p.all = append(p.all, &place{name: name + "-" + table.rows.Device(), table: &table})
	}
	return p
}

// draw fills ids with tokens of which none comes again in a round of the vocabulary.
func (p *places) draw(ids []int32) {
	const stride = 162017 // odd and near the golden section of 2^18
	for i := range ids {
		p.next = (p.next + stride) % p.m.ple.vocab
		ids[i] = int32(p.next)
	}
}

// step lets a place compute ids after what c holds, and keeps the time.
func (p *places) step(b *testing.B, at *place, c *Cache, ids []int32) {
	p.m.ple = at.table
	keep := c.Len()
	begin := time.Now()
	_, _, err := p.m.Forward(context.Background(), &Batch{Parts: []Part{{Cache: c, IDs: ids, Want: WantLast}}})
	if err != nil {
		b.Fatal(err)
	}
	at.steps = append(at.steps, time.Since(begin))
	c.Truncate(keep)
}

// measure lets every place make a step of n tokens in each round; draw fills its
// ids right before. A step is compared with that of the first place in the same
// round.
func (p *places) measure(b *testing.B, c *Cache, n int, draw func(ids []int32)) {
	ids := make([]int32, n)
	for _, at := range p.all { // buffers grow
		draw(ids)
		p.step(b, at, c, ids)
		at.steps, at.since = nil, at.table.rows.Stats()
	}
	for round := 0; b.Loop(); round++ {
		for i := range p.all {
			draw(ids)
			p.step(b, p.all[(i+round)%len(p.all)], c, ids)
		}
	}
	base := p.all[0]
	for _, at := range p.all {
		ratios := make([]float64, len(at.steps))
		for i, t := range at.steps {
			ratios[i] = float64(base.steps[i]) / float64(t)
		}
		slices.Sort(ratios)
		sorted := slices.Sorted(slices.Values(at.steps))
		s := at.table.rows.Stats().Sub(at.since)
		b.Logf("%-12s %.3f of %s (quartiles %.3f %.3f), by medians %.3f; step p50 %v p99 %v; wait mean %v p50 %v p90 %v p99 %v; read p50 %v; overlap %.3f; %d rows read",
			at.name, ratios[len(ratios)/2], base.name, ratios[len(ratios)/4], ratios[3*len(ratios)/4],
			float64(slices.Sorted(slices.Values(base.steps))[len(ratios)/2])/float64(sorted[len(ratios)/2]),
			sorted[len(ratios)/2].Round(time.Microsecond), sorted[len(ratios)*99/100].Round(time.Microsecond),
			(s.Wait / time.Duration(max(1, s.Fetches))).Round(time.Microsecond/10),
			s.WaitTimes.Quantile(0.5), s.WaitTimes.Quantile(0.9), s.WaitTimes.Quantile(0.99),
			s.ReadTimes.Quantile(0.5), s.Overlap(), s.RowsRead)
	}
}

// forgetTable drops the file from the page cache.
func forgetTable(b *testing.B) {
	b.Helper()
	f, err := os.Open(*modelFile)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	dropPages(f)
}

func BenchmarkPlaces(b *testing.B) {
	p := openPlaces(b)
	c, err := p.m.NewCache(600, 600)
	if err != nil {
		b.Fatal(err)
	}
	cold := func(ids []int32) { p.draw(ids); forgetTable(b) }
	p.step(b, p.all[0], c, []int32{2, 3, 4, 5})
	b.Run("decode/cold", func(b *testing.B) { p.measure(b, c, 1, cold) })
	b.Run("decode/warm", func(b *testing.B) { // few tokens, in the page cache and in the row cache if there is one
		few := make([]int32, 50)
		p.draw(few)
		for _, at := range p.all {
			f := at.table.rows.Fetch(few)
			if err := f.Wait(context.Background()); err != nil {
				b.Fatal(err)
			}
			f.Release()
		}
		i := 0
		p.measure(b, c, 1, func(ids []int32) { i++; ids[0] = few[i%len(few)] })
	})
	b.Run("decode/zipf", func(b *testing.B) { // tokens about as frequent as a text's, with a row cache that has seen some
		zipf := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.2, 3, uint64(p.m.ple.vocab-1))
		draw := func(ids []int32) {
			for i := range ids {
				ids[i] = int32(zipf.Uint64() * 162017 % uint64(p.m.ple.vocab))
			}
		}
		seen := make([]int32, 400)
		for range 10 {
			draw(seen)
			for _, at := range p.all {
				f := at.table.rows.Fetch(seen)
				if err := f.Wait(context.Background()); err != nil {
					b.Fatal(err)
				}
				f.Release()
			}
		}
		p.measure(b, c, 1, draw)
	})
	b.Run("prefill/cold", func(b *testing.B) { p.measure(b, c, 512, cold) })
}
