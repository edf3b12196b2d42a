package plume

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/convert"
	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/plan"
	"github.com/plume-run/plume/internal/plan/flash"
	"github.com/plume-run/plume/internal/plan/forecast"
	"github.com/plume-run/plume/internal/quant"
)

// Machine is a computer as a [Forecast] sees it: measured by [MeasureMachine], or a
// profile from [LoadMachine], whose figures have sources.
type Machine = forecast.Machine

// Prices are the assumptions behind a forecast's cost.
type Prices = forecast.Prices

// DefaultPrices are assumptions that every caller should look at.
func DefaultPrices() Prices { return forecast.DefaultPrices() }

// MachineNames lists the built-in profiles; LoadMachine takes one of them, or the name of a
// JSON file.
func MachineNames() []string { return forecast.Names() }

// LoadMachine returns a built-in profile, or reads one from a file.
func LoadMachine(nameOrFile string) (*Machine, error) {
	m, err := forecast.Load(nameOrFile)
	if err != nil {
		return nil, requestError{err}
	}
	return m, nil
}

// ModelSpec names a model to forecast: a file, of which only headers are read, or one that
// need not exist, by shape and types as [convert] would write them.
type ModelSpec struct {
	Path string

	Shape      string // "e2b", "e4b", "26b-a4b", "31b" or "12b"
	Layers     int    // 0: all
	Type       string // of the layers' matrices, a mix as "q4_k_m" included; "": q4_0
	PLE, Embed string // of the per-layer table and the embedding; "": what the converter chooses
}

// Tokens and merges of the family's vocabulary, for models without a file.
const (
	familyTokens = 262144
	familyMerges = 514906
)

// open returns the model's catalog and configuration; timeout is Options.PLETimeout.
func (s *ModelSpec) open(timeout time.Duration) (*checkpoint.Catalog, *gemma.Config, error) {
	if s.Path != "" {
		cat, err := openModel(s.Path, timeout)
		if err != nil {
			return nil, nil, markUnsupported(err)
		}
		cfg, err := gemma.ReadConfig(cat)
		if err != nil {
			cat.Close()
			return nil, nil, markConfig(err)
		}
		return cat, cfg, nil
	}
	cfg, err := gemma.ShapeConfig(s.Shape, s.Layers)
	if err != nil {
		return nil, nil, requestError{err}
	}
	types, err := s.types()
	if err != nil {
		return nil, nil, requestError{err}
	}
	cat, err := convert.Describe(cfg, types)
	if err != nil {
		return nil, nil, requestError{err}
	}
	return cat, cfg, nil
}

// types are what the names stand for.
func (s *ModelSpec) types() (convert.Types, error) {
	var t convert.Types
	var err error
	if t.Type, t.Mix, err = convert.ParseLayers(cmp.Or(s.Type, "q4_0")); err != nil {
		return t, err
	}
	for _, x := range []struct {
		name string
		dst  **quant.Type
	}{{s.PLE, &t.PLE}, {s.Embed, &t.Embed}} {
		if x.name == "" {
			continue
		}
		typ, err := quant.ParseType(x.name)
		if err != nil {
			return t, err
		}
		*x.dst = &typ
	}
	return t, nil
}

// ForecastOptions say what is forecast. The zero value of a field asks for the default.
type ForecastOptions struct {
	Options           // as Open would be called; RAM 0: what the machine has
	Machine  *Machine // required
	Prompt   int      // tokens of a prompt; 0: 512
	Contexts []int    // positions that decoding is forecast at; nil: 16 and the end of the context
	Users    []int    // sequences decoded together; nil: 1
	Sessions int      // that memory is planned for; 0: the most of Users
	RowHits  float64  // share of rows that need not be read, being in the cache: 0 (rows never repeat) to 1
	Prices   Prices   // the zero value: DefaultPrices
	Storage  string   // another storage profile than the machine's, of weights and rows
	Sense    float64  // µs that the storage's pages take to read, in place of the profile's; 0: the profile's
}

