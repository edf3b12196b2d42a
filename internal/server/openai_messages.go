package server

import (
	"encoding/json"

	"github.com/plume-run/plume"
)

// openaiMessage is one entry of "messages".
type openaiMessage struct {
	Role             string            `json:"role"`
	Content          json.RawMessage   `json:"content"`
	Name             string            `json:"name"`
	ToolCalls        []json.RawMessage `json:"tool_calls"`
	ToolCallID       string            `json:"tool_call_id"`
	Reasoning        string            `json:"reasoning"`
	ReasoningContent string            `json:"reasoning_content"`
	FunctionCall     json.RawMessage   `json:"function_call"` // null in answers sent back

	// Parts of answers that clients send back as they came.
	Refusal     ignored `json:"refusal"`
	Annotations ignored `json:"annotations"`
	Audio       ignored `json:"audio"`
	Parsed      ignored `json:"parsed"`
}

// openaiMessages reads a conversation.
func openaiMessages(path string, raw []json.RawMessage) ([]plume.Message, *apiError) {
	if len(raw) == 0 {
		return nil, refuse(path, "no messages")
	}
	out := make([]plume.Message, len(raw))
	var calls callsMade
	for i, item := range raw {
		at := index(path, i)
		m, err := decode[openaiMessage](at, item)
		if err != nil {
			return nil, err
		}
		if out[i], err = m.message(at); err != nil {
			return nil, err
		}
		if out[i].Role == plume.RoleTool {
			if err := calls.answered(join(at, "tool_call_id"), m.ToolCallID); err != nil {
				return nil, err
			}
			continue
		}
		calls.turn()
		for _, c := range out[i].ToolCalls {
			calls.made(c.ID)
		}
	}
	return out, nil
}

func (m *openaiMessage) message(at string) (plume.Message, *apiError) {
	out := plume.Message{Name: m.Name, ToolCallID: m.ToolCallID, Reasoning: m.ReasoningContent}
	if out.Reasoning == "" {
		out.Reasoning = m.Reasoning
	}
	switch m.Role {
	case "system", "developer":
		out.Role = plume.RoleSystem
	case "user", "assistant", "tool":
		out.Role = plume.Role(m.Role)
	default:
		return out, refuse(join(at, "role"), "%s, want system, developer, user, assistant or tool", quote(m.Role))
	}
	switch {
	case present(m.FunctionCall):
		return out, unsupported(join(at, "function_call"), "functions have become tools: send tool_calls")
	case len(m.ToolCalls) > 0 && m.Role != "assistant":
		return out, refuse(join(at, "tool_calls"), "only the assistant calls tools")
	case m.Role == "tool" && m.ToolCallID == "" && m.Name == "":
		return out, refuse(join(at, "tool_call_id"), "missing: a tool's answer names the call it belongs to")
	case !present(m.Content) && m.Role != "assistant":
		return out, refuse(join(at, "content"), "missing")
	}
	var err *apiError
	if out.Content, out.Parts, err = textContent(join(at, "content"), m.Content, "text", "input_text", "output_text"); err != nil {
		return out, err
	}
	out.ToolCalls, err = openaiCalls(join(at, "tool_calls"), m.ToolCalls)
	return out, err
}

// textContent reads content that is a string, null, or a list of parts of the
// given types, each with a text.
func textContent(path string, raw json.RawMessage, types ...string) (string, []plume.Part, *apiError) {
	if !present(raw) {
		return "", nil, nil
	}
	if isKind(raw, '"') {
		s, err := asString(path, raw)
		return s, nil, err
	}
	list, err := asList(path, raw)
	if err != nil {
		return "", nil, refuse(path, "want a string or an array of parts")
	}
	parts := make([]plume.Part, 0, len(list))
	for i, item := range list {
		at := index(path, i)
		var kind struct {
			Type string `json:"type"`
		}
		if json.Unmarshal(item, &kind) != nil {
			return "", nil, refuse(at, "want a part, an object with a type")
		}
		if kind.Type == "refusal" {
			continue
		}
		if err := textType(join(at, "type"), kind.Type, types); err != nil {
			return "", nil, err
		}
		p, err := decode[textPart](at, item)
		if err != nil {
			return "", nil, err
		}
		if p.Text == nil {
			return "", nil, refuse(join(at, "text"), "missing")
		}
		parts = append(parts, plume.Part{Type: "text", Text: *p.Text})
	}
	return "", parts, nil
}

// textPart is a part with a text, of any dialect.
type textPart struct {
	Type string  `json:"type"`
	Text *string `json:"text"`

	// Of answers that come back, and hints to the original services' caches.
	ID          ignored `json:"id"`
	Annotations ignored `json:"annotations"`
	Logprobs    ignored `json:"logprobs"`
	Parsed      ignored `json:"parsed"`
	Citations   ignored `json:"citations"`
	Cache       ignored `json:"cache_control"`
	Breakpoint  ignored `json:"prompt_cache_breakpoint"`
}

// textType refuses parts that are no text.
func textType(path, got string, want []string) *apiError {
	for _, w := range want {
		if got == w {
			return nil
		}
	}
	switch got {
	case "image", "image_url", "input_image", "audio", "input_audio", "video", "file", "input_file", "document":
		return unsupported(path, "%q: this server reads text only", got)
	}
	return refuse(path, "%s, want %s", quote(got), want[0])
}

// openaiCalls reads the calls that an assistant has made.
func openaiCalls(path string, raw []json.RawMessage) ([]plume.ToolCall, *apiError) {
	var out []plume.ToolCall
	for i, item := range raw {
		at := index(path, i)
		c, err := decode[struct {
			ID       string  `json:"id"`
			Type     string  `json:"type"`
			Index    ignored `json:"index"`
			Function struct {
				Name      string  `json:"name"`
				Arguments string  `json:"arguments"`
				Parsed    ignored `json:"parsed_arguments"`
			} `json:"function"`
		}](at, item)
		if err != nil {
			return nil, err
		}
		if err := oneOf(join(at, "type"), c.Type, "function"); err != nil {
			return nil, err
		}
		call := plume.ToolCall{ID: c.ID, Name: c.Function.Name}
		if call.Name == "" {
			return nil, refuse(join(at, "function.name"), "missing")
		}
		if call.Arguments, err = arguments(join(at, "function.arguments"), c.Function.Arguments); err != nil {
			return nil, err
		}
		out = append(out, call)
	}
	return out, nil
}

// arguments reads the JSON object inside a string.
func arguments(path, text string) (json.RawMessage, *apiError) {
	if text == "" {
		return nil, nil
	}
	if !json.Valid([]byte(text)) || !isKind(json.RawMessage(trimSpace(text)), '{') {
		return nil, refuse(path, "want a JSON object in a string")
	}
	return json.RawMessage(text), nil
}
