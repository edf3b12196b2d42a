package chat

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/plume-run/plume/internal/tokenizer"
)

// smallTokens are 256 byte tokens, letters and the special tokens: a whole
// vocabulary without merges, its special ids unlike Gemma's.
var smallTokenizer = sync.OnceValue(func() *tokenizer.Tokenizer {
	spec := tokenizer.Spec{BOS: -1, EOS: -1, Unknown: -1, Pad: -1}
	for _, mark := range []string{
		"<unk>", markCallEnd, markCall, markQuote, markChannelEnd, markChannel, markTurnEnd, markTurn,
		markResponse, markResponseEnd, markEOS, markBOS, markThink, markTool, markToolEnd, markImage,
	} {
		spec.Special = append(spec.Special, int32(len(spec.Tokens)))
		spec.Tokens = append(spec.Tokens, mark)
	}
	for b := range 256 {
		spec.Tokens = append(spec.Tokens, fmt.Sprintf("<0x%02X>", b))
	}
	for r := rune('!'); r <= '~'; r++ {
		spec.Tokens = append(spec.Tokens, string(r))
	}
	spec.Tokens = append(spec.Tokens, "▁", "\n", "é")
	tok, err := tokenizer.New(spec)
	if err != nil {
		panic(err)
	}
	return tok
})

