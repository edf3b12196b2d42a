package server

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"

	"github.com/plume-run/plume"
)

// openaiSampling are the sampling fields that the three OpenAI endpoints share;
// top_k, min_p and repetition_penalty are the usual additions of local servers.
type openaiSampling struct {
	Temperature       *float64 `json:"temperature"`
	TopP              *float64 `json:"top_p"`
	TopK              *int     `json:"top_k"`
	MinP              *float64 `json:"min_p"`
	RepetitionPenalty *float64 `json:"repetition_penalty"`
	PresencePenalty   *float64 `json:"presence_penalty"`
	FrequencyPenalty  *float64 `json:"frequency_penalty"`
	Seed              *int64   `json:"seed"`
}

// apply puts what was given over the model's own settings.
func (p *openaiSampling) apply(base plume.Sampling) (*plume.Sampling, *apiError) {
	err := first(
		within("temperature", p.Temperature, 0, 2),
		within("top_p", p.TopP, 0, 1),
		within("top_k", p.TopK, 0, 1<<20),
		within("min_p", p.MinP, 0, 1),
		within("repetition_penalty", p.RepetitionPenalty, 0.01, 10),
		within("presence_penalty", p.PresencePenalty, -2, 2),
		within("frequency_penalty", p.FrequencyPenalty, -2, 2),
	)
	if err != nil {
		return nil, err
	}
	setFloat(&base.Temperature, p.Temperature)
	setTopP(&base, p.TopP)
	setFloat(&base.MinP, p.MinP)
	setFloat(&base.RepetitionPenalty, p.RepetitionPenalty)
	setFloat(&base.PresencePenalty, p.PresencePenalty)
	setFloat(&base.FrequencyPenalty, p.FrequencyPenalty)
	if p.TopK != nil {
		base.TopK = *p.TopK
	}
	base.Seed = seed(p.Seed)
	return &base, nil
}

func setFloat(dst *float32, v *float64) {
	if v != nil {
		*dst = float32(*v)
	}
}

// setTopP is setFloat for the field whose 0 means the most likely token alone to
// clients, and off to the engine.
func setTopP(dst *plume.Sampling, v *float64) {
	if v != nil {
		dst.TopP = max(float32(*v), math.SmallestNonzeroFloat32)
	}
}

// seed turns a client's seed into the engine's, where 0 means chosen at random.
func seed(v *int64) uint64 {
	switch {
	case v == nil:
		return 0
	case *v == 0:
		return 1 << 63
	}
	return uint64(*v)
}

// choices makes n requests of one; a given seed differs from choice to choice.
func choices(r plume.Request, n int) []plume.Request {
	out := make([]plume.Request, n)
	for i := range out {
		out[i] = r
		if r.Sampling != nil && r.Sampling.Seed != 0 {
			own := *r.Sampling
			own.Seed += uint64(i)
			out[i].Sampling = &own
		}
	}
	return out
}

// stopStrings reads a "stop" field: one string or up to 16.
func stopStrings(path string, raw json.RawMessage) ([]string, *apiError) {
	stops, err := stringOrList(path, raw)
	if err != nil {
		return nil, err
	}
	if len(stops) > 16 {
		return nil, refuse(path, "%d stop strings, want at most 16", len(stops))
	}
	for i, s := range stops {
		if s == "" {
			return nil, refuse(index(path, i), "empty stop string")
		}
	}
	return stops, nil
}

// toolFunction is a function's declaration. What it says reaches the model.
type toolFunction struct {
	Name        string          `json:"name"`
	Description json.RawMessage `json:"description,omitempty"`
	Parameters  json.RawMessage `json:"parameters,omitempty"`
	Strict      *bool           `json:"strict,omitempty"`   // see plume.Request.ToolChoice
	Response    json.RawMessage `json:"response,omitempty"` // what the tool gives back; the model's own form has it
}