func (o ForecastOptions) withDefaults() ForecastOptions {
	o.Prompt = cmp.Or(o.Prompt, 512)
	if o.Users == nil {
		o.Users = []int{1}
	}
	if o.Prices == (Prices{}) {
		o.Prices = DefaultPrices()
	}
	if o.RAM == 0 && o.Machine.RAM > 0 {
		o.RAM = o.Machine.RAM
	}
	o.Sessions = cmp.Or(o.Sessions, slices.Max(append([]int{1}, o.Users...)))
	o.Threads = cmp.Or(o.Threads, o.Machine.Best().Threads)
	o.Options = o.Options.withDefaults()
	return o
}

// forUsers is said of memory that is planned for several.
func (o *ForecastOptions) forUsers() string {
	if o.Sessions == 1 {
		return ""
	}
	return fmt.Sprintf(", planned for %d users at once", o.Sessions)
}

// validateForecast refuses what a forecast cannot be of, beside what Open refuses.
func (o *ForecastOptions) validateForecast() (err error) {
	if err := o.Options.validate(); err != nil {
		return err
	}
	if isURL(o.PLE) {
		return requestError{errors.New("forecast: rows that come over the network have no model here; plume plan fleet has one table for all replicas")}
	}
	if !(o.RowHits >= 0 && o.RowHits <= 1) {
		return requestError{fmt.Errorf("forecast: a share of row hits of %g, want 0 to 1", o.RowHits)}
	}
	if o.Sessions < 1 || o.Sessions > 1<<16 {
		return requestError{fmt.Errorf("forecast: memory for %d sessions, want 1 to 65536", o.Sessions)}
	}
	if o.Machine, err = o.Machine.WithThreads(o.Threads); err != nil {
		return requestError{fmt.Errorf("forecast: %w", err)}
	}
	return nil
}

// Forecast is what a model on a machine comes to.
type Forecast struct {
	Model   string      `json:"model"`
	Machine string      `json:"machine"`
	Fits    bool        `json:"fits"`
	Reason  string      `json:"reason,omitempty"` // why it does not fit
	Plan    *MemoryPlan `json:"plan,omitempty"`

	RAMBytes   int64 `json:"ram_bytes"`   // what the process holds at most
	DiskBytes  int64 `json:"disk_bytes"`  // what stays on storage and is read while running: the table, streamed weights
	TableBytes int64 `json:"table_bytes"` // of that, the per-layer table; 0 where it is held in memory
	FileBytes  int64 `json:"file_bytes"`
	Streamed   int64 `json:"streamed_bytes_per_token"`
	// Slower is how many times as long as with all weights in memory a token takes, waits for
	// rows aside; 1: no longer.
	Slower float64 `json:"slower"`
	// Card is what a graphics card would hold; nil without one.
	Card *CardShare `json:"card,omitempty"`

	Prefill   StepForecast   `json:"prefill"`
	Decode    []StepForecast `json:"decode"`
	FirstWarm seconds        `json:"first_token_warm_seconds"`
	FirstCold seconds        `json:"first_token_cold_seconds"`
	Cost      forecast.Cost  `json:"cost"` // of what Typical generates

	model *forecast.Model
	store *flash.Profile
}

// seconds is a duration that JSON has as a number.
type seconds time.Duration

// MarshalJSON implements json.Marshaler.
func (s seconds) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(s).Seconds()) }

// StepForecast is the speed of one kind of step.
type StepForecast struct {
	Context int     `json:"context"` // positions before
	Users   int     `json:"users"`
	Tokens  int     `json:"tokens"` // of a prompt, or of a step
	Rate    float64 `json:"tokens_per_second"`
	Low     float64 `json:"tokens_per_second_low"` // while memory is as slow as in the worst tenth of the measurements
	High    float64 `json:"tokens_per_second_high"`
	Step    seconds `json:"seconds"`
	Wait    seconds `json:"table_wait_seconds"`   // standing still for rows
	Stream  seconds `json:"weights_read_seconds"` // reading streamed weights, hidden or not

	Products  seconds `json:"products_seconds"` // of attention and the per-layer embedding
	FFN       seconds `json:"ffn_seconds"`
	Head      seconds `json:"head_seconds"`
	Experts   seconds `json:"experts_seconds"`
	Attention seconds `json:"attention_seconds"`
	Norms     seconds `json:"norms_seconds"`    // and whatever else goes through activations
	Dispatch  seconds `json:"dispatch_seconds"` // starting operations, laying the step out, sampling
}

