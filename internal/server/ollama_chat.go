package server

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/plume-run/plume"
)

// ollamaCommon are the fields that chat and generate share.
type ollamaCommon struct {
	Model       string          `json:"model"`
	Stream      *bool           `json:"stream"` // true when absent
	Format      json.RawMessage `json:"format"`
	Options     json.RawMessage `json:"options"`
	Think       json.RawMessage `json:"think"`
	Logprobs    bool            `json:"logprobs"`
	TopLogprobs *int            `json:"top_logprobs"`

	// The model is in memory as long as the server runs; KeepAlive, which unload is read
	// from, only decides what a request without a prompt is told. Conversations that do not fit are refused
	// instead of cut.
	KeepAlive json.RawMessage `json:"keep_alive"`
	unload    bool
	Truncate  ignored `json:"truncate"`
	Shift     ignored `json:"shift"`
}

// ollamaChatRequest is the body of POST /api/chat.
type ollamaChatRequest struct {
	ollamaCommon
	Messages []json.RawMessage `json:"messages"`
	Tools    []json.RawMessage `json:"tools"`
}

type ollamaMessage struct {
	Role       string            `json:"role"`
	Content    string            `json:"content"`
	Thinking   string            `json:"thinking"`
	Images     []json.RawMessage `json:"images"`
	ToolCalls  []json.RawMessage `json:"tool_calls"`
	ToolName   string            `json:"tool_name"`
	ToolCallID string            `json:"tool_call_id"`
	Name       string            `json:"name"`
}

func (s *Server) decodeOllamaChat(body []byte) (*job, *apiError) {
	q, err := decode[ollamaChatRequest]("", body)
	if err != nil {
		return nil, err
	}
	r := &plume.Request{}
	model, err := s.ollamaBase(&q.ollamaCommon, r)
	if err != nil {
		return nil, err
	}
	head := ollamaHead{s: s, model: model, begun: s.now(), chat: true, logprobs: q.Logprobs}
	if len(q.Messages) == 0 {
		return head.loaded(q.unload), nil
	}
	if r.Messages, err = ollamaMessages(q.Messages); err != nil {
		return nil, err
	}
	if r.Tools, err = openaiTools("tools", q.Tools); err != nil {
		return nil, err
	}
	return head.job(r, q.Stream), nil
}

// ollamaBase reads the fields that both endpoints have.
func (s *Server) ollamaBase(q *ollamaCommon, r *plume.Request) (string, *apiError) {
	model, err := s.named(q.Model)
	step := func(f func() *apiError) {
		if err == nil {
			err = f()
		}
	}
	step(func() *apiError {
		if q.Model == "" {
			return refuse("model", "missing")
		}
		return nil
	})
	step(func() (e *apiError) { q.unload, e = unloads(q.KeepAlive); return })
	step(func() *apiError { return s.ollamaApply(q.Options, r) })
	step(func() (e *apiError) { r.Thinking, e = ollamaThink(q.Think); return })
	step(func() (e *apiError) { r.Format, e = ollamaFormat(q.Format); return })
	step(func() (e *apiError) { r.Logprobs, e = logprobCount(q.Logprobs, q.TopLogprobs); return })
	return model, err
}

// ollamaMessages reads a conversation. A tool's answer may name the tool
// instead of the call, or nothing: clients drop both fields.
func ollamaMessages(raw []json.RawMessage) ([]plume.Message, *apiError) {
	out := make([]plume.Message, len(raw))
	for i, item := range raw {
		at := index("messages", i)
		m, err := decode[ollamaMessage](at, item)
		if err != nil {
			return nil, err
		}
		if len(m.Images) > 0 {
			return nil, unsupported(join(at, "images"), "this server reads text only")
		}
		if m.Role == "" {
			return nil, refuse(join(at, "role"), "missing")
		}
		if err := oneOf(join(at, "role"), m.Role, "system", "user", "assistant", "tool"); err != nil {
			return nil, err
		}
		msg := plume.Message{Role: plume.Role(m.Role), Content: m.Content, Reasoning: m.Thinking, ToolCallID: m.ToolCallID, Name: m.ToolName}
		if msg.Name == "" {
			msg.Name = m.Name
		}
		if msg.ToolCalls, err = ollamaCalls(join(at, "tool_calls"), m.ToolCalls); err != nil {
			return nil, err
		}
		out[i] = msg
	}
	return out, linkCalls(out)
}

