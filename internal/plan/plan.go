package plan

import (
	"fmt"

	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/quant"
)

// Options are what the caller has decided. Zero values are not defaults here: the
// root package fills them in.
type Options struct {
	RAMBytes int64         // budget of the process; 0: none
	Sizer    backend.Sizer // of the device that will compute
	Threads  int           // of the device

	Context      int  // positions of a session's cache
	FixedContext bool // the caller insists on it: it may not shrink
	Sessions     int  // of that context at once, each in all decode steps; 0: 1
	Chunk        int  // prompt tokens of a step
	FixedChunk   bool
	Draft        int // most tokens on trial beside a certain one

	// Residency says which weights stay, when FixedResidency is set. Otherwise all do
	// where there is room for them.
	Residency      gemma.Residency
	FixedResidency bool

	KVType   quant.Type // of keys and values
	AllowI8  bool       // they may become int8 where memory is short
	Table    Place      // of the per-layer table
	PLECache int64      // bytes of rows kept for later
	FixedPLE bool

	// PLEReads says what reads of rows of that length take: how many are under way at
	// once, their memory together, and whether it is Go's.
	PLEReads func(rowBytes int64) (atOnce int, bytes int64, heap bool)

	Tokens int // vocabulary of the tokenizer; 0: the checkpoint has none
	Merges int

	Formats int64 // for masks and grammars, which answers of a form need

	notLoaded []Item // what the file holds and no session uses: roles, and bytes there
}

// Place says what memory the per-layer table takes where it is.
type Place uint8

// The places.
const (
	Outside Place = iota // rows are read when they are needed
	Mapped               // the same from a mapping, whose pages count once they are touched
	Held                 // all of it in memory; rows are lent without a copy
)

// Plan is what a process will hold. Sessions beyond the first need room of their
// own, see Session.
type Plan struct {
	Budget  int64  `json:"budget"` // 0: unlimited
	Total   int64  `json:"total"`
	Heap    int64  `json:"go_heap"` // the share of Go's memory, for debug.SetMemoryLimit
	Minimum int64  `json:"minimum"` // smallest budget that works with the same fixed options
	Context int    `json:"context"`
	Chunk   int    `json:"chunk"`
	KVType  string `json:"kv_type"`
	Threads int    `json:"threads"`
	PLE     int64  `json:"ple_cache"`
	Items   []Item `json:"items"`

	// Streamed says what does not stay in memory; nil when all does.
	Streamed *Streamed `json:"streamed,omitempty"`

	// Shrunk says what is smaller than asked for, in the order of giving way.
	Shrunk []string `json:"shrunk,omitempty"`

	opt     Options
	weights *gemma.Weights
}

// Streamed is weights that are read from the file while the model runs.
type Streamed struct {
	Bytes       int64 `json:"bytes"`        // of matrices that every token meets, experts aside
	ExpertSlots int   `json:"expert_slots"` // of OfExperts; 0: all experts stay
	OfExperts   int   `json:"of_experts"`
	TokenBytes  int64 `json:"bytes_per_token"` // read for each token that is generated, see cost
}

// Item is one use of memory.
type Item struct {
	Role  string `json:"role"`
	Bytes int64  `json:"bytes"`
	Heap  bool   `json:"go_heap"` // counted by Go's memory limit
	Note  string `json:"note,omitempty"`
}

// TooSmallError refuses a budget.
type TooSmallError struct {
	Budget, Minimum int64
	Weights         int64 // of the minimum, those that are held
	Streamed        bool  // the others are read for every token
}

func (e *TooSmallError) Error() string {
	s := fmt.Sprintf("plan memory: %s is too little: the smallest budget that works is %s, of which %s are weights",
		mib(e.Budget), mib(e.Minimum), mib(e.Weights))
	if e.Streamed {
		s += ", the others being read from disk for every token"
	}
	return s
}

// mib prints bytes in whole MiB, rounded up.
func mib(n int64) string { return fmt.Sprintf("%d MiB", (n+1<<20-1)>>20) }

// Make plans for one session. Where the budget is too small it gives way in the
// order of steps, and returns *TooSmallError when that does not suffice. Other errors
// are those of gemma.Weigh.
func Make(cfg *gemma.Config, cat *checkpoint.Catalog, o Options) (*Plan, error) {
	w, err := gemma.Weigh(cat, cfg, o.Sizer)
	if err != nil {
		return nil, err
	}
	o.notLoaded = notLoaded(cat)
	return fit(w, o)
}