func stepForecast(s forecast.Speed, context, users, tokens int) StepForecast {
	c := s.Compute
	return StepForecast{
		Context: context, Users: users, Tokens: tokens, Rate: s.Rate, Low: s.Low, High: s.High, Step: seconds(s.Step), Wait: seconds(s.Wait),
		Stream: seconds(s.Stream), Products: seconds(c.Products), FFN: seconds(c.FFN), Head: seconds(c.Head), Experts: seconds(c.Experts),
		Attention: seconds(c.Attention), Norms: seconds(c.Rows), Dispatch: seconds(c.Calls),
	}
}

// slower is how many times as long as what it computes the step takes, waits for rows aside.
func (s *StepForecast) slower() float64 {
	compute := s.Products + s.FFN + s.Head + s.Experts + s.Attention + s.Norms + s.Dispatch
	return max(1, float64(s.Step-s.Wait)/float64(max(1, compute)))
}

// Parts says in a line what the step's time goes into, in milliseconds.
func (s *StepForecast) Parts() string {
	var b strings.Builder
	for _, p := range []struct {
		name string
		time seconds
		some bool // said only where there is any
	}{
		{"ffn", s.FFN, false}, {"experts", s.Experts, true}, {"other products", s.Products, false}, {"head", s.Head, false},
		{"attention", s.Attention, false}, {"norms", s.Norms, false}, {"dispatch and sampling", s.Dispatch, false},
		{"reading weights, hidden or not", s.Stream, true}, {"wait for rows", s.Wait, false},
	} {
		if p.some && p.time == 0 {
			continue
		}
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s %.2f", p.name, 1000*time.Duration(p.time).Seconds())
	}
	return b.String()
}

// between says how far the rate moves with the machine's memory.
func (s *StepForecast) between() string {
	if s.Low == s.High {
		return ""
	}
	return fmt.Sprintf(" (%.1f to %.1f)", s.Low, s.High)
}

// MakeForecast says what running a model would take and how fast it would be. A model that
// the machine has no room for is an answer, not an error: Fits is false and Reason says why.
func MakeForecast(spec ModelSpec, o ForecastOptions) (*Forecast, error) {
	if o.Machine == nil {
		return nil, requestError{errors.New("forecast: no machine")}
	}
	o = o.withDefaults()
	if err := o.validateForecast(); err != nil {
		return nil, err
	}
	cat, cfg, err := spec.open(o.PLETimeout)
	if err != nil {
		return nil, err
	}
	defer cat.Close()
	f := &Forecast{Model: cat.Path(), Machine: o.Machine.Name}
	for _, t := range cat.Tensors() {
		f.FileBytes += t.Bytes
	}
	if f.Plan, err = spec.plan(cat, cfg, &o); errors.Is(err, ErrMemory) {
		f.Reason = err.Error() + o.forUsers()
		return f, nil
	} else if err != nil {
		return nil, err
	}
	f.Fits, f.RAMBytes = true, f.Plan.Total()
	var stored int64
	for t := range usedTensors(cat, cfg) {
		stored += t.Bytes
	}
	return f, f.speeds(cfg, o, stored, spec.packed(&o.Options) != "")
}

// packed is the packed copy that Open would read weights from, "" when there is none.
func (s *ModelSpec) packed(o *Options) string {
	if s.Path == "" || o.Packed == PackedOff {
		return ""
	}
	file := o.Packed
	if file == PackedAuto {
		file = ""
	}
	c, err := FindPacked(s.Path, file)
	if err != nil || c == nil || c.Reason != "" {
		return ""
	}
	return c.Path
}

// plan plans as Open does.
func (s *ModelSpec) plan(cat *checkpoint.Catalog, cfg *gemma.Config, o *ForecastOptions) (*MemoryPlan, error) {
	size := vocabularySize{familyTokens, familyMerges}
	if s.Path != "" {
		text, err := readTokenizer(cat, cfg)
		if err != nil && !errors.Is(err, ErrNoTokenizer) {
			return nil, err
		}
		size = text.size()
	}
	b, err := o.budget()
	if err != nil {
		return nil, err
	}
	p, err := planSessions(cat, cfg, size, b, o.Options, o.Sessions)
	return p, markUnsupported(err)
}