// functionType refuses tools that are no functions.
func functionType(at string, item json.RawMessage) *apiError {
	var typ struct {
		Type string `json:"type"`
	}
	if json.Unmarshal(item, &typ) != nil {
		return refuse(at, "want an object")
	}
	if typ.Type != "function" {
		return unsupported(join(at, "type"), "%s: only functions are supported", quote(typ.Type))
	}
	return nil
}

// openaiTools reads function declarations in the form of chat completions.
func openaiTools(path string, raw []json.RawMessage) ([]plume.Tool, *apiError) {
	functions := make([]toolFunction, len(raw))
	for i, item := range raw {
		at := index(path, i)
		if err := functionType(at, item); err != nil {
			return nil, err
		}
		t, err := decode[struct {
			Type     string          `json:"type"`
			Function json.RawMessage `json:"function"`
			Cache    ignored         `json:"cache_control"`
		}](at, item)
		if err != nil {
			return nil, err
		}
		if !isKind(t.Function, '{') {
			return nil, refuse(join(at, "function"), "want an object")
		}
		f, err := decode[toolFunction](join(at, "function"), t.Function)
		if err != nil {
			return nil, err
		}
		functions[i] = *f
	}
	return declare(path, functions)
}

// declare makes tools of functions.
func declare(path string, functions []toolFunction) ([]plume.Tool, *apiError) {
	if len(functions) == 0 {
		return nil, nil
	}
	type wrapped struct {
		Type     string       `json:"type"`
		Function toolFunction `json:"function"`
	}
	list := make([]wrapped, len(functions))
	for i, f := range functions {
		list[i] = wrapped{"function", f}
	}
	data, err := json.Marshal(list)
	if err != nil {
		return nil, refuse(path, "%v", err)
	}
	tools, err := plume.ParseTools(data)
	if err != nil {
		return nil, refuse(path, "%s", strings.TrimPrefix(err.Error(), "read "))
	}
	return tools, nil
}

// toolChoice reads "tool_choice": a word, or the name of a tool in either of
// the forms that chat completions and responses have.
func toolChoice(raw json.RawMessage, tools []plume.Tool) (string, *apiError) {
	const path = "tool_choice"
	if !present(raw) {
		return "", nil
	}
	choice := ""
	if isKind(raw, '"') {
		word, err := asString(path, raw)
		if err == nil {
			err = oneOf(path, word, "none", "auto", "required")
		}
		if err != nil {
			return "", err
		}
		choice = word
	} else {
		named, err := decode[struct {
			Type     string `json:"type"`
			Name     string `json:"name"`
			Function struct {
				Name string `json:"name"`
			} `json:"function"`
		}](path, raw)
		if err != nil {
			return "", err
		}
		if named.Type != "function" {
			return "", unsupported(join(path, "type"), "%s: only functions are supported", quote(named.Type))
		}
		if choice = named.Function.Name; choice == "" {
			choice = named.Name
		}
		if e := knownTool(path, choice, tools); e != nil {
			return "", e
		}
		return choice, nil
	}
	if choice == "required" && len(tools) == 0 {
		return "", refuse(path, "a call is required, and there are no tools")
	}
	return choice, nil
}

// knownTool refuses a name that is not among the tools.
func knownTool(path, name string, tools []plume.Tool) *apiError {
	for _, t := range tools {
		if t.Name() == name {
			return nil
		}
	}
	return refuse(path, "no tool is called %s", quote(name))
}

