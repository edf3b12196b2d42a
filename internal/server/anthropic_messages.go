package server

import (
	"encoding/json"

	"github.com/plume-run/plume"
)

// block is one entry of a message's content. Which fields count depends on the
// type.
type block struct {
	Type      string          `json:"type"`
	Text      *string         `json:"text"`
	ID        string          `json:"id"`
	Name      string          `json:"name"`
	Input     json.RawMessage `json:"input"`
	ToolUseID string          `json:"tool_use_id"`
	Content   json.RawMessage `json:"content"`
	IsError   bool            `json:"is_error"`
	Thinking  string          `json:"thinking"`

	Signature ignored `json:"signature"`
	Data      ignored `json:"data"`
	Cache     ignored `json:"cache_control"`
	Citations ignored `json:"citations"`
	Caller    ignored `json:"caller"`
	Source    ignored `json:"source"` // of pictures, which are refused by type
	Title     ignored `json:"title"`
	Context   ignored `json:"context"`
}

// anthropicMessages reads system and messages.
func anthropicMessages(q *messagesRequest) ([]plume.Message, *apiError) {
	var out []plume.Message
	if present(q.System) {
		text, parts, err := textContent("system", q.System, "text")
		if err != nil {
			return nil, err
		}
		if text != "" || len(parts) > 0 {
			out = append(out, plume.Message{Role: plume.RoleSystem, Content: text, Parts: parts})
		}
	}
	if len(q.Messages) == 0 {
		return nil, refuse("messages", "no messages")
	}
	last := ""
	var calls callsMade
	for i, raw := range q.Messages {
		at := index("messages", i)
		m, err := decode[struct {
			Role    string          `json:"role"`
			Content json.RawMessage `json:"content"`
		}](at, raw)
		if err != nil {
			return nil, err
		}
		if m.Role != "user" && m.Role != "assistant" {
			return nil, refuse(join(at, "role"), "%s, want user or assistant", quote(m.Role))
		}
		turn, err := anthropicTurn(join(at, "content"), m.Role, m.Content, &calls)
		if err != nil {
			return nil, err
		}
		out, last = append(out, turn...), m.Role
	}
	if last == "assistant" {
		return nil, unsupported("messages", "the last one is the assistant's: a turn that has begun cannot be continued")
	}
	return out, nil
}

// anthropicTurn reads one message. The answers of tools, which stand among a
// user's blocks, become messages of their own before the user's text; they belong to
// the calls before it. Messages of one role in a row are one turn, so a message of
// nothing but answers leaves the calls to the next.
func anthropicTurn(at, role string, raw json.RawMessage, calls *callsMade) ([]plume.Message, *apiError) {
	m := plume.Message{Role: plume.Role(role)}
	if isKind(raw, '"') {
		var err *apiError
		calls.turn()
		m.Content, err = asString(at, raw)
		return []plume.Message{m}, err
	}
	list, err := asList(at, raw)
	if err != nil {
		return nil, refuse(at, "want a string or an array of blocks")
	}
	var out []plume.Message
	for i, item := range list {
		where := index(at, i)
		b, err := decode[block](where, item)
		if err != nil {
			return nil, err
		}
		if b.Type == "tool_result" && role == "user" {
			result, err := b.result(where)
			if err == nil {
				err = calls.answered(join(where, "tool_use_id"), b.ToolUseID)
			}
			if err != nil {
				return nil, err
			}
			out = append(out, result)
			continue
		}
		if err := b.add(where, &m); err != nil {
			return nil, err
		}
	}
	if len(out) > 0 && len(m.Parts) == 0 {
		return out, nil
	}
	calls.turn()
	for _, c := range m.ToolCalls {
		calls.made(c.ID)
	}
	return append(out, m), nil
}

// add puts a block that is no tool's answer into the message m.
func (b *block) add(at string, m *plume.Message) *apiError {
	assistant := m.Role == plume.RoleAssistant
	switch {
	case b.Type == "text":
		if b.Text == nil {
			return refuse(join(at, "text"), "missing")
		}
		if assistant {
			m.Content += *b.Text
			return nil
		}
		m.Parts = append(m.Parts, plume.Part{Type: "text", Text: *b.Text})
		return nil
	case b.Type == "thinking" && assistant:
		m.Reasoning += b.Thinking
		return nil
	case b.Type == "redacted_thinking" && assistant:
		return nil // of another service; nobody can read it
	case b.Type == "tool_use" && assistant:
		switch {
		case b.Name == "":
			return refuse(join(at, "name"), "missing")
		case present(b.Input) && !isKind(b.Input, '{'):
			return refuse(join(at, "input"), "want an object")
		}
		m.ToolCalls = append(m.ToolCalls, plume.ToolCall{ID: b.ID, Name: b.Name, Arguments: b.Input})
		return nil
	case b.Type == "thinking", b.Type == "redacted_thinking", b.Type == "tool_use", b.Type == "tool_result":
		return refuse(join(at, "type"), "%s does not belong into a message of role %s", quote(b.Type), m.Role)
	}
	return textType(join(at, "type"), b.Type, []string{"text"})
}

// result reads the answer of a tool.
func (b *block) result(at string) (plume.Message, *apiError) {
	m := plume.Message{Role: plume.RoleTool, ToolCallID: b.ToolUseID}
	if b.ToolUseID == "" {
		return m, refuse(join(at, "tool_use_id"), "missing")
	}
	text, parts, err := textContent(join(at, "content"), b.Content, "text")
	if err != nil {
		return m, err
	}
	for _, p := range parts {
		text += p.Text
	}
	if m.Content = text; b.IsError {
		m.Content = "error: " + text
	}
	return m, nil
}
