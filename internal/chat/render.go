package chat

import "fmt"

// Render returns the prompt for msgs, beginning with "<bos>". Feed it to a
// tokenizer with special tokens on and no BOS added; RenderSegments is the form
// for messages that are not trusted.
//
// A first message of role system or developer becomes the system block; later
// ones are ordinary turns. Tool messages are rendered behind the calls they
// follow; one that follows no call is left out, as by the template.
func Render(msgs []Message, o Options) (string, error) {
	segs, err := RenderSegments(msgs, o)
	if err != nil {
		return "", err
	}
	return join(segs), nil
}

// RenderSegments is Render with the special tokens marked; see Encode. Media
// placeholders are special segments, in the order of the media parts.
func RenderSegments(msgs []Message, o Options) ([]Segment, error) {
	for i, m := range msgs {
		if err := m.check(); err != nil {
			return nil, fmt.Errorf("render message %d: %w", i, err)
		}
	}
	p := &prompt{}
	p.special(markBOS)
	first := 0
	if len(msgs) > 0 && (msgs[0].Role == System || msgs[0].Role == Developer) {
		first = 1
	}
	if first == 1 || o.Thinking || len(o.Tools) > 0 {
		p.systemBlock(msgs[:first], o)
	}
	t := turns{p: p, o: o, msgs: msgs[first:], lastUser: -1}
	for i, m := range t.msgs {
		if m.Role == User {
			t.lastUser = i
		}
	}
	for i, m := range t.msgs {
		if m.Role == ToolRole {
			continue
		}
		if err := t.turn(i); err != nil {
			return nil, fmt.Errorf("render message %d: %w", i+first, err)
		}
	}
	if o.GenerationPrompt {
		t.generation()
	}
	p.flush()
	return p.segs, nil
}

// check reports what no prompt can be made of.
func (m *Message) check() error {
	switch m.Role {
	case System, Developer, User, Assistant, Model, ToolRole:
	case "":
		return fmt.Errorf("role is missing")
	default:
		return fmt.Errorf("unknown role %q, want system, developer, user, assistant or tool", m.Role)
	}
	for i, part := range m.Parts {
		if part.Type != TextPart && part.placeholder() == "" {
			return fmt.Errorf("part %d: unknown type %q, want text, image, audio or video", i, part.Type)
		}
	}
	for i, c := range m.ToolCalls {
		if c.Name == "" {
			return fmt.Errorf("tool call %d: name is missing", i)
		}
	}
	return nil
}

// systemBlock writes the turn of thinking switch, system text and tools.
// system holds the system message or nothing.
func (p *prompt) systemBlock(system []Message, o Options) {
	p.special(markTurn)
	p.plain("system\n")
	if o.Thinking {
		p.special(markThink)
		p.plain("\n")
	}
	for _, m := range system {
		if m.Parts == nil {
			p.plain(pyStrip(m.Content))
		}
		for _, part := range m.Parts { // media have no text, but get the space
			p.plain(pyStrip(part.Text) + " ")
		}
	}
	for _, tool := range o.Tools {
		p.special(markTool)
		p.declaration(tool.function)
		p.special(markToolEnd)
	}
	p.special(markTurnEnd)
	p.plain("\n")
}

// turns walks the messages after the system block.
type turns struct {
	p        *prompt
	o        Options
	msgs     []Message
	lastUser int // index of the last user message, -1 without one

	previous Role // role of the message before that is no tool message, "" at first
	tail     tail // how the latest such message ended
}

// tail is what a message ended in, besides content.
type tail uint8

const (
	tailText tail = iota
	tailCalls
	tailResponses
)

