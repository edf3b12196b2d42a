package chat

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestDecodeErrors(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 200) + "1" + strings.Repeat("}", 200)
	for _, c := range []struct{ name, in, want string }{
		{"syntax", `[{]`, "read JSON: invalid character"},
		{"empty", ``, "read JSON: unexpected end"},
		{"no array", `{}`, "read messages: want an array, got an object"},
		{"null", `null`, "read messages: want an array, got null"},
		{"no object", `["hi"]`, "read message 0: want an object, got a string"},
		{"no role", `[{"content":"x"}]`, "read message 0: role is missing"},
		{"role", `[{"role":"user","content":"a"},{"role":"bot"}]`, `read message 1: unknown role "bot"`},
		{"role type", `[{"role":5}]`, "role: want a string, got a number"},
		{"content type", `[{"role":"user","content":{"a":1}}]`, "content: want a string or an array of parts, got an object"},
		{"part", `[{"role":"user","content":["a"]}]`, "content: part 0: want an object, got a string"},
		{"part type", `[{"role":"user","content":[{"type":"text","text":"a"},{"type":"pdf"}]}]`, `part 1: unknown type "pdf"`},
		{"part without a type", `[{"role":"user","content":[{"text":"a"}]}]`, `part 0: unknown type ""`},
		{"part without text", `[{"role":"user","content":[{"type":"text"}]}]`, "part 0: text: want a string, got nothing"},
		{"reasoning", `[{"role":"assistant","reasoning":["x"]}]`, "reasoning: want a string, got an array"},
		{"calls", `[{"role":"assistant","tool_calls":{}}]`, "tool_calls: want an array, got an object"},
		{"function", `[{"role":"assistant","tool_calls":[{"name":"f"}]}]`, "tool call 0: function: want an object, got nothing"},
		{"call name", `[{"role":"assistant","tool_calls":[{"function":{}}]}]`, "tool call 0: name is missing"},
		{"arguments", `[{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":[]}}]}]`, "tool call 0: arguments: want an object, got an array"},
		{"arguments as text", `[{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"[]"}}]}]`, "tool call 0: arguments: want an object, got an array"},
		{"arguments no JSON", `[{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"a=1"}}]}]`, "tool call 0: arguments: read JSON"},
		{"responses", `[{"role":"assistant","tool_responses":[5]}]`, "tool response 0: want an object, got a number"},
		{"depth", `[{"role":"user","content":` + deep + `}]`, "nested deeper than 100"},
		{"endless depth", strings.Repeat("[", 1e6), "read JSON"},
	} {
		if _, err := DecodeMessages([]byte(c.in)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
}

func TestDecodeToolErrors(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"no array", `{}`, "read tools: want an array, got an object"},
		{"no function", `[{"name":"f"}]`, "read tool 0: function: want an object, got nothing"},
		{"no name", `[{"function":{"description":"d"}}]`, "read tool 0: function: name is missing"},
		{"parameters", `[{"function":{"name":"f","parameters":[1]}}]`, "function f: parameters: want an object, got an array"},
		{"properties", `[{"function":{"name":"f","parameters":{"properties":"x"}}}]`, "parameters: properties: want an object, got a string"},
		{"required", `[{"function":{"name":"f","parameters":{"required":true}}}]`, "parameters: required: want an array, got a boolean"},
		{"nested required", `[{"function":{"name":"f","parameters":{"properties":{"a":{"type":"object","required":"x"}}}}}]`, "parameters: a: required: want an array"},
		{"items", `[{"function":{"name":"f","parameters":{"properties":{"a":{"type":"array","items":{"type":5}}}}}}]`, "a: items: type: want a string or an array, got a number"},
	} {
		if _, err := DecodeTools([]byte(c.in)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
	tools, err := DecodeTools([]byte(`[{"function":{"name":"f","parameters":{"properties":{"a":{"type":"string","required":true}}}}}]`))
	if err != nil || len(tools) != 1 || tools[0].Name() != "f" {
		t.Errorf("a schema whose odd part is dropped anyway: %v, %v", tools, err)
	}
	if tools, err := DecodeTools([]byte(`null`)); err != nil || tools != nil {
		t.Errorf("null: %v, %v", tools, err)
	}
}

func TestDecodeRequest(t *testing.T) {
	def := Options{Thinking: true, GenerationPrompt: true, Template: Large}
	_, o, err := DecodeRequest([]byte(`{"messages":[],"tools":null,"thinking":null,"template":null}`), def)
	if err != nil || !o.Thinking || !o.GenerationPrompt || o.Template != Large {
		t.Errorf("defaults: %+v, %v", o, err)
	}
	_, o, err = DecodeRequest([]byte(`{"messages":[],"thinking":false,"generation_prompt":false,"preserve_thinking":true,"template":"small"}`), def)
	if err != nil || o.Thinking || o.GenerationPrompt || !o.PreserveThinking || o.Template != Small {
		t.Errorf("all given: %+v, %v", o, err)
	}
	for in, want := range map[string]string{
		`[]`:                               "want an object, got an array",
		`{}`:                               "read messages: want an array, got nothing",
		`{"messages":[],"thinking":1}`:     "read thinking: want a boolean, got a number",
		`{"messages":[],"template":"xl"}`:  `unknown variant "xl"`,
		`{"messages":[],"tools":[{}]}`:     "read tool 0",
		`{"messages":[{"role":"nobody"}]}`: "read message 0",
	} {
		if _, _, err := DecodeRequest([]byte(in), def); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", in, err, want)
		}
	}
}