// total sums the items and the heap's share of them.
func (p *Plan) total() {
	p.Total, p.Heap = 0, 0
	for _, it := range p.Items {
		p.Total += it.Bytes
		if it.Heap {
			p.Heap += it.Bytes
		}
	}
}

// lay builds the plan of o exactly as it stands.
func lay(w *gemma.Weights, o Options) *Plan {
	p := &Plan{
		Budget: o.RAMBytes, Context: o.Context, Chunk: o.Chunk, KVType: kvName(o.KVType),
		Threads: o.Threads, opt: o, weights: w,
	}
	add := func(role string, bytes int64, heap bool, note string, args ...any) {
		if bytes > 0 {
			p.Items = append(p.Items, Item{role, bytes, heap, fmt.Sprintf(note, args...)})
		}
	}
	for _, r := range w.RolesWith(o.Residency) {
		add(string(r.Role), r.Bytes, false, "%s", roleNote(r.Role))
	}
	add("page end", hugePageBytes, false, "the huge page that the weights end in")
	add("norms", w.Vectors, true, "float32")
	full, sliding := w.CacheBytes(o.Sizer, o.Context, o.Draft, o.KVType)
	add(roleKVFull, o.sessions()*full, true, "%d positions, %s%s", o.Context, p.KVType, o.each())
	add(roleKVSliding, o.sessions()*sliding, true, "rings, %s%s", p.KVType, o.each())
	step := w.StepBytes(o.Sizer, o.shapes()...)
	add("activations", step.Activations+step.Books, true, "steps of %d tokens", o.Chunk)
	add("fresh kv", step.Fresh, true, "a step's keys and values beside the rings")
	add("logits", step.Logits, true, "%d rows", o.logitRows())
	add("scratch", step.Scratch, true, "%d threads", o.Threads)
	p.addTable(add)
	if p.Streamed = streamed(w, o.Residency); p.Streamed == nil {
		add("loading", w.Loading(o.Residency), false, "buffers, until the weights are in place")
	} else {
		add("loading", w.Loading(o.Residency), false, "buffers for the weights that are read for every token")
	}
	add("tokenizer", int64(o.Tokens)*tokenBytes+int64(o.Merges)*mergeBytes, true, "%d tokens, %d merges", o.Tokens, o.Merges)
	add("sampler", 24*int64(w.Vocab()), true, "every setting at once: counts, copies, probabilities")
	add("formats", o.Formats, true, "masks and grammars of answers that have a form")
	add("go runtime", runtimeBytes+int64(o.Threads)*threadBytes, true, "allowance: scheduler, stacks, collector")
	p.total()
	add("go heap slack", p.Heap/slackShare, true, "garbage until the next collection")
	add("program", programBytes, false, "allowance: pages of the executable")
	for _, it := range o.notLoaded {
		p.Items = append(p.Items, Item{Role: it.Role, Note: fmt.Sprintf("not loaded: %.2f MiB of the file, text alone is computed", float64(it.Bytes)/(1<<20))})
	}
	p.total()
	return p
}

// sessions is how many there are.
func (o *Options) sessions() int64 { return int64(max(1, o.Sessions)) }

// each is said of what sessions have each of their own.
func (o *Options) each() string {
	if o.Sessions > 1 {
		return fmt.Sprintf(", of %d sessions", o.Sessions)
	}
	return ""
}

// logitRows are the most rows of logits of a step.
func (o *Options) logitRows() int { return max(o.Draft+1, o.Sessions) }

// shapes are the steps that buffers are for: one session's, and where there are several a
// token of each at once.
func (o *Options) shapes() []gemma.StepShape {
	list := gemma.SessionShapes(o.Chunk, o.Draft, o.Context, o.KVType)
	if n := o.Sessions; n > 1 {
		list = append(list, gemma.StepShape{Rows: n, Wanted: n, Context: o.Context, Slack: o.Draft, KVType: o.KVType})
	}
	return list
}