// speeds fills in everything that takes time. stored is what Open uses of the file, packed
// whether weights are read from a packed copy.
func (f *Forecast) speeds(cfg *gemma.Config, o ForecastOptions, stored int64, packed bool) (err error) {
	w := f.Plan.p.Weights()
	table := int64(w.PLERows) * w.PLERow
	held := tablePlace(o.PLE) == plan.Held
	if !held {
		f.TableBytes = table
		stored -= table
	}
	f.model = &forecast.Model{
		Weights: w, Sizer: newSizer(o.Options), KVType: kvTypes[f.Plan.p.KVType], Chunk: f.Plan.p.Chunk,
		Stored: stored, Streamed: f.Plan.p.StreamedBytes, Packed: packed, Held: held, RowHits: o.RowHits,
	}
	ahead, chosen := f.Plan.p.StreamedBytes(1)
	f.Streamed = ahead + chosen
	f.DiskBytes = f.TableBytes + f.Plan.p.NotHeld()
	f.Card = cardShare(f.Plan, o.Machine.VRAM)
	if f.store, err = o.device(); err != nil {
		return requestError{err}
	}
	if o.Storage != "" { // weights come from there as well
		m := *o.Machine
		m.ReadRate, m.Stream = flash.Sequential(f.store, 1<<20, 8, 256<<20)/1e9, nil
		o.Machine = &m
	}
	prompt := min(o.Prompt, f.Plan.p.Context)
	if f.Prefill, err = f.PrefillOn(o.Machine, prompt); err != nil {
		return requestError{err}
	}
	if err := f.decodes(cfg, &o); err != nil {
		return err
	}
	warm, cold, err := o.Machine.FirstToken(f.model, f.store, prompt)
	if err != nil {
		return err
	}
	f.FirstWarm, f.FirstCold = seconds(warm), seconds(cold)
	f.Slower = f.Typical().slower()
	f.Cost, err = o.Machine.Cost(f.Typical().Rate, 0, o.Prices)
	if err != nil {
		return requestError{err}
	}
	return nil
}

// Typical is the step that stands for a model in one line, and that Cost is of: decoding at
// the first context with the most users. The model must fit.
func (f *Forecast) Typical() *StepForecast {
	most := 0
	for i, d := range f.Decode {
		if d.Context == f.Decode[0].Context && d.Users > f.Decode[most].Users {
			most = i
		}
	}
	return &f.Decode[most]
}

// decodes fills in decoding at every context with every number of users.
func (f *Forecast) decodes(cfg *gemma.Config, o *ForecastOptions) error {
	planned, contexts := f.Plan.p.Context, o.Contexts
	if contexts == nil {
		contexts = []int{16, planned - 1}
	}
	for _, c := range contexts {
		if o.Contexts != nil && c > planned {
			return requestError{fmt.Errorf("forecast decoding of %s: position %d, the planned session has %d: plan a longer context or more memory", f.Model, c, planned)}
		}
		for _, users := range o.Users {
			if c < 0 || c >= cfg.MaxPositions || users < 1 || users > 1<<16 {
				return requestError{fmt.Errorf("forecast decoding: context %d with %d users", c, users)}
			}
			d, err := f.DecodeOn(o.Machine, c, users)
			if err != nil {
				return err
			}
			f.Decode = append(f.Decode, d)
		}
	}
	return nil
}

// DecodeOn forecasts decoding by the same plan and from the same storage on another machine,
// or on the same one measured again: one token for each of so many users, after context
// others. The model must fit.
func (f *Forecast) DecodeOn(m *Machine, context, users int) (StepForecast, error) {
	s, err := m.Decode(f.model, f.store, users, context)
	return stepForecast(s, context, users, users), err
}

// PrefillOn is DecodeOn for a prompt.
func (f *Forecast) PrefillOn(m *Machine, tokens int) (StepForecast, error) {
	s, err := m.Prefill(f.model, f.store, tokens)
	return stepForecast(s, 0, 1, tokens), err
}

// MeanMachine is a machine that takes as long for everything as the given ones take on
// average, which were measured alike; nil of none.
func MeanMachine(machines ...*Machine) *Machine { return forecast.Mean(machines...) }

