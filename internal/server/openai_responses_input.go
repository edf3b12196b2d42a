package server

import (
	"encoding/json"

	"github.com/plume-run/plume"
)

// inputItem is one entry of "input": a message, a call, a call's output, or a
// thought. Which fields count depends on the type.
type inputItem struct {
	Type      string          `json:"type"`
	ID        ignored         `json:"id"`
	Status    ignored         `json:"status"`
	Role      string          `json:"role"`
	Content   json.RawMessage `json:"content"`
	CallID    string          `json:"call_id"`
	Name      string          `json:"name"`
	Arguments string          `json:"arguments"`
	Output    json.RawMessage `json:"output"`
	Summary   json.RawMessage `json:"summary"`
	Encrypted ignored         `json:"encrypted_content"`
	Phase     ignored         `json:"phase"`
	Namespace ignored         `json:"namespace"`
	Caller    ignored         `json:"caller"`
	Parsed    ignored         `json:"parsed_arguments"`
}

// responseInput reads a text or a list of items. Thoughts, text and calls that
// follow each other are one turn of the assistant.
func responseInput(raw json.RawMessage) ([]plume.Message, *apiError) {
	const path = "input"
	if isKind(raw, '"') {
		text, err := asString(path, raw)
		return []plume.Message{plume.UserMessage(text)}, err
	}
	list, err := asList(path, raw)
	if err != nil || len(list) == 0 {
		return nil, refuse(path, "want a text or an array of items")
	}
	var turns turnBuilder
	for i, data := range list {
		at := index(path, i)
		item, err := decode[inputItem](at, data)
		if err != nil {
			return nil, err
		}
		if err := turns.add(at, item); err != nil {
			return nil, err
		}
	}
	return append(turns.messages, turns.later...), nil
}

// turnBuilder joins items to messages. Outputs stand right behind the turn with their
// calls, whatever others have said in between.
type turnBuilder struct {
	messages []plume.Message
	later    []plume.Message // of others, behind the assistant's last turn
	open     bool            // the last message is an assistant's turn that goes on
	calls    callsMade       // of the assistant's last turn
}

// assistant returns the running turn of the assistant, begun if need be.
func (t *turnBuilder) assistant() *plume.Message {
	if !t.open {
		t.messages = append(append(t.messages, t.later...), plume.Message{Role: plume.RoleAssistant})
		t.later, t.open = t.later[:0], true
		t.calls.turn()
	}
	return &t.messages[len(t.messages)-1]
}

func (t *turnBuilder) add(at string, item *inputItem) *apiError {
	switch item.Type {
	case "", "message":
		return t.message(at, item)
	case "reasoning":
		return t.thought(at, item)
	case "function_call":
		args, err := arguments(join(at, "arguments"), item.Arguments)
		if err != nil {
			return err
		}
		if item.Name == "" {
			return refuse(join(at, "name"), "missing")
		}
		m := t.assistant()
		t.calls.made(item.CallID)
		m.ToolCalls = append(m.ToolCalls, plume.ToolCall{ID: item.CallID, Name: item.Name, Arguments: args})
	case "function_call_output":
		if item.CallID == "" {
			return refuse(join(at, "call_id"), "missing: an output names the call it belongs to")
		}
		if err := t.calls.answered(join(at, "call_id"), item.CallID); err != nil {
			return err
		}
		m := plume.Message{Role: plume.RoleTool, ToolCallID: item.CallID}
		var err *apiError
		if m.Content, m.Parts, err = textContent(join(at, "output"), item.Output, "input_text", "output_text", "text"); err != nil {
			return err
		}
		t.messages, t.open = append(t.messages, m), false
	case "item_reference":
		return unsupported(join(at, "type"), "%s: this server stores nothing: send the item itself, as clients do with \"store\": false", quote(item.Type))
	default:
		return unsupported(join(at, "type"), "%s: not supported", quote(item.Type))
	}
	return nil
}

func (t *turnBuilder) message(at string, item *inputItem) *apiError {
	text, parts, err := textContent(join(at, "content"), item.Content, "input_text", "output_text", "text")
	if err != nil {
		return err
	}
	switch item.Role {
	case "assistant":
		m := t.assistant()
		m.Content += text
		for _, p := range parts {
			m.Content += p.Text
		}
		return nil
	case "user", "system", "developer":
	default:
		return refuse(join(at, "role"), "%s, want user, assistant, system or developer", quote(item.Role))
	}
	m := plume.Message{Role: plume.Role(item.Role), Content: text, Parts: parts}
	if item.Role == "developer" {
		m.Role = plume.RoleSystem
	}
	t.later, t.open = append(t.later, m), false
	return nil
}

// thought takes the text of a reasoning item, or its summary.
func (t *turnBuilder) thought(at string, item *inputItem) *apiError {
	_, parts, err := textContent(join(at, "content"), item.Content, "reasoning_text")
	if err == nil && len(parts) == 0 {
		_, parts, err = textContent(join(at, "summary"), item.Summary, "summary_text")
	}
	if err != nil {
		return err
	}
	m := t.assistant()
	for _, p := range parts {
		m.Reasoning += p.Text
	}
	return nil
}
