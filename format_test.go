package plume

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"math/rand/v2"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/plume-run/plume/demo"
	"github.com/plume-run/plume/internal/chat"
	"github.com/plume-run/plume/internal/grammar"
	"github.com/plume-run/plume/internal/plan"
	"github.com/plume-run/plume/internal/tokenizer"
)

const personSchema = `{"type":"object","properties":{"name":{"type":"string","maxLength":12},
	"age":{"type":"integer","minimum":0,"maximum":130},"kind":{"enum":["fox","hen"]}},"required":["name","age","kind"]}`

// Answers have their format whatever the seed, with and without drafts and mates, and
// are the same from a session and from a service.
func TestFormats(t *testing.T) {
	m := openDemo(t)
	service := newService(t, m, ServiceOptions{Sequences: 4, Context: 256})
	for name, c := range map[string]struct {
		format Format
		good   func(text string) bool
	}{
		"json": {Format{JSON: true}, func(s string) bool { return json.Valid([]byte(s)) }},
		"schema": {Format{Schema: json.RawMessage(personSchema)}, func(s string) bool {
			var v struct {
				Name *string
				Age  *int
				Kind *string
			}
			d := json.NewDecoder(strings.NewReader(s))
			d.DisallowUnknownFields()
			return d.Decode(&v) == nil && v.Name != nil && len([]rune(*v.Name)) <= 12 && v.Age != nil && *v.Age >= 0 && *v.Age <= 130 &&
				v.Kind != nil && (*v.Kind == "fox" || *v.Kind == "hen")
		}},
		"regex": {Format{Regex: `(yes|no), because [a-z ]{3,20}\.`}, regexp.MustCompile(`^(yes|no), because [a-z ]{3,20}\.$`).MatchString},
	} {
		ended := 0
		for seed := range uint64(6) {
			r := Request{Prompt: "Tell me about a fox.", Format: &c.format, MaxTokens: 200,
				Sampling: &Sampling{Temperature: 1.2, TopK: 200, Seed: seed + 1}}
			a, err := Collect(newSession(t, m, SessionOptions{Context: 256, NoDraft: seed%2 == 0}).Generate(t.Context(), r))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if b, err := Collect(service.Generate(t.Context(), r)); err != nil || b.Text != a.Text {
				t.Errorf("%s: a service says %q, %v, a session %q", name, b.Text, err, a.Text)
			}
			if a.Result.Finish != FinishStop { // cut off: the rest would have been right too
				if name == "json" && !strings.HasPrefix(a.Text, "{") {
					t.Errorf("%s: %q", name, a.Text)
				}
				continue
			}
			if ended++; !c.good(a.Text) {
				t.Errorf("%s: %q", name, a.Text)
			}
		}
		if ended == 0 && name != "json" { // which a teller of stories need not end
			t.Errorf("%s: no answer came to its end", name)
		}
	}
}

// toolTokenizer is the demo model's vocabulary with the tokens of calls and thoughts.
func toolTokenizer(t *testing.T) *Tokenizer {
	t.Helper()
	raw, err := os.ReadFile("internal/tokenizer/testdata/demo-tokenizer.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := tokenizer.ParseSpec(data)
	if err != nil {
		t.Fatal(err)
	}
	for _, mark := range []string{"<|tool_call>", "<tool_call|>", `<|"|>`, "<|channel>", "<channel|>", "<|think|>", "<|tool>", "<tool|>", "<|tool_response>", "<tool_response|>"} {
		if !slices.Contains(spec.Tokens, mark) {
			spec.Special = append(spec.Special, int32(len(spec.Tokens)))
			spec.Tokens = append(spec.Tokens, mark)
			if spec.Kinds != nil {
				spec.Kinds = append(spec.Kinds, tokenizer.Control)
			}
		}
	}
	tok, err := tokenizer.New(spec)
	if err != nil {
		t.Fatal(err)
	}
	return &Tokenizer{tok: tok}
}

// walk draws tokens at random among those that a request's form allows, until it has
// ended or limit tokens have come. Where several special tokens and text are possible
// it draws from both alike.
func walk(t *testing.T, m *Model, r Request, seed uint64, limit int) (*Answer, bool) {
	t.Helper()
	text := m.text
	a := &answer{m: m}
	var out Answer
	a.yield = func(ev Event, err error) bool {
		switch ev.Kind {
		case EventText:
			out.Text += ev.Text
		case EventThinking:
			out.Thinking += ev.Text
		case EventToolCall:
			out.ToolCalls = append(out.ToolCalls, *ev.Call)
		case EventBadCall:
			out.BadCalls = append(out.BadCalls, ev.Text)
		}
		return true
	}
	a.parser = chat.NewParser(text.tok, false)
	f, err := a.constraint(r)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(seed, 3))
	mask := make([]uint64, (text.tok.Len()+63)/64)
	for range limit {
		if f.CanEnd() && rng.IntN(3) == 0 {
			a.close()
			return &out, true
		}
		f.Mask(mask)
		var special, plain []int32
		for w, word := range mask {
			for ; word != 0; word &= word - 1 {
				id := int32(w*64 + bits.TrailingZeros64(word))
				if int(id) >= text.tok.Len() || slices.Contains(chat.StopIDs(text.tok), id) {
					continue
				}
				if text.tok.IsSpecial(id) {
					special = append(special, id)
				} else {
					plain = append(plain, id)
				}
			}
		}
		from := plain
		if len(plain) == 0 || len(special) > 0 && rng.IntN(4) == 0 {
			from = special
		}
		if len(from) == 0 {
			if !f.CanEnd() {
				t.Fatalf("a dead end after %+v", out)
			}
			a.close()
			return &out, true
		}
		id := from[rng.IntN(len(from))]
		if err := f.Accept(id); err != nil {
			t.Fatal(err)
		}
		a.token(id)
	}
	return &out, false
}