// responseFormat reads {"type": "text" | "json_object" | "json_schema", …}. The
// schema stands inside "json_schema" (chat completions) or beside the type
// (responses).
func responseFormat(path string, raw json.RawMessage) (*plume.Format, *apiError) {
	if !present(raw) {
		return nil, nil
	}
	type schema struct {
		Name        string          `json:"name"`
		Description ignored         `json:"description"`
		Schema      json.RawMessage `json:"schema"`
		Strict      *bool           `json:"strict"` // always strict here
	}
	f, err := decode[struct {
		Type string `json:"type"`
		schema
		JSONSchema json.RawMessage `json:"json_schema"`
	}](path, raw)
	if err != nil {
		return nil, err
	}
	switch f.Type {
	case "text":
		return nil, nil
	case "json_object":
		return &plume.Format{JSON: true}, nil
	case "json_schema":
		in := &f.schema
		at := path
		if present(f.JSONSchema) {
			at = join(path, "json_schema")
			if in, err = decode[schema](at, f.JSONSchema); err != nil {
				return nil, err
			}
		}
		if !isKind(in.Schema, '{') {
			return nil, refuse(join(at, "schema"), "want a JSON schema")
		}
		return &plume.Format{Schema: in.Schema}, nil
	}
	return nil, refuse(join(path, "type"), "%s, want text, json_object or json_schema", quote(f.Type))
}

// reasons reads an effort: none is off, anything else is on; the model knows
// no degrees.
func reasons(path, effort string) (bool, *apiError) {
	if err := oneOf(path, effort, "none", "minimal", "low", "medium", "high", "xhigh", "max"); err != nil {
		return false, err
	}
	return effort != "" && effort != "none", nil
}

// maxTokens checks a limit on the answer's length.
func (s *Server) maxTokens(path string, n *int) (int, *apiError) {
	if n == nil {
		return 0, nil
	}
	if *n < 1 {
		return 0, refuse(path, "%d, want at least 1", *n)
	}
	return *n, nil
}

// sampledOnly in a job's Request.Logprobs asks for the tokens themselves without
// alternatives; choice puts it into the engine's terms.
const sampledOnly = -1

// logprobCount reads the pair logprobs, top_logprobs.
func logprobCount(on bool, top *int) (int, *apiError) {
	switch {
	case top != nil && (*top < 0 || *top > 20):
		return 0, refuse("top_logprobs", "%d, want 0 to 20", *top)
	case top != nil && *top > 0 && !on:
		return 0, refuse("top_logprobs", "needs logprobs to be true")
	case !on:
		return 0, nil
	case top == nil || *top == 0:
		return sampledOnly, nil
	}
	return *top, nil
}

// callJSON is a tool call in OpenAI's form.
type callJSON struct {
	Index    *int         `json:"index,omitempty"` // in streams
	ID       string       `json:"id,omitempty"`
	Type     string       `json:"type,omitempty"`
	Function callFunction `json:"function"`
}

type callFunction struct {
	Name      string `json:"name,omitempty"`
	Arguments string `json:"arguments"`
}

// openaiUsage is the count of tokens in the form of the older endpoints.
type openaiUsage struct {
	Prompt     int           `json:"prompt_tokens"`
	Completion int           `json:"completion_tokens"`
	Total      int           `json:"total_tokens"`
	Details    promptDetails `json:"prompt_tokens_details"`
	Thoughts   outputDetails `json:"completion_tokens_details"`
	Plume      []report      `json:"plume,omitempty"`
}

type promptDetails struct {
	Cached int `json:"cached_tokens"`
}

// outputDetails counts thoughts by their pieces, which are tokens unless a
// character was split.
type outputDetails struct {
	Reasoning int `json:"reasoning_tokens"`
}

func usageJSON(answers []answer) *openaiUsage {
	u, thoughts := usage(answers), 0
	for _, a := range answers {
		thoughts += a.thoughts
	}
	return &openaiUsage{
		Prompt: u.Prompt, Completion: u.Generated, Total: u.Prompt + u.Generated,
		Details: promptDetails{u.Cached}, Thoughts: outputDetails{thoughts},
	}
}

// finishReason is the word of the older endpoints.
func finishReason(f plume.Finish) string {
	switch f {
	case plume.FinishToolCalls:
		return "tool_calls"
	case plume.FinishLength, plume.FinishContext:
		return "length"
	case plume.FinishStop:
		return "stop"
	}
	panic(fmt.Sprintf("server: internal error: answer ended by %q without an error", f))
}