// linkCalls gives ids to calls and answers that have none: an answer belongs to
// the first call of its name, in the turn before it, that has no answer yet; without
// a name, to the first of all. One that names a tool which was not called is taken as
// it is, as by the original.
func linkCalls(msgs []plume.Message) *apiError {
	var calls callsMade
	var open []*plume.ToolCall
	for i := range msgs {
		m := &msgs[i]
		if m.Role == plume.RoleTool {
			if err := calls.answered(index("messages", i), m.ToolCallID); err != nil {
				return err
			}
			if m.ToolCallID == "" {
				m.ToolCallID, open = claim(open, m.Name)
			}
			continue
		}
		calls.turn()
		open = open[:0]
		for k := range m.ToolCalls {
			c := &m.ToolCalls[k]
			if c.ID == "" {
				c.ID = fmt.Sprintf("message %d call %d", i, k)
			}
			calls.made(c.ID)
			open = append(open, c)
		}
	}
	return nil
}

// claim returns the id of the first call of a tool (of any, without a name) among
// those without an answer, and the others.
func claim(open []*plume.ToolCall, name string) (string, []*plume.ToolCall) {
	for k, c := range open {
		if name == "" || c.Name == name {
			return c.ID, slices.Delete(open, k, k+1)
		}
	}
	return "unknown", open
}

func ollamaCalls(path string, raw []json.RawMessage) ([]plume.ToolCall, *apiError) {
	var out []plume.ToolCall
	for i, item := range raw {
		at := index(path, i)
		c, err := decode[struct {
			ID       string  `json:"id"`
			Type     ignored `json:"type"`
			Function struct {
				Index     ignored         `json:"index"`
				Name      string          `json:"name"`
				Arguments json.RawMessage `json:"arguments"`
			} `json:"function"`
		}](at, item)
		if err != nil {
			return nil, err
		}
		f := c.Function
		switch {
		case f.Name == "":
			return nil, refuse(join(at, "function.name"), "missing")
		case present(f.Arguments) && !isKind(f.Arguments, '{'):
			return nil, refuse(join(at, "function.arguments"), "want an object")
		}
		out = append(out, plume.ToolCall{ID: c.ID, Name: f.Name, Arguments: f.Arguments})
	}
	return out, nil
}

// ollamaHead is what all lines of one answer have in common.
type ollamaHead struct {
	s        *Server
	model    string
	begun    time.Time
	chat     bool // else generate
	logprobs bool
}

// ollamaLine is one line of an answer, or all of it.
type ollamaLine struct {
	Model     string             `json:"model"`
	CreatedAt string             `json:"created_at"`
	Message   *ollamaMessageJSON `json:"message,omitempty"`  // chat
	Response  *string            `json:"response,omitempty"` // generate
	Thinking  string             `json:"thinking,omitempty"` // generate
	Logprobs  []tokenLogprob     `json:"logprobs,omitempty"`
	Done      bool               `json:"done"`
	Reason    string             `json:"done_reason,omitempty"`
	*ollamaFigures
}

type ollamaMessageJSON struct {
	Role      string           `json:"role"`
	Content   string           `json:"content"`
	Thinking  string           `json:"thinking,omitempty"`
	ToolCalls []ollamaCallJSON `json:"tool_calls,omitempty"`
}

type ollamaCallJSON struct {
	ID       string         `json:"id"`
	Function ollamaFunction `json:"function"`
}

