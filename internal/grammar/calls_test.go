package grammar

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/plume-run/plume/internal/chat"
)

// parseCalls reads an answer as the engine's callers do.
func parseCalls(t *testing.T, v *Vocab, answer []int32) []chat.Call {
	t.Helper()
	p := chat.NewParser(v.tok, false)
	var calls []chat.Call
	take := func(events []chat.Event) {
		for _, e := range events {
			if e.Kind != chat.CallEvent || e.Call.Repaired {
				t.Errorf("answer %q: event %v %q %+v %v", v.tok.Decode(answer), e.Kind, e.Text, e.Call, e.Err)
				continue
			}
			calls = append(calls, e.Call)
		}
	}
	for _, id := range answer {
		take(p.Push(id))
	}
	take(p.Close())
	return calls
}

// TestCallsParse lets chance choose calls of tools with random parameters: the
// parser must read each without repair, as arguments that are valid.
func TestCallsParse(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	schemas := map[string]string{
		"get_weather": string(benchTools[0].Parameters),
		"search":      string(benchTools[1].Parameters),
		"names":       `{"type":"object","properties":{"a b":{"type":"string"},"x:y":{"type":"integer"},"":{"type":"null"},"q\"":{"const":"{\"}"}},"required":["x:y","","q\""]}`,
		"open":        `{"type":"object","additionalProperties":{"type":["string","number"]}}`,
		"enum":        `{"type":"object","properties":{"v":{"enum":["a","",1,null,["x",{"k":"v"}]]},"d":{"type":"string","format":"date"}},"required":["v","d"]}`,
		"lengths":     `{"type":"object","properties":{"s":{"type":"string","minLength":3,"maxLength":9}},"required":["s"]}`,
		"odd-names":   `{"type":"object","propertyNames":{"enum":["a:b","{"]},"additionalProperties":{"type":"boolean"}}`,
	}
	var tools []Tool
	for name, s := range schemas {
		tools = append(tools, Tool{Name: name, Parameters: []byte(s)})
	}
	tools = append(tools, Tool{Name: "now"})
	schemas["now"] = `{"type":"object","maxProperties":0}`
	for _, parallel := range []bool{false, true} {
		g, err := Calls(tools, Options{ParallelCalls: parallel})
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range []*Vocab{tinyVocab(), demoVocab()} {
			if err := v.Supports(g); err != nil {
				t.Fatal(err)
			}
			for range 60 {
				calls := parseCalls(t, v, walk(t, g.NewMatcher(v), rng))
				if len(calls) == 0 || len(calls) > 1 && !parallel {
					t.Errorf("%d calls", len(calls))
				}
				for _, c := range calls {
					s, ok := schemas[c.Name]
					if !ok {
						t.Fatalf("a call of %q, which is no tool", c.Name)
					}
					if err := validate(validator(t, s), string(c.Arguments)); err != nil {
						t.Errorf("call of %s with %s: %v", c.Name, c.Arguments, err)
					}
				}
			}
		}
	}
}

// TestRandomCalls does the same with one tool whose argument is anything.
func TestRandomCalls(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	for range 100 {
		s := randomSchema(rng)
		v, err := parseValue([]byte(s))
		if err != nil {
			t.Fatal(err)
		}
		// References begin at the top, so the definitions are repeated there.
		wrapped := `{"type":"object","$defs":` + render(v.get("$defs")) + `,"properties":{"Arg":` + s + `,"B":{"type":"integer"}},"required":["Arg"]}`
		g, err := Calls([]Tool{{Name: "f", Parameters: []byte(wrapped)}}, Options{})
		if err != nil {
			t.Fatalf("%s: %v", wrapped, err)
		}
		check := validator(t, wrapped)
		for range 3 {
			for _, c := range parseCalls(t, demoVocab(), walk(t, g.NewMatcher(demoVocab()), rng)) {
				if err := validate(check, string(c.Arguments)); err != nil {
					t.Errorf("%s\narguments %s: %v", wrapped, c.Arguments, err)
				}
			}
		}
	}
}

