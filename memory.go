package plume

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/backend/cpu"
	"github.com/plume-run/plume/internal/backend/ref"
	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/engine"
	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/plan"
	"github.com/plume-run/plume/internal/quant"
)

// ErrMemory marks a model, or a session, that does not fit the memory budget. The
// message names the smallest budget that works.
var ErrMemory = errors.New("not enough memory")

// MemoryPlan is what a process that runs a model holds, made from headers before
// anything is loaded. It prints as a table and marshals to JSON.
type MemoryPlan struct {
	p    *plan.Plan
	from string
	// limited says that the budget is somebody's limit, not what happens to be free.
	limited   bool
	formats   int64   // planned for masks and grammars
	noFormats bool    // they were asked for, and the budget has no room
	server    string  // what a server's plan has for them, where this one is another's
	place     string  // of the per-layer table; "" without one
	rate      float64 // of the disk, where weights are streamed and it could be measured
}

// Budget is the memory that the process may take, 0 when nobody says.
func (p *MemoryPlan) Budget() int64 { return p.p.Budget }

// Total is what the process will take at most with one session.
func (p *MemoryPlan) Total() int64 { return p.p.Total }

// Expected is the peak to expect of one session that fills so many positions, without guessing
// ahead and without penalties; Total is never less than what it takes.
func (p *MemoryPlan) Expected(positions int) int64 { return p.p.Expected(positions) }

// Minimum is the smallest budget that works with these options.
func (p *MemoryPlan) Minimum() int64 { return p.p.Minimum }

// GoHeap is the part of Total that is Go's, for [debug.SetMemoryLimit].
func (p *MemoryPlan) GoHeap() int64 { return p.p.Heap }

// Streamed says in a sentence which weights are read from disk for every token, and
// what that costs at most by what the disk did when the plan was made; "" when all
// weights stay in memory.
func (p *MemoryPlan) Streamed() string {
	s := p.p.Streamed
	if s == nil {
		return ""
	}
	if p.rate <= 0 {
		return s.String()
	}
	return s.String() + ", " + p.atMost()
}

func (p *MemoryPlan) atMost() string {
	return fmt.Sprintf("at most %.2g tok/s at the %.0f MB/s measured", p.rate/float64(p.p.Streamed.TokenBytes), p.rate/1e6)
}

// Formats says in a sentence what becomes of requests with a Format or Tools, where
// Options.Formats has asked for room for them or the plan is of [Plan]; otherwise "".
func (p *MemoryPlan) Formats() string {
	switch {
	case p.noFormats:
		return "the budget has no room for response formats and tools: requests with them are refused, all others answered"
	case p.formats > 0:
		return fmt.Sprintf("requests with response formats and tools have %d MiB", (p.formats+1<<20-1)>>20)
	}
	return p.server
}

// NoFormats reports whether Options.Formats has asked for room that the budget does not have.
func (p *MemoryPlan) NoFormats() bool { return p.noFormats }

// asServer notes what plume serve, which asks for formats too, would have.
func (p *MemoryPlan) asServer(s *MemoryPlan) {
	switch {
	case s.noFormats:
		p.server = "in plume serve, " + s.Formats()
	case s.formats > 0:
		p.server = fmt.Sprintf("plume serve plans %d MiB more for response formats and tools", (s.formats+1<<20-1)>>20)
		if s.Context() != p.Context() {
			p.server += fmt.Sprintf(", which leaves a context of %d", s.Context())
		}
	}
}

// String prints the plan as a table.
func (p *MemoryPlan) String() string {
	s := p.p.String()
	if f := p.Formats(); f != "" {
		s += "formats: " + f + "\n"
	}
	if p.rate > 0 {
		s += "streamed: " + p.atMost() + "\n"
	}
	if p.place != "" {
		s += "table: " + p.place + "\n"
	}
	if p.from != "" {
		s += "budget: " + p.from + "\n"
	}
	return s
}

// MarshalJSON implements json.Marshaler.
func (p *MemoryPlan) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		*plan.Plan
		Expected int64   `json:"expected"` // of a session that fills the context
		Place    string  `json:"ple_place,omitempty"`
		From     string  `json:"budget_from,omitempty"`
		Rate     float64 `json:"disk_bytes_s,omitempty"` // measured where weights are streamed
		Formats  string  `json:"formats,omitempty"`
	}{p.p, p.p.Expected(p.p.Context), p.place, p.from, p.rate, p.Formats()})
}