// Whatever is drawn: calls where they must be, of the tool that was named and with its
// arguments, none where none may be, and the format behind a thought.
func TestForms(t *testing.T) {
	m := &Model{text: toolTokenizer(t), plan: openDemo(t).plan}
	tools, err := ParseTools([]byte(`[
		{"type":"function","function":{"name":"weather","description":"","parameters":{"type":"object","properties":{"days":{"type":"integer","minimum":1,"maximum":9}},"required":["days"]}}},
		{"type":"function","function":{"name":"stop","description":""}},
		{"type":"function","function":{"name":"odd","description":"","parameters":{"type":"object","properties":{"x":{"not":{"multipleOf":2}}}}}}]`))
	if err != nil {
		t.Fatal(err)
	}
	format := &Format{Schema: json.RawMessage(`{"enum":["hen","fox"]}`)}
	goodCalls := func(a *Answer, names ...string) bool {
		for _, c := range a.ToolCalls {
			var args struct{ Days int }
			if !slices.Contains(names, c.Name) || json.Unmarshal(c.Arguments, &args) != nil || c.Name == "weather" && (args.Days < 1 || args.Days > 9) {
				return false
			}
		}
		return len(a.BadCalls) == 0
	}
	isFormat := func(a *Answer) bool { return a.Text == `"hen"` || a.Text == `"fox"` }
	for name, c := range map[string]struct {
		r    Request
		good func(a *Answer) bool
	}{
		"required": {Request{Tools: tools[:2], ToolChoice: "required"}, func(a *Answer) bool {
			return len(a.ToolCalls) > 0 && goodCalls(a, "weather", "stop") && a.Text+a.Thinking == ""
		}},
		"required after a thought": {Request{Tools: tools[:2], ToolChoice: "required", Thinking: true}, func(a *Answer) bool {
			return len(a.ToolCalls) > 0 && goodCalls(a, "weather", "stop") && a.Text == ""
		}},
		"by name": {Request{Tools: tools[:2], ToolChoice: "weather"}, func(a *Answer) bool {
			return len(a.ToolCalls) == 1 && goodCalls(a, "weather") && a.Text == ""
		}},
		"none":             {Request{Tools: tools, ToolChoice: "none"}, func(a *Answer) bool { return len(a.ToolCalls)+len(a.BadCalls) == 0 }},
		"auto":             {Request{Tools: tools[:2]}, func(a *Answer) bool { return goodCalls(a, "weather", "stop") }},
		"format":           {Request{Format: format}, isFormat},
		"format, thinking": {Request{Format: format, Thinking: true}, isFormat},
		"format, none":     {Request{Format: format, Tools: tools, ToolChoice: "none"}, isFormat},
		"format or calls": {Request{Format: format, Tools: tools[:2]}, func(a *Answer) bool {
			return isFormat(a) || len(a.ToolCalls) > 0 && a.Text == "" && goodCalls(a, "weather", "stop")
		}},
		"auto, one beyond us": {Request{Tools: tools, ToolChoice: "auto"}, func(a *Answer) bool { return goodCalls(a, "weather", "stop", "odd") }},
		"format, beyond us":   {Request{Tools: tools, Format: format}, func(a *Answer) bool { return isFormat(a) || a.Text == "" && goodCalls(a, "weather", "stop", "odd") }},
		"schema of one thing": {Request{Format: &Format{Regex: "a?"}}, func(a *Answer) bool { return a.Text == "" || a.Text == "a" }},
	} {
		c.r.Prompt = "Hi"
		ended, thought, calls := 0, 0, 0
		for seed := range uint64(60) {
			a, end := walk(t, m, c.r, seed, 400)
			if !end {
				continue
			}
			if ended++; !c.good(a) {
				t.Errorf("%s: %q, thought %q, calls %v %q", name, a.Text, a.Thinking, a.ToolCalls, a.BadCalls)
			}
			if a.Thinking != "" {
				thought++
			}
			calls += len(a.ToolCalls)
		}
		if ended < 10 || c.r.Thinking && (thought == 0 || thought == ended) || strings.Contains(name, "calls") && calls == 0 {
			t.Errorf("%s: %d of 60 came to an end, %d with a thought, %d calls", name, ended, thought, calls)
		}
	}
	strict, err := ParseTools([]byte(`[{"type":"function","function":{"name":"odd","strict":true,"parameters":{"type":"object","properties":{"x":{"not":{"multipleOf":2}}}}}}]`))
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]Request{
		"strict, auto":    {Tools: strict},
		"no tools":        {ToolChoice: "required"},
		"unknown tool":    {ToolChoice: "sleep", Tools: tools},
		"beyond us":       {ToolChoice: "required", Tools: tools},
		"no schema":       {Format: &Format{Schema: json.RawMessage(`{"type":7}`)}},
		"no regex":        {Format: &Format{Regex: `(`}},
		"beyond the form": {Format: &Format{Schema: json.RawMessage(`{"not":{"multipleOf":2}}`)}},
	} {
		a := &answer{m: m}
		if _, err := a.constraint(r); !errors.Is(err, ErrRequest) && !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, o := range []Format{{}, {JSON: true, Regex: "a"}, {Schema: json.RawMessage(`{`)}} {
		if (&Request{Prompt: "Hi", Format: &o}).validate() == nil {
			t.Errorf("%+v is no format", o)
		}
	}
}