func TestDecodeKeepsItsOwnMemory(t *testing.T) {
	data := []byte(`[{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":{"a":1}}}]}]`)
	msgs, err := DecodeMessages(data)
	if err != nil {
		t.Fatal(err)
	}
	clear(data)
	if got := string(msgs[0].ToolCalls[0].Arguments); got != `{"a":1}` {
		t.Errorf("arguments %q after the input was overwritten", got)
	}
}

func TestNumbersPrintAsPython(t *testing.T) {
	for in, want := range map[string]string{
		"0": "0", "-0": "0", "-0.0": "-0.0", "1": "1", "1.0": "1.0", "1.50": "1.5", "1e2": "100.0",
		"1e15": "1000000000000000.0", "1e16": "1e+16", "1E+22": "1e+22", "123456789012345678": "123456789012345678",
		"123456789012345678.0": "1.2345678901234568e+17", "0.0001": "0.0001", "0.00001": "1e-05", "5e-324": "5e-324",
		"1e400": "inf", "-1e400": "-inf", "1e-400": "0.0", "1000000000000000000000000000000": "1000000000000000000000000000000",
	} {
		if got := pyNumber(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func TestStripAsPython(t *testing.T) {
	for in, want := range map[string]string{
		"\x1c\x1d a\x1e\x1f": "a", "\u00a0a\u2003": "a", "\u200ba\ufeff": "\u200ba\ufeff", "\x85a\t": "a", " \n ": "",
	} {
		in = strings.ReplaceAll(in, "\x85", "\u0085")
		if got := pyStrip(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestReprAsPython(t *testing.T) {
	v, err := parseValue([]byte(`["a","it's","\"'","\\\n\u0001\u00a0\u200b\ud83d\ude00é",null,true,1.0,{"k":[]}]`))
	if err != nil {
		t.Fatal(err)
	}
	const want = `['a', "it's", '"\'', '\\\n\x01\xa0\u200b😀é', None, True, 1.0, {'k': []}]`
	if got := v.str(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// FuzzDecode: whatever is accepted can be rendered, and the JSON kept from it is
// valid.
func FuzzDecode(f *testing.F) {
	for _, c := range goldens(f) {
		f.Add([]byte(c))
	}
	f.Add([]byte(`{"messages":[{"role":"tool","content":[{"type":5}]}],"tools":[{"function":{"name":"f","response":5}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		msgs, o, err := DecodeRequest(data, Options{GenerationPrompt: true})
		if err != nil {
			return
		}
		for _, m := range msgs {
			for _, c := range m.ToolCalls {
				if c.Arguments != nil && !json.Valid(c.Arguments) {
					t.Fatalf("arguments %q", c.Arguments)
				}
			}
		}
		got, err := Render(msgs, o)
		if err != nil || !strings.HasPrefix(got, markBOS) {
			t.Fatalf("decoded, but not rendered: %q, %v", got, err)
		}
	})
}