// TestTemplateCallsAccepted: calls as the chat template writes them.
func TestTemplateCallsAccepted(t *testing.T) {
	g, err := Calls(benchTools, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{
		`<|tool_call>call:get_weather{city:<|"|>Paris "x" {y}<|"|>,days:3}<tool_call|>`:                          true,
		`<|tool_call>call:get_weather{city:<|"|><|"|>}<tool_call|>`:                                              true,
		`<|tool_call>call:search{filters:{a:[1,<|"|>b<|"|>],b:{c:null}},limit:-5,query:<|"|>q<|"|>}<tool_call|>`: true,
		`<|tool_call>call:get_weather{days:3}<tool_call|>`:                                                       false,
		`<|tool_call>call:get_weather{days:3,city:<|"|>Paris<|"|>}<tool_call|>`:                                  false,
		`<|tool_call>call:get_weather{city:<|"|>Paris<|"|>,unit:<|"|>K<|"|>}<tool_call|>`:                        false,
		`<|tool_call>call:get_weather{city: <|"|>Paris<|"|>}<tool_call|>`:                                        false,
		`<|tool_call>call:other{}<tool_call|>`:                                                                   false,
		`<|tool_call>call:search{query:<|"|>` + strings.Repeat("x", 81) + `<|"|>}<tool_call|>`:                   false,
	} {
		v := demoVocab()
		m := g.NewMatcher(v)
		ok := true
		for _, id := range v.tok.Encode(nil, text, true) {
			ok = ok && m.Accept(id) == nil
		}
		if ok = ok && m.MustEnd(); ok != want {
			t.Errorf("%s: accepted %v", text, ok)
		}
	}
}

// TestCallMaskIsAccept is TestMaskIsAccept for calls.
func TestCallMaskIsAccept(t *testing.T) {
	g, err := Calls(append([]Tool{{Name: "l", Parameters: []byte(`{"type":"object","properties":{"s":{"type":"string","minLength":2,"maxLength":5}},"required":["s"]}`)}}, benchTools...), Options{ParallelCalls: true})
	if err != nil {
		t.Fatal(err)
	}
	v := tinyVocab()
	rng := rand.New(rand.NewPCG(13, 14))
	for range 15 {
		m := g.NewMatcher(v)
		for step := 0; step < 40 && !m.MustEnd(); step++ {
			may := ids(m, make([]uint64, v.words))
			for id := range int32(v.tok.Len()) {
				if err := m.Clone().Accept(id); (err == nil) != slices.Contains(may, id) {
					t.Fatalf("id %d %q: accept says %v, the mask otherwise", id, v.tok.Piece(id), err)
				}
			}
			if err := m.Accept(preferEnd(m, may, rng, 8)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestCallsRefused(t *testing.T) {
	for _, tc := range []struct {
		name  string
		tools []Tool
		says  string
	}{
		{"none", nil, "no tools"},
		{"name", []Tool{{Name: "a{b"}}, "brace"},
		{"empty", []Tool{{}}, "0 bytes"},
		{"twice", []Tool{{Name: "a"}, {Name: "a"}}, "twice"},
		{"schema", []Tool{{Name: "a", Parameters: []byte(`{"type":"object","properties":{"x":{"not":{"multipleOf":2}}}}`)}}, `tool "a"`},
		{"noObject", []Tool{{Name: "b"}, {Name: "a", Parameters: []byte(`{"type":"string"}`)}}, `tool "a"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := Calls(tc.tools, Options{}); err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("got %v, want one that says %q", err, tc.says)
			}
		})
	}
}

// A loose tool takes any object where its schema cannot be enforced; the tools beside it,
// and loose ones whose schema can be, are as exact as ever.
func TestLooseCalls(t *testing.T) {
	odd := []byte(`{"type":"object","properties":{"x":{"not":{"multipleOf":2}}}}`)
	exact := []byte(`{"type":"object","properties":{"n":{"type":"integer","minimum":1,"maximum":9}},"required":["n"],"additionalProperties":false}`)
	g, err := Calls([]Tool{{Name: "odd", Parameters: odd, Loose: true}, {Name: "fit", Parameters: exact, Loose: true}, {Name: "hard", Parameters: exact}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	v := tinyVocab()
	for call, want := range map[string]bool{
		"call:odd{}": true, "call:odd{x:4,y:[1]}": true, "call:odd{x:}": false, "call:odd[1]": false,
		"call:fit{n:5}": true, "call:fit{n:0}": false, "call:fit{}": false, "call:hard{n:5}": true, "call:hard{n:10}": false,
	} {
		m := g.NewMatcher(v)
		ok := true
		for _, id := range v.tok.Encode(nil, "<|tool_call>"+call+"<tool_call|>", true) {
			ok = ok && m.Accept(id) == nil
		}
		if ok != want {
			t.Errorf("%s: accepted %v", call, ok)
		}
	}
}

// TestSupports: a vocabulary without delimiters cannot write calls.
func TestSupports(t *testing.T) {
	spec := tinyVocab().tok.Spec()
	spec.Tokens[4] = "<other>"
	v := NewVocab(newTokenizer(spec))
	g, err := Calls(benchTools, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Supports(g); !errors.Is(err, ErrUnsupported) {
		t.Errorf("got %v", err)
	}
	if err := v.Supports(JSON()); err != nil {
		t.Errorf("JSON needs no delimiters: %v", err)
	}
}