// memoryError marks err as ErrMemory without changing its text.
type memoryError struct{ err error }

func (e memoryError) Error() string   { return e.err.Error() }
func (e memoryError) Unwrap() []error { return []error{e.err, ErrMemory} }

// Plan makes the plan that Open would obey, and reads only headers. Errors are those
// of Open, [ErrMemory] among them.
func Plan(path string, o Options) (*MemoryPlan, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	cat, err := openModel(path, o.PLETimeout)
	if err != nil {
		return nil, markUnsupported(err)
	}
	defer cat.Close()
	cfg, err := gemma.ReadConfig(cat)
	if err != nil {
		return nil, markConfig(err)
	}
	text, err := readTokenizer(cat, cfg)
	if err != nil && !errors.Is(err, ErrNoTokenizer) {
		return nil, err
	}
	b, err := o.budget()
	if err != nil {
		return nil, err
	}
	p, err := makePlan(cat, cfg, text.size(), b, o)
	if err != nil {
		return nil, markUnsupported(err)
	}
	if so := o; !o.Formats {
		so.Formats = true
		s, err := makePlan(cat, cfg, text.size(), b, so)
		if err != nil {
			return nil, markUnsupported(err)
		}
		p.asServer(s)
	}
	p.measure(cat)
	return p, nil
}

// How much of the file is read, and how long, to say what streaming costs.
const (
	rateBytes = 256 << 20
	rateTime  = 150 * time.Millisecond
)

// measure finds out how fast streamed weights will come. A disk that cannot tell leaves
// that open.
func (p *MemoryPlan) measure(cat *checkpoint.Catalog) {
	if p.p.Streamed == nil || len(cat.Tensors()) == 0 {
		return
	}
	path, _ := cat.Tensors()[0].Location()
	p.rate, _ = ReadRate(path, rateBytes, rateTime)
}

// vocabularySize is how many tokens and merges a tokenizer has.
type vocabularySize struct{ tokens, merges int }

// size is zero for no tokenizer.
func (t *Tokenizer) size() vocabularySize {
	if t == nil {
		return vocabularySize{}
	}
	return vocabularySize{t.tok.Len(), t.tok.Merges()}
}

// budget finds out how much memory the process may take.
func (o Options) budget() (budget, error) { return findBudget(o.RAM, os.Getenv(RAMVariable), "/") }

// makePlan plans one session for a budget.
func makePlan(cat *checkpoint.Catalog, cfg *gemma.Config, text vocabularySize, b budget, o Options) (*MemoryPlan, error) {
	return planSessions(cat, cfg, text, b, o, 1)
}

// planSessions plans so many sessions of the same length for a budget.
func planSessions(cat *checkpoint.Catalog, cfg *gemma.Config, text vocabularySize, b budget, o Options, sessions int) (*MemoryPlan, error) {
	po := plan.Options{
		Sessions: sessions,
		RAMBytes: b.bytes, Sizer: newSizer(o), Threads: o.Threads,
		Context: o.Context, FixedContext: o.Context > 0,
		Chunk: o.Chunk, FixedChunk: o.Chunk > 0,
		Draft:  engine.MaxDraft,
		KVType: kvTypes[o.KVType], AllowI8: o.KVType == "auto",
		Table:    tablePlace(o.PLE),
		PLECache: max(0, o.PLECacheBytes), FixedPLE: o.PLECacheBytes != 0,
		PLEReads: o.rowReads,
		Tokens:   text.tokens, Merges: text.merges,
	}
	if po.Context == 0 {
		po.Context = min(engine.DefaultContext, cfg.MaxPositions)
	}
	if po.Context > cfg.MaxPositions {
		return nil, requestError{fmt.Errorf("size context: %d tokens, want 1 to %d", po.Context, cfg.MaxPositions)}
	}
	if po.Chunk == 0 {
		po.Chunk = engine.DefaultChunk
	}
	if o.PLECacheBytes == 0 {
		po.PLECache = pleCacheBytes
	}
	if s := o.Stream; s != nil {
		po.FixedResidency = true
		po.Residency = gemma.Residency{StreamBytes: s.Bytes, ExpertSlots: s.Experts}
	}
	p, err := plan.Make(cfg, cat, po)
	var small *plan.TooSmallError
	if errors.As(err, &small) {
		err = memoryError{fmt.Errorf("%w; budget: %s", err, b.from)}
	}
	if err != nil {
		return nil, err
	}
	out := &MemoryPlan{p: p, from: b.from, limited: b.limited}
	if o.Formats && text.tokens > 0 {
		po.Formats = leastFormBytes(text.tokens)
		with, err := plan.Make(cfg, cat, po)
		out.addFormats(po.Formats, with, err)
	}
	if w := p.Weights(); w.PLERows > 0 {
		out.place = out.placeText(o, int64(w.PLERows)*w.PLERow)
	}
	return out, nil
}

