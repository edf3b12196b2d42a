package plume

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/plume-run/plume/internal/backend/cpu"
	"github.com/plume-run/plume/internal/engine"
	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/sample"
)

// MachineLimits measures how fast this machine reads memory. StreamRead(threads)
// returns bytes per second; Close gives the memory back.
type MachineLimits = cpu.Limits

// NewMachineLimits takes bytes of memory to stream through, huge pages asked for
// as weights do; they should be several times the size of the processor's caches.
func NewMachineLimits(bytes int) (*MachineLimits, error) { return cpu.NewLimits(bytes) }

// PeakInt8 returns the int8 multiply-adds per second that threads together reach
// on registers alone during about d, at the level of instructions in use; 0 where
// there is no such loop.
func PeakInt8(threads int, d time.Duration) float64 { return cpu.PeakInt8(threads, d) }

// PeakF32 is PeakInt8 for float multiply-adds.
func PeakF32(threads int, d time.Duration) float64 { return cpu.PeakF32(threads, d) }

// Bench measures the steps of a model on token ids of its own choosing: every id
// of the vocabulary once before any comes again, so that rows of the per-layer
// table are read and not remembered. It belongs to one goroutine, and nothing
// else may use the model meanwhile. It holds K/V caches; let it go with them.
type Bench struct {
	m    *Model
	cpu  *cpu.CPU
	walk *int // state of the walk through the vocabulary

	prompt *gemma.Cache // of Prefill
	caches []*gemma.Cache
	held   BenchDecode // what caches were filled for
	pick   *sample.Sampler

	// Meter counts BenchRun.Joules; nil: nobody counts. It stays the caller's.
	Meter *EnergyMeter
}

// NewBench returns a Bench over m. Only the cpu backend can be measured; others
// are ErrUnsupported.
func (m *Model) NewBench() (*Bench, error) {
	c, ok := m.back.(*cpu.CPU)
	if !ok {
		return nil, unsupportedError{fmt.Errorf("measure backend %s: only cpu counts what it does", m.back.Name())}
	}
	pick, err := sample.New(sample.Params{})
	if err != nil {
		return nil, err
	}
	return &Bench{m: m, cpu: c, pick: pick, walk: new(int)}, nil
}

// Beside returns a Bench over the same model with caches of its own, for the same
// goroutine. It goes on in the same walk of ids, so that it meets none that b has met.
func (b *Bench) Beside() *Bench {
	return &Bench{m: b.m, cpu: b.cpu, pick: b.pick, walk: b.walk, Meter: b.Meter}
}

// Backend names what computes and the instructions in use: "cpu avx2".
func (b *Bench) Backend() string { return b.cpu.Name() }

// SetThreads goes on with another number of threads. Models are not loaded again.
func (b *Bench) SetThreads(n int) error {
	if err := b.cpu.SetThreads(n); err != nil {
		return requestError{err}
	}
	b.m.opt.Threads = n
	return nil
}

// BenchClass is what one kind of operation cost and did. MACs are multiply-adds
// done; Bytes are those of weights, keys and values, each counted once per
// operation however often it was used.
type BenchClass struct {
	Name  string
	Time  time.Duration
	MACs  int64
	Bytes int64
}

// The classes that are no operations of the backend; those are named "products"
// (with quantised weights), "float products", "head", "attention", "rows" and
// "quantise".
const (
	ClassSampling = "sampling"
	ClassPLEWait  = "ple wait"
	ClassRest     = "rest" // what is left of the time: laying out batches, angles, decoding rows
)

// BenchRun is one measurement.
type BenchRun struct {
	Context           int           // positions in each cache before
	Tokens            int           // tokens computed, of all sequences together
	Steps             int           // calls of the forward pass
	Time              time.Duration // of all steps
	Mallocs           uint64        // allocations of the whole process meanwhile
	Joules            float64       // used by the machine meanwhile; 0: not counted
	PLE               PLEStats
	Drafted, Accepted int          // of Greedy: tokens guessed and evaluated on trial, and those of them that were right
	Classes           []BenchClass // only when a profile was asked for; the same ones in every run

	sampling time.Duration
}

// Rate returns tokens per second.
func (r *BenchRun) Rate() float64 { return rate(r.Tokens, r.Time) }

// Sum adds up the classes of the given names, of all when there are none.
func (r *BenchRun) Sum(names ...string) BenchClass {
	var sum BenchClass
	for _, c := range r.Classes {
		take := len(names) == 0
		for _, n := range names {
			take = take || c.Name == n
		}
		if take {
			sum.Time, sum.MACs, sum.Bytes = sum.Time+c.Time, sum.MACs+c.MACs, sum.Bytes+c.Bytes
		}
	}
	return sum
}

