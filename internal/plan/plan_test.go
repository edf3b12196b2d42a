package plan_test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/plume-run/plume/internal/backend/cpu"
	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/plan"
	"github.com/plume-run/plume/internal/quant"
)

const mib = 1 << 20

// model returns the headers of the tiny model of package gemma's goldens.
func model(t *testing.T) (*gemma.Config, *checkpoint.Catalog) {
	t.Helper()
	cat, err := checkpoint.Open(filepath.Join("..", "gemma", "testdata", "e-tiny"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cat.Close() })
	cfg, err := gemma.ReadConfig(cat)
	if err != nil {
		t.Fatal(err)
	}
	return cfg, cat
}

func options() plan.Options {
	return plan.Options{
		Sizer: cpu.Sizer{Threads: 2}, Threads: 2, Context: 1 << 13, Chunk: 256, Draft: 7, KVType: quant.F16,
		PLECache: 2 * mib,
		PLEReads: func(rowBytes int64) (int, int64, bool) { return 16, 16 * max(64<<10, rowBytes), false },
	}
}

func makePlan(t *testing.T, o plan.Options) *plan.Plan {
	t.Helper()
	cfg, cat := model(t)
	cfg.MaxPositions = max(cfg.MaxPositions, o.Context)
	p, err := plan.Make(cfg, cat, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestMinimumIsExact(t *testing.T) {
	for name, o := range variants() {
		t.Run(name, func(t *testing.T) {
			least := makePlan(t, o).Minimum
			o.RAMBytes = least
			if p := makePlan(t, o); p.Total > least {
				t.Errorf("a budget of %d gives a plan of %d", least, p.Total)
			}
			o.RAMBytes = least - mib
			cfg, cat := model(t)
			_, err := plan.Make(cfg, cat, o)
			var small *plan.TooSmallError
			if !errors.As(err, &small) || small.Minimum != least {
				t.Fatalf("a budget of %d gives %v, want a refusal that names %d", o.RAMBytes, err, least)
			}
			if small.Streamed == o.FixedResidency || strings.Contains(err.Error(), "for every token") == o.FixedResidency {
				t.Errorf("%q says nothing right about streaming", err)
			}
		})
	}
}

func variants() map[string]plan.Options {
	all := map[string]plan.Options{"free": options()}
	o := options()
	o.FixedContext, o.FixedChunk, o.FixedPLE = true, true, true
	all["fixed"] = o
	o = options()
	o.AllowI8, o.FixedContext = true, true
	all["int8"] = o
	o = options()
	o.FixedResidency = true
	all["all weights stay"] = o
	return all
}

// TestShrinksInOrder takes memory away step by step: buffers of the start go first, then what
// costs only time, then the context down to a conversation's, then weights, then the rest of the context.
func TestShrinksInOrder(t *testing.T) {
	o := options()
	o.AllowI8 = true
	whole := makePlan(t, o)
	last, streams, tight, fewer := whole, 0, 0, 0
	cfg, cat := model(t)
	cfg.MaxPositions = max(cfg.MaxPositions, o.Context)
	for budget := whole.Total; ; budget -= 8192 {
		o.RAMBytes = budget
		p, err := plan.Make(cfg, cat, o)
		if err != nil { // below the least, which Minimum rounds up
			break
		}
		if p.Total > o.RAMBytes {
			t.Fatalf("a budget of %d gives a plan of %d", o.RAMBytes, p.Total)
		}
		if len(p.Shrunk) == 0 && bytesOf(p, "loading") < bytesOf(whole, "loading") {
			fewer++
		}
		switch {
		case p.Context < 2048:
			tight++
			if p.Streamed == nil || p.Chunk != 32 || p.Context > last.Context {
				t.Errorf("at %d: context %d after %d, streamed %v", budget, p.Context, last.Context, p.Streamed)
			}
		case p.Streamed != nil:
			streams++
			if read(p) < read(last)*19/20 { // what is streamed comes in blocks
				t.Errorf("at %d: %v after %v: less memory reads less", budget, p.Streamed, last.Streamed)
			}
		case p.Chunk > last.Chunk || p.PLE > last.PLE || p.Context > last.Context:
			t.Errorf("less memory gives more: %+v after %+v", p.Shrunk, last.Shrunk)
		case len(p.Shrunk) > 0 && bytesOf(p, "loading") != bytesOf(whole, "loading")*2/3,
			p.PLE < whole.PLE && p.Chunk != 32,
			p.KVType != whole.KVType && p.PLE != 0,
			p.Context < whole.Context && p.KVType != "int8":
			t.Errorf("at %d: %v is out of order", budget, p.Shrunk)
		}
		last = p
	}
	if fewer == 0 {
		t.Error("buffers of the start never shrink alone")
	}
	if streams < 3 || tight < 3 {
		t.Errorf("weights were streamed %d times, with less than a conversation %d times", streams, tight)
	}
}

// read is what a prompt of 512 tokens and an answer of 128 read of the weights.
func read(p *plan.Plan) int64 {
	if p.Streamed == nil {
		return 0
	}
	return p.Streamed.TokenBytes * int64(512/p.Chunk+128)
}

// TestFixedResidency obeys what was asked for.
func TestFixedResidency(t *testing.T) {
	all := makePlan(t, options())
	o := options()
	const asked = 200 << 10
	o.FixedResidency, o.Residency = true, gemma.Residency{StreamBytes: asked}
	p := makePlan(t, o)
	if s := p.Streamed; s == nil || s.Bytes < asked*6/10 || s.Bytes > asked*11/10 || s.TokenBytes != s.Bytes || !strings.Contains(p.String(), "streamed: 1 MiB of weights") {
		t.Errorf("streamed %v in %s", s, p)
	}
	for _, role := range []string{"ffn", "embedding", "attention"} { // a little of everything
		if now, whole := bytesOf(p, role), bytesOf(all, role); now >= whole || now < whole/3 {
			t.Errorf("of %s, %d of %d bytes stay", role, now, whole)
		}
	}
	if bytesOf(p, "ring") == 0 {
		t.Errorf("items %v", p.Items)
	}
}

// Experts that are not held: of 48, a token goes through 12, so four tokens need
// 48·(1 − 0.75⁴) = 32.8 of them, and half of those are in 24 slots.
func TestExpertsThatAStepReads(t *testing.T) {
	cat, err := checkpoint.Open(filepath.Join("..", "gemma", "testdata", "moe-tiny"))
	if err != nil {
		t.Fatal(err)
	}
	defer cat.Close()
	cfg, err := gemma.ReadConfig(cat)
	if err != nil {
		t.Fatal(err)
	}
	o := options()
	o.Context, o.FixedResidency, o.Residency = 512, true, gemma.Residency{ExpertSlots: 24}
	p, err := plan.Make(cfg, cat, o)
	if err != nil {
		t.Fatal(err)
	}
	each := float64(p.Weights().ExpertBytes())
	for tokens, want := range map[int]float64{1: 6, 4: 16.40625, 1000: 24} {
		if _, chosen := p.StreamedBytes(tokens); math.Abs(float64(chosen)-want*each) > 1 {
			t.Errorf("%d tokens read %d bytes of experts, want %g times %g", tokens, chosen, want, each)
		}
	}
}

// TestTinyByHand compares with bytes worked out from e-tiny's config.json.
func TestTinyByHand(t *testing.T) {
	o := options()
	o.Context, o.Draft, o.KVType = 32, 0, quant.F32
	cfg, _ := model(t)
	p := makePlan(t, o)
	var norms int64
	for _, spec := range cfg.Tensors() {
		if len(spec.Shape) == 1 && !spec.Optional {
			norms += 4 * spec.Values()
		}
	}
	for role, want := range map[string]int64{
		"kv full":    2 * 4 * 32 * 32,     // layer 4: K and V, float32, 32 positions of 32 values
		"kv sliding": 5 * 2 * 4 * 16 * 16, // five rings of 16 positions of 16 values
		"norms":      norms,
		"logits":     4 * 320,
	} {
		if got := bytesOf(p, role); got != want {
			t.Errorf("%s takes %d bytes, want %d", role, got, want)
		}
	}
}

func bytesOf(p *plan.Plan, role string) int64 {
	for _, it := range p.Items {
		if it.Role == role {
			return it.Bytes
		}
	}
	return 0
}

// headers returns a bf16 checkpoint of cfg of which only the header exists.
func headers(t *testing.T, cfg *gemma.Config) *checkpoint.Catalog {
	t.Helper()
	table := map[string]any{}
	var at int64
	for _, spec := range cfg.Tensors() {
		end := at + 2*spec.Values()
		table["model.language_model."+spec.HF] = map[string]any{
			"dtype": "BF16", "shape": spec.Shape, "data_offsets": []int64{at, end},
		}
		at = end
	}
	text, err := json.Marshal(table)
	if err != nil {
		t.Fatal(err)
	}
	head := binary.LittleEndian.AppendUint64(nil, uint64(len(text)))
	cat, err := checkpoint.OpenReader("e2b", hollow(append(head, text...)), int64(8+len(text))+at)
	if err != nil {
		t.Fatal(err)
	}
	return cat
}

// hollow is a file of which only the beginning can be read: a plan needs no more.
type hollow []byte

func (h hollow) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > int64(len(h)) {
		return 0, errors.New("read past the header")
	}
	return copy(p, h[off:]), nil
}

// TestE2BByHand compares the published shape with bytes worked out from the model's
// specification: 35 layers, the first 15 of which own keys and values, every fifth full.
func TestE2BByHand(t *testing.T) {
	cfg, err := gemma.ShapeConfig("e2b", 0)
	if err != nil {
		t.Fatal(err)
	}
	o := options()
	o.Context, o.Draft = 4096, 0
	p, err := plan.Make(cfg, headers(t, cfg), o)
	if err != nil {
		t.Fatal(err)
	}
	const h, rows = 1536, 256
	for role, want := range map[string]int64{
		"embedding":      2 * 262144 * h,
		"attention":      2 * h * (2*(28*2048+7*4096) + 2*(12*256+3*512)),
		"ffn":            2 * h * 3 * (15*6144 + 20*12288),
		"ple projection": 2 * h * (35*256 + 35*2*256),
		"kv full":        3 * 2 * 2 * 512 * 4096,
		"kv sliding":     12 * 2 * 2 * 256 * 512,
		"fresh kv":       2 * 2 * 2 * 256 * rows,
		"logits":         4 * 262144,
		"loading":        12 * (1<<20 + 2*4096), // twelve readers of 128 rows of 4096 values, and room to align
		"activations": 4*(rows*(3*h+2*4096+2*512+h+6144)+ // x h swap, q a, k v, y, act
			rows*2*14*256+21*256+h+ // early and its rows, late, the embedding of the last token
			rows*2*(128+64)+35*256) + // angles, a row of the table
			rows*24, // ids and positions
	} {
		if got := bytesOf(p, role); got != want {
			t.Errorf("%s takes %d bytes, want %d", role, got, want)
		}
	}
}

func TestItemsAddUp(t *testing.T) {
	p := makePlan(t, options())
	var total, heap int64
	for _, it := range p.Items {
		total += it.Bytes
		if it.Heap {
			heap += it.Bytes
		}
	}
	if total != p.Total || heap != p.Heap {
		t.Errorf("items sum to %d and %d, the plan says %d and %d", total, heap, p.Total, p.Heap)
	}
	if s := p.String(); !strings.Contains(s, "kv full") || !strings.Contains(s, "smallest") {
		t.Errorf("plan prints as %q", s)
	}
}

// TestTableInMemory counts the table where it is held or mapped, and drops the buffers
// for rows that are lent.
func TestTableInMemory(t *testing.T) {
	o := options()
	disk := makePlan(t, o)
	cfg, cat := model(t)
	w, err := gemma.Weigh(cat, cfg, o.Sizer)
	if err != nil {
		t.Fatal(err)
	}
	table := int64(w.PLERows) * w.PLERow
	o.Table = plan.Mapped
	if p := makePlan(t, o); p.Total != disk.Total+table {
		t.Errorf("mapped: %d bytes more, want the table's %d", p.Total-disk.Total, table)
	}
	o.Table = plan.Held
	held := makePlan(t, o)
	if got := bytesOf(held, "ple table"); got != table || bytesOf(held, "ple cache")+bytesOf(held, "ple rows") != 0 {
		t.Errorf("held: the table takes %d bytes, want %d and no buffers for rows", got, table)
	}
	disk.HoldTable()
	if disk.Total != held.Total || disk.Minimum == 0 {
		t.Errorf("held afterwards: %d bytes, want %d, smallest %d", disk.Total, held.Total, disk.Minimum)
	}
}

// TestCountReads: reads go into the heap and out of it, and the total stays.
func TestCountReads(t *testing.T) {
	p := makePlan(t, options())
	total, heap, reads := p.Total, p.Heap, bytesOf(p, "ple reads")
	if p.CountReads(true); reads == 0 || p.Total != total || p.Heap != heap+reads {
		t.Errorf("in the heap: %d of %d bytes, want %d of %d", p.Heap, p.Total, heap+reads, total)
	}
	if p.CountReads(false); p.Total != total || p.Heap != heap {
		t.Errorf("outside: %d of %d bytes, want %d of %d", p.Heap, p.Total, heap, total)
	}
}

// TestWith exchanges the planned session for what is open.
func TestWith(t *testing.T) {
	p := makePlan(t, options())
	cache, step := p.Session(p.Context, p.Chunk)
	if got := p.TotalWith(cache, step); got != p.Total {
		t.Errorf("with the planned session %d bytes, want %d", got, p.Total)
	}
	if got := p.TotalWith(0, 0); got != p.Total-cache {
		t.Errorf("without a session %d bytes, want %d", got, p.Total-cache)
	}
	if got := p.TotalWith(3*cache, step+100); got != p.Total+2*cache+100 {
		t.Errorf("with three sessions %d bytes, want %d", got, p.Total+2*cache+100)
	}
}

// Four sessions have keys and values of their own, four rows of logits at least, and the rest
// together.
func TestSessionsAtOnce(t *testing.T) {
	one := makePlan(t, options())
	o := options()
	o.Sessions = 16
	many := makePlan(t, o)
	item := func(p *plan.Plan, role string) int64 {
		for _, it := range p.Items {
			if it.Role == role {
				return it.Bytes
			}
		}
		t.Fatalf("no %s", role)
		return 0
	}
	for role, times := range map[string]int64{"kv full": 16, "kv sliding": 16, "logits": 2, "attention": 1} {
		if a, b := item(one, role), item(many, role); b != times*a {
			t.Errorf("%s: %d bytes of one session, %d of 16, want %d times as much", role, a, b, times)
		}
	}
	if least := one.Total + 15*(item(one, "kv full")+item(one, "kv sliding")); many.Total < least || many.Minimum <= one.Minimum {
		t.Errorf("16 sessions take %d, want %d at least; smallest budgets %d and %d", many.Total, least, many.Minimum, one.Minimum)
	}
	if many.Expected(1) >= many.Expected(100) || many.Expected(100)-many.Expected(1) < 10*(one.Expected(100)-one.Expected(1)) {
		t.Errorf("of 16 sessions %d and %d are expected, of one %d and %d", many.Expected(1), many.Expected(100), one.Expected(1), one.Expected(100))
	}
	o.RAMBytes = one.Total // is enough for one: the context shrinks
	if p := makePlan(t, o); p.Context >= one.Context || p.Total > o.RAMBytes || p.Streamed != nil && p.Context > one.Context/4 {
		t.Errorf("in a budget of one session 16 have %d tokens, %+v", p.Context, p.Streamed)
	}
}

// What is not loaded takes nothing and is named all the same.
func TestEncodersAreItems(t *testing.T) {
	for _, it := range makePlan(t, options()).Items {
		if it.Bytes == 0 || strings.Contains(it.Note, "not loaded") {
			t.Errorf("%+v of a model without encoders", it)
		}
	}
}