// addFormats changes the plan to one that has room for formats, if there is one and its context
// is not too short for a conversation because of that. The smallest budget remains the one
// without them.
func (p *MemoryPlan) addFormats(bytes int64, with *plan.Plan, err error) {
	if err != nil || with.Context < min(p.p.Context, plan.StreamContext) {
		p.noFormats = true
		return
	}
	with.Minimum = p.p.Minimum
	p.p, p.formats = with, bytes
}

// pleCacheBytes is what the row cache gets when nobody asks for another size.
const pleCacheBytes = 2 << 20

// kvTypes are the element types behind the names of KVTypes.
var kvTypes = map[string]quant.Type{"f16": quant.F16, "f32": quant.F32, "int8": quant.I8, "auto": quant.F16}

// newSizer describes the device that newBackend would start.
func newSizer(o Options) backend.Sizer {
	if o.Backend == "ref" {
		return ref.Sizer{}
	}
	return cpu.Sizer{Threads: o.Threads}
}

// Plan returns the plan that the model was opened by.
func (m *Model) Plan() *MemoryPlan { return m.plan }

// limitGo tells Go's collector its share, if the options ask for it: the plan's, and what
// is open beyond the planned session. m.mu is held, or nobody else has m yet.
func (m *Model) limitGo() {
	if p := m.plan.p; m.opt.LimitGo && p.Budget > 0 {
		debug.SetMemoryLimit(p.Heap + max(0, p.TotalWith(m.cacheBytes, m.stepBytes)-p.Total))
	}
}

// admit reserves cache and step bytes beside what is open already, or refuses. The
// caches of sessions add up; their steps take turns in the same buffers.
func (m *Model) admit(what string, cache, step int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.plan.p
	step = max(step, m.stepBytes)
	used := p.TotalWith(m.cacheBytes, step)
	if p.Budget > 0 && used+cache > p.Budget {
		return memoryError{fmt.Errorf("%s: it takes %d MiB beside %d MiB in use, the budget is %d MiB (%s)",
			what, (cache+1<<20-1)>>20, (used+1<<20-1)>>20, p.Budget>>20, m.plan.from)}
	}
	m.cacheBytes, m.stepBytes = m.cacheBytes+cache, step
	m.limitGo()
	return nil
}

// admitEvaluation is admit for an Evaluate of n tokens. A chunk of 0 becomes the largest
// of the default, its half, … that fits.
func (m *Model) admitEvaluation(context, n int, chunk *int) (cache int64, err error) {
	asked := *chunk
	if asked == 0 {
		*chunk = min(engine.DefaultEvalChunk, n)
	}
	for {
		var step int64
		cache, step = m.plan.p.Evaluation(context, min(*chunk, n))
		err = m.admit(fmt.Sprintf("evaluate %d tokens", n), cache, step)
		if err == nil || asked > 0 || *chunk == 1 {
			return cache, err
		}
		*chunk /= 2
	}
}

// memoryStats are the plan's items with what is open now in place of the planned session.
func (m *Model) memoryStats() MemoryStats {
	m.mu.Lock()
	items := m.plan.p.With(m.cacheBytes, m.stepBytes)
	m.mu.Unlock()
	s := MemoryStats{Budget: m.plan.p.Budget}
	for _, it := range items {
		s.Used += it.Bytes
		s.Roles = append(s.Roles, MemoryUse{it.Role, it.Bytes})
	}
	if s.Budget > 0 {
		s.Left = max(0, s.Budget-s.Used)
	}
	s.Process, s.ProcessPeak = processMemory()
	return s
}

// leave gives back what admit has reserved.
func (m *Model) leave(cache int64) {
	m.mu.Lock()
	m.cacheBytes -= cache
	m.limitGo()
	m.mu.Unlock()
}