// BenchPrefill is a prompt.
type BenchPrefill struct {
	Tokens  int
	Chunk   int // tokens per step; 0: what sessions take
	Profile bool
}

// Prefill computes a prompt up to the logits of its last token.
func (b *Bench) Prefill(ctx context.Context, p BenchPrefill) (BenchRun, error) {
	if p.Chunk == 0 {
		p.Chunk = engine.DefaultChunk
	}
	if p.Chunk < 1 {
		return BenchRun{}, requestError{fmt.Errorf("measure prefill: chunks of %d tokens", p.Chunk)}
	}
	if b.prompt == nil || b.prompt.Cap() != p.Tokens {
		cache, err := b.m.gm.NewCache(p.Tokens, 0)
		if err != nil {
			return BenchRun{}, requestError{fmt.Errorf("measure prefill: %w", err)}
		}
		b.prompt = cache
	}
	b.prompt.Reset()
	ids := make([]int32, p.Tokens)
	b.draw(ids)
	run := BenchRun{Tokens: p.Tokens}
	err := b.measure(p.Profile, &run, func() error {
		return b.fill(ctx, []*gemma.Cache{b.prompt}, ids, p.Chunk, gemma.WantLast, &run)
	})
	return run, err
}

// fill puts len(ids)/len(caches) tokens into each cache, chunk by chunk.
func (b *Bench) fill(ctx context.Context, caches []*gemma.Cache, ids []int32, chunk int, want gemma.Want, run *BenchRun) error {
	n := len(ids) / len(caches)
	parts := make([]gemma.Part, len(caches))
	for at := 0; at < n; at += chunk {
		end := min(at+chunk, n)
		for i, c := range caches {
			parts[i] = gemma.Part{Cache: c, IDs: ids[i*n+at : i*n+end]}
			if end == n {
				parts[i].Want = want
			}
		}
		if _, _, err := b.m.gm.Forward(ctx, &gemma.Batch{Parts: parts}); err != nil {
			return err
		}
		run.Steps++
	}
	return nil
}

// BenchDecode is a run of single tokens in Batch sequences at once.
type BenchDecode struct {
	Context int // tokens in each sequence before
	Tokens  int // steps
	Batch   int // sequences; 0: 1
	Profile bool
}

// Decode computes and samples (greedily) one token of each sequence per step, and
// goes on with ids drawn in advance. Filling the sequences and two steps to warm
// up are not measured. Calls with the same Context and Batch take the same caches
// again and begin where the first one did.
func (b *Bench) Decode(ctx context.Context, d BenchDecode) (BenchRun, error) {
	if d.Batch == 0 {
		d.Batch = 1
	}
	if err := b.prepare(ctx, d); err != nil {
		return BenchRun{}, fmt.Errorf("measure decoding: %w", err)
	}
	run, err := b.steps(ctx, min(2, d.Tokens), false)
	if err == nil && !b.rewind() {
		err = errors.New("measure decoding: the caches do not go back")
	}
	if err == nil {
		run, err = b.steps(ctx, d.Tokens, d.Profile)
	}
	return run, err
}

// steps measures n steps of decoding.
func (b *Bench) steps(ctx context.Context, n int, profile bool) (BenchRun, error) {
	size, vocab := len(b.caches), b.m.VocabSize()
	ids := make([]int32, n*size)
	b.draw(ids)
	batch := gemma.Batch{Parts: make([]gemma.Part, size)}
	run := BenchRun{Context: b.caches[0].Len(), Steps: n, Tokens: len(ids)}
	err := b.measure(profile, &run, func() error {
		for at := 0; at < len(ids); at += size {
			for i, c := range b.caches {
				batch.Parts[i] = gemma.Part{Cache: c, IDs: ids[at+i : at+i+1], Want: gemma.WantLast}
			}
			logits, rows, err := b.m.gm.Forward(ctx, &batch)
			if err != nil {
				return err
			}
			begin := time.Now()
			for i := range rows {
				b.pick.Sample(logits[i*vocab:(i+1)*vocab], nil)
			}
			run.sampling += time.Since(begin)
		}
		return nil
	})
	return run, err
}