// turn writes message i, which is no tool message, with its calls and the
// responses that follow it.
func (t *turns) turn(i int) error {
	m := &t.msgs[i]
	role := m.Role
	if role == Assistant {
		role = Model
	}
	if role != Model || t.previous != Assistant {
		t.p.special(markTurn)
		t.p.plain(string(role) + "\n")
	}
	if m.Reasoning != "" && (i > t.lastUser || t.o.PreserveThinking && len(m.ToolCalls) > 0) {
		t.p.special(markChannel)
		t.p.plain(emptyThought + m.Reasoning + "\n")
		t.p.special(markChannelEnd)
	}
	t.tail = tailText
	if err := t.calls(m); err != nil {
		return err
	}
	if err := t.responses(i); err != nil {
		return err
	}
	content := m.content(role)
	hasContent := pyStrip(join(content.segs)) != ""
	t.p.append(content)
	t.end(i, role, hasContent)
	t.previous = m.Role
	return nil
}

// calls writes the tool calls of m.
func (t *turns) calls(m *Message) error {
	for n, c := range m.ToolCalls {
		args, err := c.arguments()
		if err != nil {
			return fmt.Errorf("tool call %d (%s): %w", n, c.Name, err)
		}
		t.p.special(markCall)
		t.p.plain("call:" + c.Name)
		t.p.bareObject(args)
		t.p.special(markCallEnd)
		t.tail = tailCalls
	}
	return nil
}

// arguments parses the arguments of c, which must be an object, null or nothing.
func (c *ToolCall) arguments() (value, error) {
	if c.Arguments == nil {
		return value{}, nil
	}
	v, err := parseValue(c.Arguments)
	if err != nil {
		return value{}, fmt.Errorf("arguments: %w", err)
	}
	if v.kind != object && v.kind != null {
		return value{}, fmt.Errorf("arguments: want an object, got %v", v.kind)
	}
	return v, nil
}

// responses writes the answers to the calls of message i: those it carries
// itself, else the tool messages right behind it.
func (t *turns) responses(i int) error {
	m := &t.msgs[i]
	for n, r := range m.ToolResponses {
		v, err := parseResult(r.Response)
		if err != nil {
			return fmt.Errorf("tool response %d: %w", n, err)
		}
		name := r.Name
		if name == "" {
			name = unknownToolsName
		}
		t.p.response(name, v)
		t.tail = tailResponses
	}
	if len(m.ToolResponses) > 0 || len(m.ToolCalls) == 0 {
		return nil
	}
	for n := i + 1; n < len(t.msgs) && t.msgs[n].Role == ToolRole; n++ {
		if err := t.p.toolMessage(&t.msgs[n], m.ToolCalls); err != nil {
			return fmt.Errorf("tool message %d behind it: %w", n-i, err)
		}
		t.tail = tailResponses
	}
	return nil
}

// content is m's content as it stands in a turn of role.
func (m *Message) content(role Role) *prompt {
	p := &prompt{}
	trim := pyStrip
	if role == Model {
		trim = withoutThoughts
	}
	if m.Parts == nil {
		p.plain(trim(m.Content))
	}
	for _, part := range m.Parts {
		if mark := part.placeholder(); mark != "" {
			p.special(mark)
		} else {
			p.plain(trim(part.Text))
		}
	}
	p.flush()
	return p
}

// end closes the turn of message i, unless it goes on: calls wait for their
// responses, the next speaker is the assistant again, or the model is to speak
// on after responses.
func (t *turns) end(i int, role Role, hasContent bool) {
	next := Role("")
	for _, m := range t.msgs[i+1:] {
		if m.Role != ToolRole {
			next = m.Role
			break
		}
	}
	switch {
	case t.tail == tailCalls:
		t.p.special(markResponse)
	case role == Model && next == Assistant:
	case t.tail == tailResponses && !hasContent && next == "":
	default:
		t.p.special(markTurnEnd)
		t.p.plain("\n")
	}
}

// generation opens the place where the model is to go on: a new turn, or within
// a tool loop the running one.
func (t *turns) generation() {
	switch {
	case t.tail == tailText:
		t.p.special(markTurn)
		t.p.plain("model\n")
		if t.o.Template == Large && !t.o.Thinking {
			t.p.special(markChannel)
			t.p.plain(emptyThought)
			t.p.special(markChannelEnd)
		}
	case t.tail == tailResponses && t.o.Thinking:
		t.p.special(markChannel)
		t.p.plain(emptyThought)
	}
}
