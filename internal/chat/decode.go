package chat

import (
	"encoding/json"
	"fmt"
	"slices"
)

// DecodeMessages reads a JSON array of messages in OpenAI's form. Order of keys
// and digits of numbers inside arguments and results are kept. Unknown keys are
// skipped; a wrong type, an unknown role or part type is an error that names its
// place. Arguments may be an object, null, or a string that holds one of these
// as JSON (what OpenAI's clients send). null stands for an absent field.
func DecodeMessages(data []byte) ([]Message, error) {
	v, err := parseValue(slices.Clone(data))
	if err != nil {
		return nil, err
	}
	return decodeMessages(v)
}

// DecodeTools reads a JSON array of tool declarations; null gives none.
func DecodeTools(data []byte) ([]Tool, error) {
	v, err := parseValue(slices.Clone(data))
	if err != nil {
		return nil, err
	}
	return decodeTools(v)
}

// DecodeRequest reads one JSON object with messages and the options of a prompt:
// "messages", and when present and not null "tools", "thinking",
// "generation_prompt", "preserve_thinking" and "template" ("small" or "large").
// def holds the options for those absent.
func DecodeRequest(data []byte, def Options) ([]Message, Options, error) {
	o := def
	v, err := parseValue(slices.Clone(data))
	if err != nil {
		return nil, o, err
	}
	if v.kind != object {
		return nil, o, fmt.Errorf("read request: want an object, got %v", v.kind)
	}
	msgs, err := decodeMessages(v.get("messages"))
	if err != nil {
		return nil, o, err
	}
	if tools := v.get("tools"); present(tools) {
		if o.Tools, err = decodeTools(tools); err != nil {
			return nil, o, err
		}
	}
	for _, f := range []struct {
		key string
		dst *bool
	}{
		{"thinking", &o.Thinking},
		{"generation_prompt", &o.GenerationPrompt},
		{"preserve_thinking", &o.PreserveThinking},
	} {
		if b := v.get(f.key); b.kind == boolean {
			*f.dst = b.bool
		} else if present(b) {
			return nil, o, fmt.Errorf("read %s: want a boolean, got %v", f.key, b.kind)
		}
	}
	if t := v.get("template"); present(t) {
		if o.Template, err = ParseTemplate(t.str()); err != nil {
			return nil, o, err
		}
	}
	return msgs, o, nil
}

// present reports whether v was given and is not null.
func present(v value) bool { return v.kind != undefined && v.kind != null }

func decodeMessages(v value) ([]Message, error) {
	if v.kind != list {
		return nil, fmt.Errorf("read messages: want an array, got %v", v.kind)
	}
	msgs := make([]Message, len(v.list))
	for i, item := range v.list {
		if err := decodeMessage(&msgs[i], item); err != nil {
			return nil, fmt.Errorf("read message %d: %w", i, err)
		}
	}
	return msgs, nil
}

func decodeTools(v value) ([]Tool, error) {
	if v.kind == null {
		return nil, nil
	}
	if v.kind != list {
		return nil, fmt.Errorf("read tools: want an array, got %v", v.kind)
	}
	tools := make([]Tool, len(v.list))
	for i, item := range v.list {
		t, err := newTool(item)
		if err != nil {
			return nil, fmt.Errorf("read tool %d: %w", i, err)
		}
		tools[i] = t
	}
	return tools, nil
}

func decodeMessage(m *Message, v value) error {
	if v.kind != object {
		return fmt.Errorf("want an object, got %v", v.kind)
	}
	role, thought := "", ""
	for _, f := range []struct {
		key string
		dst *string
	}{
		{"role", &role}, {"name", &m.Name}, {"tool_call_id", &m.ToolCallID},
		{"reasoning", &m.Reasoning}, {"reasoning_content", &thought},
	} {
		if err := decodeString(f.dst, v, f.key); err != nil {
			return err
		}
	}
	m.Role = Role(role)
	if m.Reasoning == "" {
		m.Reasoning = thought
	}
	if err := decodeContent(m, v.get("content")); err != nil {
		return fmt.Errorf("content: %w", err)
	}
	if err := decodeCalls(m, v.get("tool_calls")); err != nil {
		return err
	}
	if err := decodeResponses(m, v.get("tool_responses")); err != nil {
		return err
	}
	return m.check()
}