// prepare sees to it that the caches hold Context tokens and have room for Tokens.
func (b *Bench) prepare(ctx context.Context, d BenchDecode) error {
	limit := b.m.MaxContext()
	if d.Context < 0 || d.Tokens < 1 || d.Batch < 1 || d.Batch > 1<<12 || d.Context > limit || d.Tokens > limit-d.Context {
		return requestError{fmt.Errorf("%d tokens after %d in %d sequences, with a context of %d", d.Tokens, d.Context, d.Batch, limit)}
	}
	if b.held.Context == d.Context && b.held.Batch == d.Batch && b.held.Tokens >= d.Tokens && b.rewind() {
		return nil
	}
	b.caches = nil // before the new ones are made
	for range d.Batch {
		cache, err := b.m.gm.NewCache(d.Context+d.Tokens, d.Tokens)
		if err != nil {
			return err
		}
		b.caches = append(b.caches, cache)
	}
	b.held = d
	ids := make([]int32, d.Context*d.Batch)
	b.draw(ids)
	var run BenchRun
	return b.fill(ctx, b.caches, ids, engine.DefaultChunk, gemma.WantNone, &run)
}

// rewind brings the caches back to where prepare left them and reports whether it
// could: a step that failed leaves one that cannot.
func (b *Bench) rewind() bool {
	for _, c := range b.caches {
		if !c.Truncate(b.held.Context) || c.Len() != b.held.Context {
			b.held = BenchDecode{}
			return false
		}
	}
	return len(b.caches) > 0
}

// Greedy generates as a session does, prompt first: what is measured is the
// engine's own loop from the first token to the last.
func (b *Bench) Greedy(ctx context.Context, prompt, tokens int) (BenchRun, error) {
	if prompt < 1 || tokens < 2 {
		return BenchRun{}, requestError{fmt.Errorf("measure generating: %d tokens after %d, want at least 2 after 1", tokens, prompt)}
	}
	s, err := b.m.eng.NewSession(engine.SessionOptions{Context: prompt + tokens})
	if err != nil {
		return BenchRun{}, requestError{err}
	}
	defer s.Close()
	ids := make([]int32, prompt)
	b.draw(ids)
	run := BenchRun{Context: prompt, Tokens: tokens - 1, Steps: tokens - 1}
	var before meter
	count := 0
	res, err := s.Generate(ctx, engine.Request{Prompt: ids, MaxTokens: tokens, Sampler: b.pick}, func(engine.Token) bool {
		switch count++; count {
		case 1:
			before.start(b)
		case tokens:
			before.stop(b.m, &run)
		}
		return true
	})
	if err == nil && count < tokens {
		err = errors.New("measure generating: ended early")
	}
	run.Drafted, run.Accepted = res.Drafted, res.Accepted
	run.Steps -= run.Accepted // each came with the token before it
	if before.energy != nil && count < tokens {
		_, _ = before.energy.End() // nobody wants the figure, but counting must stop
	}
	return run, err
}

// meter is the state of the counters when a measurement began.
type meter struct {
	mem    runtime.MemStats
	ple    PLEStats
	begin  time.Time
	energy *EnergySpan
}

func (b *meter) start(of *Bench) {
	b.ple = of.m.PLEStats()
	if of.Meter != nil {
		b.energy = of.Meter.Begin()
	}
	runtime.ReadMemStats(&b.mem)
	b.begin = time.Now()
}

func (b *meter) stop(m *Model, run *BenchRun) {
	run.Time = time.Since(b.begin)
	before := b.mem.Mallocs
	runtime.ReadMemStats(&b.mem)
	run.Mallocs = b.mem.Mallocs - before
	if b.energy != nil {
		if joules, err := b.energy.End(); err == nil { // 0 where the charger was plugged in
			run.Joules = joules
		}
	}
	run.PLE = m.PLEStats().minus(b.ple)
}

// measure runs f and notes what it cost.
func (b *Bench) measure(profile bool, run *BenchRun, f func() error) error {
	var before meter
	if profile {
		b.cpu.StartProfile()
	}
	before.start(b)
	err := f()
	before.stop(b.m, run)
	if !profile {
		return err
	}
	p := b.cpu.StopProfile()
	for class, u := range p.Of {
		run.Classes = append(run.Classes, BenchClass{cpu.Class(class).String(), u.Time, u.MACs, u.Bytes})
	}
	run.Classes = append(run.Classes,
		BenchClass{Name: ClassSampling, Time: run.sampling},
		BenchClass{Name: ClassPLEWait, Time: run.PLE.Wait})
	run.Classes = append(run.Classes, BenchClass{Name: ClassRest, Time: max(0, run.Time-run.Sum().Time)})
	return err
}

// draw fills ids with the next steps of a walk that meets every id once in a
// round. Its stride is near the golden section of the vocabulary, so neighbours
// in ids are no neighbours in the table.
func (b *Bench) draw(ids []int32) {
	n := b.m.cfg.VocabSize
	stride := max(1, int(float64(n)*0.6180339887))
	for gcd(stride, n) != 1 {
		stride++
	}
	for i := range ids {
		*b.walk = (*b.walk + stride) % n
		ids[i] = int32(*b.walk)
	}
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
