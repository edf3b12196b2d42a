package chat

import (
	"encoding/json"
	"strings"
)

// withoutThoughts removes everything between "<|channel>" and "<channel|>" from
// a model message, and the white space at its ends. A thought left open reaches
// to the end.
func withoutThoughts(s string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(s, markChannelEnd) {
		before, _, _ := strings.Cut(part, markChannel)
		b.WriteString(before)
	}
	return pyStrip(b.String())
}

// toolMessage writes the tool message m as the response to one of calls.
func (p *prompt) toolMessage(m *Message, calls []ToolCall) error {
	name := m.Name
	if name == "" {
		name = unknownToolsName
	}
	for _, c := range calls { // of several with this id the last; absent ids match each other
		if c.ID == m.ToolCallID {
			name = c.Name
		}
	}
	switch {
	case m.Result != nil:
		v, err := parseResult(m.Result)
		if err != nil {
			return err
		}
		p.response(name, v)
		return nil
	case m.Parts == nil:
		p.response(name, value{kind: text, text: m.Content})
		return nil
	}
	var joined strings.Builder
	for _, part := range m.Parts {
		if part.Type == TextPart {
			joined.WriteString(part.Text)
		}
	}
	p.response(name, value{kind: text, text: joined.String()})
	for _, part := range m.Parts {
		if mark := part.placeholder(); mark != "" {
			p.special(mark)
		}
	}
	return nil
}

// parseResult reads a tool's answer; none at all is null.
func parseResult(raw json.RawMessage) (value, error) {
	if raw == nil {
		return value{kind: null}, nil
	}
	return parseValue(raw)
}

// response writes one response block.
func (p *prompt) response(name string, v value) {
	p.special(markResponse)
	p.plain("response:" + name)
	if v.kind == object {
		p.bareObject(v)
	} else {
		p.plain("{value:")
		p.argument(v, false)
		p.plain("}")
	}
	p.special(markResponseEnd)
}

// bareObject writes the fields of v, if it has any, in braces, keys unquoted.
func (p *prompt) bareObject(v value) {
	p.argument(value{kind: object, fields: v.fields}, false)
}

// argument writes a value of a call, a response or a declaration: strings
// between quote tokens, without escapes, keys sorted; quoteKeys is for
// declarations.
func (p *prompt) argument(v value, quoteKeys bool) {
	switch v.kind {
	case null:
		p.plain("null")
	case boolean:
		if v.bool {
			p.plain("true")
		} else {
			p.plain("false")
		}
	case text:
		p.quoted(v.text)
	case list:
		p.plain("[")
		for i, item := range v.list {
			if i > 0 {
				p.plain(",")
			}
			p.argument(item, quoteKeys)
		}
		p.plain("]")
	case object:
		p.plain("{")
		for i, f := range v.sorted() {
			if i > 0 {
				p.plain(",")
			}
			if quoteKeys {
				p.quoted(f.key)
			} else {
				p.plain(f.key)
			}
			p.plain(":")
			p.argument(f.value, quoteKeys)
		}
		p.plain("}")
	default:
		p.plain(v.str())
	}
}
