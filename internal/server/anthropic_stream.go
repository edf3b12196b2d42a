package server

import (
	"encoding/json"

	"github.com/plume-run/plume"
)

// messageStream writes the events of /v1/messages: the message without content,
// each block as it opens, grows and closes, and how the message ended.
type messageStream struct {
	out    *sink
	head   messageHead
	prompt int    // tokens
	blocks int    // that are closed
	open   string // type of the one that grows, "" when none does
	last   *plume.Result
}

type anthropicEvent struct {
	Type    string          `json:"type"`
	Message *messageJSON    `json:"message,omitempty"`
	Index   *int            `json:"index,omitempty"`
	Block   *blockJSON      `json:"content_block,omitempty"`
	Delta   any             `json:"delta,omitempty"`
	Usage   *anthropicUsage `json:"usage,omitempty"`
}

// blockDelta is what a block grows by.
type blockDelta struct {
	Type      string  `json:"type"`
	Text      *string `json:"text,omitempty"`
	Thinking  *string `json:"thinking,omitempty"`
	Signature *string `json:"signature,omitempty"`
	JSON      *string `json:"partial_json,omitempty"`
}

// endDelta is how a message ended.
type endDelta struct {
	StopReason   *string `json:"stop_reason"`
	StopSequence *string `json:"stop_sequence"`
}

func (c *messageStream) send(ev anthropicEvent) { c.out.event(ev.Type, ev) }

func (c *messageStream) begin() {
	c.out.start(typeSSE)
	m := c.head.object()
	m.Usage.Input = c.prompt // how much of it was cached is known at the end
	c.send(anthropicEvent{Type: "message_start", Message: &m})
	c.ping()
}

func (c *messageStream) event(_ int, ev plume.Event) {
	switch ev.Kind {
	case plume.EventThinking:
		c.start("thinking", thinkingBlock(""))
		c.delta(blockDelta{Type: "thinking_delta", Thinking: &ev.Text})
	case plume.EventText:
		c.start("text", textBlock(""))
		c.delta(blockDelta{Type: "text_delta", Text: &ev.Text})
	case plume.EventToolCall:
		c.close()
		c.start("tool_use", blockJSON{Type: "tool_use", ID: ev.Call.ID, Name: ev.Call.Name, Input: json.RawMessage("{}")})
		args := string(ev.Call.Arguments)
		c.delta(blockDelta{Type: "input_json_delta", JSON: &args})
		c.close()
	case plume.EventDone:
		c.close()
		c.last = ev.Result
	}
}

// start opens a block, unless one of that type grows already.
func (c *messageStream) start(typ string, b blockJSON) {
	if c.open == typ {
		return
	}
	c.close()
	c.open = typ
	c.send(anthropicEvent{Type: "content_block_start", Index: c.index(), Block: &b})
}

func (c *messageStream) delta(d blockDelta) {
	c.send(anthropicEvent{Type: "content_block_delta", Index: c.index(), Delta: d})
}

// close ends the block that grows. A thought is signed, with nothing, because
// clients wait for it.
func (c *messageStream) close() {
	if c.open == "" {
		return
	}
	if c.open == "thinking" {
		none := ""
		c.delta(blockDelta{Type: "signature_delta", Signature: &none})
	}
	c.send(anthropicEvent{Type: "content_block_stop", Index: c.index()})
	c.open = ""
	c.blocks++
}

func (c *messageStream) index() *int {
	n := c.blocks
	return &n
}

func (c *messageStream) ping() { c.send(anthropicEvent{Type: "ping"}) }

func (c *messageStream) fail(e *apiError) { c.out.event("error", anthropic.errors(e, "")) }

func (c *messageStream) end() {
	reason, sequence := stopReason(c.last)
	u := newAnthropicUsage(c.last.Usage)
	c.send(anthropicEvent{Type: "message_delta", Delta: endDelta{reason, sequence}, Usage: &u})
	c.send(anthropicEvent{Type: "message_stop"})
}