type ollamaFunction struct {
	Index     int             `json:"index"`
	Name      string          `json:"name"`
	Arguments json.RawMessage `json:"arguments"`
}

// ollamaFigures close an answer; durations are nanoseconds.
type ollamaFigures struct {
	Total       int64 `json:"total_duration"`
	Load        int64 `json:"load_duration"`
	PromptCount int   `json:"prompt_eval_count"`
	PromptTime  int64 `json:"prompt_eval_duration"`
	EvalCount   int   `json:"eval_count"`
	EvalTime    int64 `json:"eval_duration"`
}

// job makes the job of one request.
func (h ollamaHead) job(r *plume.Request, stream *bool) *job {
	j := &job{model: h.model, requests: []plume.Request{*r}, prefix: "call_"}
	if stream == nil || *stream {
		j.stream = func(out *sink) streamer { return &ollamaStream{out: out, head: h} }
	} else {
		j.whole = func(answers []answer) any { return h.encode(answers[0]) }
	}
	return j
}

// line returns a line with text.
func (h ollamaHead) line(text, thinking string, calls []ollamaCallJSON) ollamaLine {
	l := ollamaLine{Model: h.model, CreatedAt: h.s.now().UTC().Format(time.RFC3339Nano)}
	if h.chat {
		l.Message = &ollamaMessageJSON{Role: "assistant", Content: text, Thinking: thinking, ToolCalls: calls}
	} else {
		l.Response, l.Thinking = &text, thinking
	}
	return l
}

// close fills in how the answer ended.
func (h ollamaHead) close(l ollamaLine, res *plume.Result) ollamaLine {
	l.Done, l.Reason = true, "stop"
	if finishReason(res.Finish) == "length" {
		l.Reason = "length"
	}
	t := res.Timings
	l.ollamaFigures = &ollamaFigures{
		Total: h.s.now().Sub(h.begun).Nanoseconds(), PromptCount: res.Usage.Prompt, PromptTime: t.Prefill.Nanoseconds(),
		EvalCount: res.Usage.Generated, EvalTime: t.Decode.Nanoseconds(),
	}
	return l
}

func (h ollamaHead) encode(a answer) any {
	var calls []ollamaCallJSON
	for i, c := range a.calls {
		calls = append(calls, ollamaCall(i, &c))
	}
	l := h.line(a.text, a.thinking, calls)
	if h.logprobs {
		l.Logprobs = tokenLogprobs(a.logprobs)
	}
	return h.close(l, &a.result)
}

func ollamaCall(i int, c *plume.ToolCall) ollamaCallJSON {
	args := c.Arguments
	if len(args) == 0 {
		args = json.RawMessage("{}")
	}
	return ollamaCallJSON{c.ID, ollamaFunction{i, c.Name, args}}
}

// ollamaStream writes one line for each piece and one that closes.
type ollamaStream struct {
	out   *sink
	head  ollamaHead
	calls int
}

func (c *ollamaStream) begin() { c.out.start(typeNDJSON) }

func (c *ollamaStream) event(_ int, ev plume.Event) {
	var l ollamaLine
	switch ev.Kind {
	case plume.EventText:
		l = c.head.line(ev.Text, "", nil)
		if c.head.logprobs {
			l.Logprobs = tokenLogprobs(ev.Logprobs)
		}
	case plume.EventThinking:
		l = c.head.line("", ev.Text, nil)
	case plume.EventToolCall:
		l = c.head.line("", "", []ollamaCallJSON{ollamaCall(c.calls, ev.Call)})
		c.calls++
	case plume.EventDone:
		l = c.head.close(c.head.line("", "", nil), ev.Result)
	}
	c.out.line(l)
}

// ping sends a line without text: NDJSON has no comments.
func (c *ollamaStream) ping() { c.out.line(c.head.line("", "", nil)) }

func (c *ollamaStream) fail(e *apiError) { c.out.line(ollama.errors(e, "")) }

func (c *ollamaStream) end() {}