// decodeString reads the string or null at key of v, if there is one.
func decodeString(dst *string, v value, key string) error {
	s := v.get(key)
	if s.kind == text {
		*dst = s.text
	} else if present(s) {
		return fmt.Errorf("%s: want a string, got %v", key, s.kind)
	}
	return nil
}

func decodeContent(m *Message, v value) error {
	tool := m.Role == ToolRole
	switch {
	case v.kind == text:
		m.Content = v.text
	case v.kind == list && !(tool && !looksLikeParts(v)):
		return decodeParts(m, v)
	case tool && !present(v):
		m.Result = json.RawMessage("null")
	case tool:
		m.Result = json.RawMessage(v.raw)
	case present(v):
		return fmt.Errorf("want a string or an array of parts, got %v", v.kind)
	}
	return nil
}

// looksLikeParts tells content parts from a tool's answer that is an array.
func looksLikeParts(v value) bool {
	for _, item := range v.list {
		if item.get("type").kind != text {
			return false
		}
	}
	return true
}

func decodeParts(m *Message, v value) error {
	m.Parts = make([]Part, len(v.list))
	for i, item := range v.list {
		if item.kind != object {
			return fmt.Errorf("part %d: want an object, got %v", i, item.kind)
		}
		typ := ""
		if err := decodeString(&typ, item, "type"); err != nil {
			return fmt.Errorf("part %d: %w", i, err)
		}
		part := Part{Type: PartType(typ), Source: json.RawMessage(item.raw)}
		if part.Type == TextPart {
			t := item.get("text")
			if t.kind != text {
				return fmt.Errorf("part %d: text: want a string, got %v", i, t.kind)
			}
			part.Text = t.text
		}
		m.Parts[i] = part
	}
	return nil
}

func decodeCalls(m *Message, v value) error {
	if !present(v) {
		return nil
	}
	if v.kind != list {
		return fmt.Errorf("tool_calls: want an array, got %v", v.kind)
	}
	for i, item := range v.list {
		f := item.get("function")
		if f.kind != object {
			return fmt.Errorf("tool call %d: function: want an object, got %v", i, f.kind)
		}
		var c ToolCall
		if err := decodeString(&c.ID, item, "id"); err != nil {
			return fmt.Errorf("tool call %d: %w", i, err)
		}
		if err := decodeString(&c.Name, f, "name"); err != nil {
			return fmt.Errorf("tool call %d: %w", i, err)
		}
		switch args := f.get("arguments"); {
		case args.kind == text && args.text != "":
			c.Arguments = json.RawMessage(args.text)
		case args.kind != text && args.kind != undefined:
			c.Arguments = json.RawMessage(args.raw)
		}
		if _, err := c.arguments(); err != nil {
			return fmt.Errorf("tool call %d: %w", i, err)
		}
		m.ToolCalls = append(m.ToolCalls, c)
	}
	return nil
}

func decodeResponses(m *Message, v value) error {
	if !present(v) {
		return nil
	}
	if v.kind != list {
		return fmt.Errorf("tool_responses: want an array, got %v", v.kind)
	}
	for i, item := range v.list {
		if item.kind != object {
			return fmt.Errorf("tool response %d: want an object, got %v", i, item.kind)
		}
		var r ToolResponse
		if err := decodeString(&r.Name, item, "name"); err != nil {
			return fmt.Errorf("tool response %d: %w", i, err)
		}
		if v := item.get("response"); v.kind != undefined {
			r.Response = json.RawMessage(v.raw)
		}
		m.ToolResponses = append(m.ToolResponses, r)
	}
	return nil
}