// A call begins in the loop that all answers share: what its grammar needs is there before.
func TestCallsArePrepared(t *testing.T) {
	m := &Model{text: toolTokenizer(t), plan: openDemo(t).plan}
	tools, err := ParseTools([]byte(`[{"type":"function","function":{"name":"mail","parameters":{"type":"object","properties":{"to":{"type":"string","format":"email"}},"required":["to"]}}}]`))
	if err != nil {
		t.Fatal(err)
	}
	f, err := (&answer{m: m}).constraint(Request{Prompt: "Hi", Tools: tools})
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := f.Accept(m.text.marks().call); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 64<<10 {
		t.Errorf("the first token of a call takes %d KiB: its masks were computed there", n>>10)
	}
}

// Formats take their share of the memory budget, less where there is less; what is planned
// for them is there. A budget that is too small for them is not too small for the rest.
func TestFormBudget(t *testing.T) {
	free := openDemo(t)
	least, total := leastFormBytes(free.text.tok.Len()), free.plan.Total()
	for _, c := range []struct {
		ram        int64
		plan, want bool
	}{{total, false, false}, {total + least - 1, false, false}, {total + least, false, true}, {total + 1<<30, false, true},
		{total + 2*least, true, true}, {total, true, true}, {free.plan.Minimum(), true, false}} {
		m, err := OpenDemo(Options{Threads: 2, RAM: c.ram, Formats: c.plan}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !c.plan && m.opt.Context != free.opt.Context {
			t.Fatal("the budget is too small for the test")
		}
		if c.plan && c.want { // somebody takes all that the plan has left
			if err := m.admit("fill the budget", m.plan.Budget()-m.plan.Total(), 0); err != nil {
				t.Fatal(err)
			}
		}
		f := &Format{Regex: "a"}
		a, err := Collect(newSession(t, m, SessionOptions{}).Generate(t.Context(), Request{Prompt: "Hi", Format: f}))
		if c.want && (err != nil || a.Text != "a") || !c.want && !errors.Is(err, ErrMemory) {
			t.Errorf("%d bytes, planned %v: %q, %v", c.ram, c.plan, a.Text, err)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Formats come before what may shrink, not before a context for a conversation, and never
// before an answer at all. What the smallest budget is does not depend on them, and a plan
// says what has become of them.
func TestFormsInPlan(t *testing.T) {
	path, _, err := demo.Path()
	if err != nil {
		t.Fatal(err)
	}
	both := func(ram int64, stream *Stream) (without, with *MemoryPlan) {
		t.Helper()
		var plans [2]*MemoryPlan
		for i, formats := range []bool{false, true} {
			p, err := Plan(path, Options{RAM: ram, Threads: 1, Stream: stream, Formats: formats})
			if err != nil {
				t.Fatal(err)
			}
			plans[i] = p
		}
		return plans[0], plans[1]
	}
	tokens := openDemo(t).text.tok.Len()
	seen := map[string]bool{}
	sweep := func(stream *Stream, step int64) {
		free, _ := both(-1, stream)
		for ram := free.Minimum(); ram <= free.Total()+4<<20; ram += step {
			without, with := both(ram, stream)
			if with.Minimum() != without.Minimum() || with.Total() > ram {
				t.Errorf("%d bytes: %d of at least %d, without formats at least %d", ram, with.Total(), with.Minimum(), without.Minimum())
			}
			if with.Context() < min(without.Context(), plan.StreamContext) {
				t.Errorf("%d bytes: formats leave a context of %d of %d", ram, with.Context(), without.Context())
			}
			has := slices.ContainsFunc(with.Items(), func(it PlanItem) bool { return it.Role == "formats" && it.Bytes > 0 })
			if has == with.NoFormats() || has == strings.Contains(with.String(), "no room for response formats") {
				t.Errorf("%d bytes: formats are planned %v, but it says\n%s", ram, has, with)
			}
			if has == strings.Contains(without.String(), "in plume serve, the budget has no room for response formats") {
				t.Errorf("%d bytes: a server's plan has formats %v, but another's says\n%s", ram, has, without)
			}
			switch {
			case !has && ram < free.Minimum()+leastFormBytes(tokens):
				seen["left out: no room at all"] = true
			case !has:
				seen["left out: the context would be short"] = true
			case with.Context() < without.Context():
				seen["with a shorter context"] = true
			}
		}
	}
	sweep(nil, 1<<20)
	sweep(&Stream{}, 256<<10) // all weights stay, so it is the context that gives way
	if len(seen) != 3 {
		t.Errorf("not all cases came up: %v", seen)
	}
}

// One grammar is compiled at a time, and once for all who ask for it together.
func TestFormsAreCompiledInTurn(t *testing.T) {
	var f forms
	var all sync.WaitGroup
	var running, compiled atomic.Int32
	for i := range 40 {
		all.Go(func() {
			_, err := f.compile("regex", []byte{byte(i % 4)}, func() (*grammar.Grammar, error) {
				if n := running.Add(1); n > 1 {
					t.Errorf("%d are compiled at once", n)
				}
				defer running.Add(-1)
				compiled.Add(1)
				return grammar.FromRegex("[a-z]{1,30}", grammar.Options{})
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := compiled.Load(); n != 4 {
		t.Errorf("4 grammars were compiled %d times", n)
	}
}

// Compiled grammars are kept within their share of the memory; one that is larger than
// all of that is refused.
func TestFormsAreBounded(t *testing.T) {
	f := forms{most: 40 << 10}
	for i := range 50 {
		if _, err := f.format(&Format{Schema: fmt.Appendf(nil, `{"type":"string","pattern":"^[a-z]{1,%d}$"}`, 40+i)}); err != nil {
			t.Fatal(err)
		}
		var held int64
		for _, g := range f.known {
			held += g.Bytes()
		}
		if held != f.held || held > f.most || held == 0 {
			t.Fatalf("%d bytes are held, the books say %d of %d", held, f.held, f.most)
		}
	}
	if len(f.known) == 50 {
		t.Error("the bound is too large for the test")
	}
	if _, err := f.format(&Format{Schema: []byte(`{"type":"array","items":{"type":"string","pattern":"^[A-Za-z ]{1,200}$"},"maxItems":4000}`)}); !errors.Is(err, ErrRequest) {
		t.Errorf("a schema of more than a megabyte: %v", err)
	}
}