// device is the storage that rows come from.
func (o *ForecastOptions) device() (*flash.Profile, error) {
	var p *flash.Profile
	var err error
	if o.Storage != "" {
		p, err = flash.Load(o.Storage)
	} else {
		p, err = o.Machine.Device()
	}
	if err != nil || o.Sense == 0 {
		return p, err
	}
	p.Sense = o.Sense
	return p, p.Validate()
}

// StorageNames lists the built-in storage profiles.
func StorageNames() []string { return flash.Names() }

// Warm is the seconds to the first token of a prompt, with the weights in memory.
func (f *Forecast) Warm() float64 { return time.Duration(f.FirstWarm).Seconds() }

// Cold is Warm with all weights on storage at the start.
func (f *Forecast) Cold() float64 { return time.Duration(f.FirstCold).Seconds() }

// Streams says which weights the typical step reads and what that costs it. The model must fit.
func (f *Forecast) Streams() string {
	users, step := f.Typical().Users, "for every token"
	if users > 1 {
		step = fmt.Sprintf("in a step of %d users", users)
	}
	ahead, chosen := f.Plan.p.StreamedBytes(users)
	return fmt.Sprintf("%.0f MiB are read from storage %s, which takes %.1f times as long", mibs(ahead+chosen), step, f.Slower)
}

// String is the forecast in a few lines.
func (f *Forecast) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s on %s\n", f.Model, f.Machine)
	if !f.Fits {
		fmt.Fprintf(&b, "does not fit: %s\n", f.Reason)
		return b.String()
	}
	fmt.Fprintf(&b, "memory   %8.0f MiB at most, %.0f expected with a full context, %.0f stay on storage\n",
		mibs(f.RAMBytes), mibs(f.Plan.Expected(f.Plan.Context())), mibs(f.DiskBytes))
	if f.Streamed > 0 {
		fmt.Fprintf(&b, "streams  of its weights %s\n", f.Streams())
	}
	fmt.Fprintf(&b, "prefill  %8.1f tok/s over %d tokens; first token after %.2f s, %.2f s from a cold start\n",
		f.Prefill.Rate, f.Prefill.Tokens, f.Warm(), f.Cold())
	for _, d := range f.Decode {
		fmt.Fprintf(&b, "decode   %8.1f tok/s%s at context %d", d.Rate, d.between(), d.Context)
		if d.Users > 1 {
			fmt.Fprintf(&b, " with %d users", d.Users)
		}
		fmt.Fprintf(&b, "; %.1f ms a step, of which %.2f ms wait for the table\n",
			1000*time.Duration(d.Step).Seconds(), 1000*time.Duration(d.Wait).Seconds())
	}
	fmt.Fprintf(&b, "step     of %d at context %d, ms: %s\n", f.Typical().Users, f.Typical().Context, f.Typical().Parts())
	if f.Card != nil {
		fmt.Fprintf(&b, "card     %s\n", f.Card)
	}
	fmt.Fprintf(&b, "energy   %8.2f J per generated token; a million tokens cost %.2f (power %.2f, machine %.2f); beats hosted from a utilisation of: %s\n",
		f.Cost.Energy, f.Cost.Total, f.Cost.Power, f.Cost.Machine, f.Cost.PaysFrom())
	return b.String()
}

func mibs(n int64) float64 { return float64(n) / (1 << 20) }

// Context is the planned length of a session in tokens.
func (p *MemoryPlan) Context() int { return p.p.Context }

// Shrunk says what is smaller than asked for, so that it fits.
func (p *MemoryPlan) Shrunk() []string { return p.p.Shrunk }

// Chunk is the planned number of prompt tokens in a step.
func (p *MemoryPlan) Chunk() int { return p.p.Chunk }

// Threads is the number of threads planned for.
func (p *MemoryPlan) Threads() int { return p.p.Threads }

// KVType is the planned number format of keys and values, one of KVTypes.
func (p *MemoryPlan) KVType() string { return p.p.KVType }

// PlanItem is one use of memory.
type PlanItem struct {
	Role  string
	Bytes int64
}

// Items lists the uses of memory; their sum is Total.
func (p *MemoryPlan) Items() []PlanItem {
	var out []PlanItem
	for _, it := range p.p.Items {
		out = append(out, PlanItem{it.Role, it.Bytes})
	}
	return out
}