// roleNote says what weights of a role are kept as.
func roleNote(r gemma.Role) string {
	switch r {
	case gemma.RoleRing:
		return "that the streamed weights are read into"
	case gemma.RoleSlots:
		return "for the experts that were used last"
	case gemma.RoleInput:
		return "of the embedding, read one by one"
	}
	return "weights, as the device packs them"
}

// addTable adds what the per-layer table takes.
func (p *Plan) addTable(add func(role string, bytes int64, heap bool, note string, args ...any)) {
	o, row := p.opt, p.weights.PLERow
	table := int64(p.weights.PLERows) * row
	switch {
	case table == 0:
		return
	case o.Table == Held:
		add("ple table", table, false, "all of it, %d rows of %d bytes", p.weights.PLERows, row)
		return
	case o.Table == Mapped:
		add("ple table", table, false, "mapped: pages count once a row in them was needed")
	}
	p.PLE = o.PLECache
	rows := int64(o.Chunk) + int64(o.Draft) + spareRows
	add("ple rows", rows*(row+rowBooks), true, "%d bytes each", row)
	add("ple cache", o.PLECache+o.PLECache/max(1, row)*rowBooks, true, "of %d MiB on disk", table>>20)
	atOnce, reads, heap := o.PLEReads(row)
	add(rolePLEReads, reads, heap, "at most %d at once", atOnce)
}

// Residency is which weights stay.
func (p *Plan) Residency() gemma.Residency { return p.opt.Residency }

// HoldTable changes the plan to one with the whole per-layer table in memory.
func (p *Plan) HoldTable() {
	o := p.opt
	o.Table = Held
	held := lay(p.weights, o)
	held.Minimum, held.Shrunk = p.Minimum, p.Shrunk
	*p = *held
}

// CountReads changes whether the reads of rows take Go's memory, which is known when the table
// is open. What they take stays.
func (p *Plan) CountReads(heap bool) {
	for i := range p.Items {
		if p.Items[i].Role == rolePLEReads {
			p.Items[i].Heap = heap
		}
	}
	p.total()
}

// The items that sessions replace, see With.
const (
	roleKVFull    = "kv full"
	roleKVSliding = "kv sliding"
)

const rolePLEReads = "ple reads"

// kvName is the user's word for an element type.
func kvName(t quant.Type) string {
	switch t {
	case quant.I8:
		return "int8"
	case quant.F16:
		return "f16"
	}
	return "f32"
}

// Session is what a further session, or one of another size, would take: cache bytes of
// its own, and step bytes, which it shares with the planned session's steps.
func (p *Plan) Session(context, chunk int) (cache, step int64) {
	full, sliding := p.weights.CacheBytes(p.opt.Sizer, context, p.opt.Draft, p.opt.KVType)
	return full + sliding, p.stepBytes(gemma.SessionShapes(chunk, p.opt.Draft, context, p.opt.KVType)...)
}

// With lists what the process holds while all sessions together take cache bytes of
// keys and values, and their steps, or the planned session's if those are larger, step
// bytes.
func (p *Plan) With(cache, step int64) []Item {
	items := []Item{}
	for _, it := range p.Items {
		if it.Role != roleKVFull && it.Role != roleKVSliding && it.Bytes > 0 {
			items = append(items, it)
		}
	}
	if cache > 0 {
		items = append(items, Item{Role: "kv of sessions", Bytes: cache, Heap: true})
	}
	if more := step - p.stepBytes(); more > 0 {
		items = append(items, Item{Role: "larger steps", Bytes: more, Heap: true})
	}
	return items
}

// TotalWith sums the items of With.
func (p *Plan) TotalWith(cache, step int64) int64 {
	var sum int64
	for _, it := range p.With(cache, step) {
		sum += it.Bytes
	}
	return sum
}

// Evaluation is like Session for computing the logits of every token.
func (p *Plan) Evaluation(context, chunk int) (cache, step int64) {
	full, sliding := p.weights.CacheBytes(p.opt.Sizer, context, 0, p.opt.KVType)
	return full + sliding, p.stepBytes(gemma.StepShape{Rows: chunk, Wanted: chunk, Context: context, KVType: p.opt.KVType})
}

// stepBytes is what such steps take together with those of the planned session.
func (p *Plan) stepBytes(shapes ...gemma.StepShape) int64 {
	return p.weights.StepBytes(p.opt.Sizer, append(shapes, p.opt.shapes()...)...).Sum()
}