// bigTokenizer is Gemma's own vocabulary.
func bigTokenizer(t testing.TB, name string) *tokenizer.Tokenizer {
	t.Helper()
	f, err := os.Open("../tokenizer/testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
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
	tok, err := tokenizer.New(spec)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// parsed is the output of a whole answer, pieces joined.
type parsed struct {
	text, thought string
	calls         []Call
	bad           []string
}

// run parses ids and checks what must hold of any event.
func run(t testing.TB, tok *tokenizer.Tokenizer, ids []int32, inThought bool) parsed {
	t.Helper()
	p := NewParser(tok, inThought)
	var out parsed
	take := func(events []Event) {
		for _, e := range events {
			if !utf8.ValidString(e.Text) {
				t.Fatalf("event text %q is not UTF-8", e.Text)
			}
			switch e.Kind {
			case TextEvent, ThoughtEvent:
				if e.Text == "" {
					t.Fatalf("empty %v event", e.Kind)
				}
				if e.Kind == TextEvent {
					out.text += e.Text
				} else {
					out.thought += e.Text
				}
			case CallEvent:
				var args map[string]any
				if !json.Valid(e.Call.Arguments) || e.Call.Name == "" || len(e.Call.Arguments) == 0 || e.Call.Arguments[0] != '{' {
					t.Fatalf("call %q with arguments %s", e.Call.Name, e.Call.Arguments)
				}
				_ = json.Unmarshal(e.Call.Arguments, &args) // numbers may be out of range
				out.calls = append(out.calls, e.Call)
			case BadCallEvent:
				if e.Err == nil {
					t.Fatal("bad call without an error")
				}
				out.bad = append(out.bad, e.Text)
			}
		}
	}
	for _, id := range ids {
		take(p.Push(id))
	}
	take(p.Close())
	if rest := p.Close(); len(rest) != 0 {
		t.Fatalf("second Close brought %v", rest)
	}
	return out
}

func TestParse(t *testing.T) {
	call := func(name, args string) []Call {
		return []Call{{ID: "call_0", Name: name, Arguments: json.RawMessage(args)}}
	}
	repaired := func(name, args string) []Call {
		c := call(name, args)
		c[0].Repaired = true
		return c
	}
	for _, c := range []struct {
		name, in string
		want     parsed
	}{
		{"text", "Hello, wörld 日本!", parsed{text: "Hello, wörld 日本!"}},
		{"thought", "<|channel>thought\nI think\n<channel|>Yes", parsed{thought: "I think", text: "Yes"}},
		{"newlines within a thought", "<|channel>thought\na\n\nb\n\n<channel|>", parsed{thought: "a\n\nb\n"}},
		{"empty thought", "<|channel>thought\n<channel|>Yes", parsed{text: "Yes"}},
		{"empty thought, no newline", "<|channel>thought<channel|>Yes", parsed{text: "Yes"}},
		{"nothing at all in a channel", "<|channel><channel|>Yes", parsed{text: "Yes"}},
		{"another channel", "<|channel>plan\nx<channel|>y", parsed{thought: "x", text: "y"}},
		{"no channel name", "<|channel>No name<channel|>y", parsed{thought: "No name", text: "y"}},
		{"no channel name, long", "<|channel>" + strings.Repeat("x", 90) + "\nz<channel|>y", parsed{thought: strings.Repeat("x", 90) + "\nz", text: "y"}},
		{"thought without end", "<|channel>thought\nhm", parsed{thought: "hm"}},
		{"two thoughts", "<|channel>thought\na<channel|>b<|channel>thought\nc<channel|>d", parsed{thought: "ac", text: "bd"}},
		{"channel within a thought", "<|channel>thought\na<|channel>thought\nb<channel|>c", parsed{thought: "ab", text: "c"}},
		{"lone closers", "a<channel|>b<tool_call|>c<tool_response|>d", parsed{text: "abcd"}},
		{"end of turn", "a<turn|>", parsed{text: "a"}},
		{"quotes outside a call", `a<|"|>b`, parsed{text: "ab"}},
		{"placeholders", "a<|image|><|think|>b", parsed{text: "ab"}},
		{"call", `<|tool_call>call:get_weather{city:<|"|>Paris<|"|>,days:3}<tool_call|><|tool_response>`,
			parsed{calls: call("get_weather", `{"city":"Paris","days":3}`)}},
		{"call without arguments", `<|tool_call>call:now{}<tool_call|>`, parsed{calls: call("now", `{}`)}},
		{"name", `<|tool_call>call:a-b.c_d{}<tool_call|>`, parsed{calls: call("a-b.c_d", `{}`)}},
		{"all values", `<|tool_call>call:f{n:null,t:true,f:false,i:-3,e:1.5e+20,w:bare word,a:[1,[],{}],o:{k:{l:<|"|><|"|>}}}<tool_call|>`,
			parsed{calls: call("f", `{"n":null,"t":true,"f":false,"i":-3,"e":1.5e+20,"w":"bare word","a":[1,[],{}],"o":{"k":{"l":""}}}`)}},
		{"no number", `<|tool_call>call:f{a:01,b:1.,c:+1,d:NaN,e:12:30,f:-}<tool_call|>`,
			parsed{calls: call("f", `{"a":"01","b":"1.","c":"+1","d":"NaN","e":"12:30","f":"-"}`)}},
		{"strings hold anything", "<|tool_call>call:f{s:<|\"|>a}b\"c{,]\n\\ é<|\"|>}<tool_call|>",
			parsed{calls: call("f", `{"s":"a}b\"c{,]\n\\ é"}`)}},
		{"white space and commas", "<|tool_call> call:f { a : 1 , , b:[ 1 , 2 , ], } <tool_call|>",
			parsed{calls: call("f", `{"a":1,"b":[1,2]}`)}},
		{"quoted keys", `<|tool_call>call:f{<|"|>a b<|"|>:1,"c:d":2}<tool_call|>`,
			parsed{calls: call("f", `{"a b":1,"c:d":2}`)}},
		{"JSON strings", `<|tool_call>call:f{"a":"x, \"y\"","b":["\u00e9"]}<tool_call|>`,
			parsed{calls: call("f", `{"a":"x, \"y\"","b":["é"]}`)}},
		{"quotes in a bare word", `<|tool_call>call:f{a:"x" y,b:5" disk}<tool_call|>`,
			parsed{calls: call("f", `{"a":"\"x\" y","b":"5\" disk"}`)}},
		{"key twice", `<|tool_call>call:f{a:1,b:2,a:3}<tool_call|>`, parsed{calls: call("f", `{"a":3,"b":2}`)}},
		{"no brace", `<|tool_call>call:f{a:[1,{b:<|"|>x<|"|><tool_call|>`, parsed{calls: repaired("f", `{"a":[1,{"b":"x"}]}`)}},
		{"no quote", `<|tool_call>call:f{a:<|"|>x}<tool_call|>`, parsed{calls: repaired("f", `{"a":"x}"}`)}},
		{"no end", `<|tool_call>call:f{a:1}`, parsed{calls: repaired("f", `{"a":1}`)}},
		{"end of turn within", `<|tool_call>call:f{a:1<turn|>x`, parsed{calls: repaired("f", `{"a":1}`), text: "x"}},
		{"handed over within", `<|tool_call>call:f{a:1<|tool_response>`, parsed{calls: repaired("f", `{"a":1}`)}},
		{"thought within", `<|tool_call>call:f{a:1<|channel>thought` + "\nx<channel|>", parsed{calls: repaired("f", `{"a":1}`), thought: "x"}},
		{"closer within", `<|tool_call>call:f{a:1<channel|>}<tool_call|>`, parsed{calls: call("f", `{"a":1}`)}},
		{"no prefix", `<|tool_call>f{a:1}<tool_call|>`, parsed{calls: repaired("f", `{"a":1}`)}},
		{"name only", `<|tool_call>call:f<tool_call|>`, parsed{calls: repaired("f", `{}`)}},
		{"quoted name", `<|tool_call>call:<|"|>f<|"|>{a:1}<tool_call|>`, parsed{calls: repaired("f", `{"a":1}`)}},
		{"no value", `<|tool_call>call:f{a:,b,c:}<tool_call|>`, parsed{calls: repaired("f", `{"a":null,"b":null,"c":null}`)}},
		{"too many braces", `<|tool_call>call:f{a:1}}<tool_call|>`, parsed{calls: repaired("f", `{"a":1}`)}},
		{"wrong brackets", `<|tool_call>call:f{a:[1,2},b:3}<tool_call|>`, parsed{calls: repaired("f", `{"a":[1,2]}`)}},
		{"stray bracket", `<|tool_call>call:f{[a:1]}<tool_call|>`, parsed{calls: repaired("f", `{"a":1}`)}},
		{"no name", `a<|tool_call>call:{a:1}<tool_call|>b`, parsed{text: "ab", bad: []string{"call:{a:1}"}}},
		{"nothing", `<|tool_call><tool_call|>`, parsed{bad: []string{""}}},
		{"prose", "<|tool_call>I would\nlike to{}<tool_call|>", parsed{bad: []string{"I would\nlike to{}"}}},
		{"bad one keeps its quotes", `<|tool_call>{a:<|"|>x<|"|>}<tool_call|>`, parsed{bad: []string{`{a:<|"|>x<|"|>}`}}},
		{"too deep", "<|tool_call>call:f{a:" + strings.Repeat("[", 200) + "<tool_call|>", parsed{bad: []string{"call:f{a:" + strings.Repeat("[", 200)}}},
		{"text around", `a<|tool_call>call:f{}<tool_call|>b`, parsed{text: "ab", calls: call("f", `{}`)}},
		{"call within a thought", "<|channel>thought\na<|tool_call>call:f{}<tool_call|>b<channel|>c", parsed{thought: "ab", text: "c", calls: call("f", `{}`)}},
		{"two calls", `<|tool_call>call:f{}<tool_call|><|tool_call>call:g{}<tool_call|>`, parsed{calls: []Call{
			{ID: "call_0", Name: "f", Arguments: json.RawMessage("{}")}, {ID: "call_1", Name: "g", Arguments: json.RawMessage("{}")}}}},
		{"call within a call", `<|tool_call>call:f{a:1<|tool_call>call:g{}<tool_call|>`, parsed{calls: []Call{
			{ID: "call_0", Name: "f", Arguments: json.RawMessage(`{"a":1}`), Repaired: true}, {ID: "call_1", Name: "g", Arguments: json.RawMessage("{}")}}}},
	} {
		tok := smallTokenizer()
		if got := run(t, tok, tok.Encode(nil, c.in, true), false); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %q\n got %+v\nwant %+v", c.name, c.in, got, c.want)
		}
	}
}

func TestStartInThought(t *testing.T) {
	tok := smallTokenizer()
	got := run(t, tok, tok.Encode(nil, "so\n<channel|>yes", true), true)
	if want := (parsed{thought: "so", text: "yes"}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestStreaming checks that text comes as soon as it is certain, and whole code
// points only.
func TestStreaming(t *testing.T) {
	tok := smallTokenizer()
	p := NewParser(tok, false)
	var got []string
	for _, id := range tok.Encode(nil, "ab日c", true) {
		for _, e := range p.Push(id) {
			got = append(got, e.Text)
		}
	}
	if want := []string{"a", "b", "日c"}; strings.Join(got, "") != "ab日c" || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("pieces %q, want %q", got, want)
	}
	// An unfinished code point comes out at the end, as U+FFFD.
	id, _ := tok.ID("<0xE6>")
	if ev := p.Push(id); len(ev) != 0 {
		t.Errorf("half a code point brought %v", ev)
	}
	if ev := p.Close(); len(ev) != 1 || ev[0].Text != "\uFFFD" {
		t.Errorf("Close brought %v", ev)
	}
}

func TestSpelledMarksAreText(t *testing.T) {
	tok := smallTokenizer()
	const s = `<|tool_call>call:f{}<tool_call|><|channel>thought`
	if got := run(t, tok, tok.Encode(nil, s, false), false); got.text != s {
		t.Errorf("got %+v", got)
	}
}

func TestLongCall(t *testing.T) {
	tok := smallTokenizer()
	ids := tok.Encode(nil, "<|tool_call>call:f{a:"+strings.Repeat("x", maxCallBytes)+"}<tool_call|>ok", true)
	got := run(t, tok, ids, false)
	if len(got.calls) != 0 || len(got.bad) != 1 || len(got.bad[0]) > maxCallBytes || got.text != "ok" {
		t.Errorf("calls %d, bad %d, text %q", len(got.calls), len(got.bad), got.text)
	}
}

// TestRandomIDs feeds any ids at all, also ones outside the vocabulary.
func TestRandomIDs(t *testing.T) {
	tok := smallTokenizer()
	r := rand.New(rand.NewPCG(1, 2))
	brackets := tok.Encode(nil, `{}[]:,"`, false)
	for range 3000 {
		ids := make([]int32, r.IntN(80))
		for i := range ids {
			switch r.IntN(4) {
			case 0:
				ids[i] = r.Int32N(16)
			case 1:
				ids[i] = brackets[r.IntN(len(brackets))]
			default:
				ids[i] = r.Int32N(int32(tok.Len())+4) - 2
			}
		}
		got := run(t, tok, ids, r.IntN(2) == 0)
		size := len(got.text) + len(got.thought)
		for _, b := range got.bad {
			size += len(b)
		}
		for _, c := range got.calls {
			size += len(c.Name) + len(c.Arguments)
		}
		if size > 60*len(ids) {
			t.Fatalf("%d ids brought %d bytes", len(ids), size)
		}
	}
}

// TestRoundTrip renders calls, encodes the prompt, and parses the model turn.
func TestRoundTrip(t *testing.T) {
	for _, tok := range []*tokenizer.Tokenizer{smallTokenizer(), bigTokenizer(t, "gemma4-tokenizer.json.gz")} {
		args := `{"b":[1,-2.5,true,null,"x"],"city":"A}B\"C, {d}: [e]\n","n":{"deep":{"er":[[],{}]}},"s":""}`
		msgs := []Message{
			{Role: User, Content: "q"},
			{Role: Assistant, Reasoning: "need\n\ntool", ToolCalls: []ToolCall{
				{Name: "get-weather.v2", Arguments: json.RawMessage(args)}, {Name: "now"}}},
		}
		segs, err := RenderSegments(msgs, Options{})
		if err != nil {
			t.Fatal(err)
		}
		whole := join(segs)
		turn := whole[strings.Index(whole, "model\n")+len("model\n"):]
		got := run(t, tok, tok.Encode(nil, turn, true), false)
		want := parsed{thought: "need\n\ntool", calls: []Call{
			{ID: "call_0", Name: "get-weather.v2", Arguments: json.RawMessage(args)},
			{ID: "call_1", Name: "now", Arguments: json.RawMessage("{}")}}}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v\nwant %+v", got, want)
		}
	}
}

func TestStopIDs(t *testing.T) {
	if got, want := StopIDs(bigTokenizer(t, "gemma4-tokenizer.json.gz")), []int32{1, 106, 50}; !reflect.DeepEqual(got, want) {
		t.Errorf("Gemma's: %v, want %v", got, want)
	}
	tok := bigTokenizer(t, "demo-tokenizer.json.gz") // lacks the tool tokens
	for _, id := range StopIDs(tok) {
		if s := tok.Text(id); s != markEOS && s != markTurnEnd && s != markResponse {
			t.Errorf("the demo model's: %q", s)
		}
	}
	if len(StopIDs(tok)) < 2 {
		t.Errorf("the demo model's: %v", StopIDs(tok))
	}
}

func TestAllocationsPerToken(t *testing.T) {
	tok := smallTokenizer()
	p := NewParser(tok, false)
	id, _ := tok.ID("a")
	p.Push(id)
	if n := testing.AllocsPerRun(100, func() { p.Push(id) }); n != 0 {
		t.Errorf("%v allocations for a token of text", n)
	}
}

func FuzzParser(f *testing.F) {
	tok := smallTokenizer()
	f.Add([]byte(`call:f{a:[1,{b:"x"}],c:d}`), uint8(0))
	f.Add([]byte{2, 'c', 'a', 'l', 'l', ':', 'f', '{', 'a', ':', 3, 'x', 3, '}', 1}, uint8(1))
	f.Fuzz(func(t *testing.T, raw []byte, how uint8) {
		ids := make([]int32, 0, len(raw)+1)
		if how&1 == 0 {
			id, _ := tok.ID(markCall)
			ids = append(ids, id)
		}
		for _, b := range raw { // control characters stand for the special tokens
			if b < 16 {
				ids = append(ids, int32(b))
			} else {
				ids = append(ids, 16+int32(b))
			}
		}
		run(t, tok, ids, how&2 != 0)
	})
}
