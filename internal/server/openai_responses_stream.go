package server

import (
	"strings"

	"github.com/plume-run/plume"
)

// responseStream writes the events of /v1/responses: the object at the begin
// and the end, and between them each output item as it opens, grows and closes.
type responseStream struct {
	out      *sink
	head     response
	newID    func(prefix string) string
	logprobs bool
	sequence int
	thoughts int // pieces so far

	item *outputItem // the one that grows, nil: none
	text strings.Builder
	lps  []tokenLogprob
}

// responseEvent has the fields of all events; which are set depends on the type.
type responseEvent struct {
	Type         string          `json:"type"`
	Sequence     int             `json:"sequence_number"`
	Response     *response       `json:"response,omitempty"`
	OutputIndex  *int            `json:"output_index,omitempty"`
	Item         *outputItem     `json:"item,omitempty"`
	ItemID       string          `json:"item_id,omitempty"`
	ContentIndex *int            `json:"content_index,omitempty"`
	Part         *contentPart    `json:"part,omitempty"`
	Delta        string          `json:"delta,omitempty"`
	Text         *string         `json:"text,omitempty"`
	Logprobs     *[]tokenLogprob `json:"logprobs,omitempty"`
	Name         string          `json:"name,omitempty"`
	Arguments    *string         `json:"arguments,omitempty"`
	Code         *string         `json:"code,omitempty"`
	Message      string          `json:"message,omitempty"`
	Param        *string         `json:"param,omitempty"`
}

func (c *responseStream) send(ev responseEvent) {
	ev.Sequence = c.sequence
	c.sequence++
	c.out.event(ev.Type, ev)
}

func (c *responseStream) begin() {
	c.out.start(typeSSE)
	c.send(responseEvent{Type: "response.created", Response: &c.head})
	c.send(responseEvent{Type: "response.in_progress", Response: &c.head})
}

func (c *responseStream) event(_ int, ev plume.Event) {
	switch ev.Kind {
	case plume.EventThinking:
		c.open("reasoning", "rs_")
		c.thoughts++
		c.text.WriteString(ev.Text)
		c.send(c.within(responseEvent{Type: "response.reasoning_text.delta", Delta: ev.Text}))
	case plume.EventText:
		c.open("message", "msg_")
		c.text.WriteString(ev.Text)
		fresh := []tokenLogprob{}
		if c.logprobs {
			fresh = tokenLogprobs(ev.Logprobs)
			c.lps = append(c.lps, fresh...)
		}
		c.send(c.within(responseEvent{Type: "response.output_text.delta", Delta: ev.Text, Logprobs: &fresh}))
	case plume.EventToolCall:
		c.close("completed")
		c.call(ev.Call)
	case plume.EventDone:
		c.done(ev.Result)
	}
}

// done closes the last item and keeps the figures; end writes the object.
func (c *responseStream) done(res *plume.Result) {
	if c.item == nil && len(c.head.Output) == 0 {
		c.open("message", "msg_")
	}
	c.head.close(res, c.thoughts)
	c.close(c.head.Status)
}

// open begins an item of a type, unless that is what grows already.
func (c *responseStream) open(typ, prefix string) {
	if c.item != nil && c.item.Type == typ {
		return
	}
	c.close("completed")
	var item outputItem
	part := outputText("")
	if typ == "reasoning" {
		item = reasoningItem(c.newID(prefix), "", "in_progress")
		part = contentPart{Type: "reasoning_text"}
	} else {
		item = messageItem(c.newID(prefix), "in_progress")
	}
	c.item = &item
	c.send(responseEvent{Type: "response.output_item.added", OutputIndex: c.index(), Item: &item})
	c.send(c.within(responseEvent{Type: "response.content_part.added", Part: &part}))
}

// within places an event inside the item that grows.
func (c *responseStream) within(ev responseEvent) responseEvent {
	zero := 0
	ev.ItemID, ev.OutputIndex, ev.ContentIndex = c.item.ID, c.index(), &zero
	return ev
}

func (c *responseStream) index() *int {
	n := len(c.head.Output)
	return &n
}

// close ends the item that grows, if one does.
func (c *responseStream) close(status string) {
	if c.item == nil {
		return
	}
	text := c.text.String()
	part := outputText(text)
	done := responseEvent{Type: "response.output_text.done", Text: &text}
	if c.item.Type == "reasoning" {
		part = contentPart{Type: "reasoning_text", Text: text}
		done.Type = "response.reasoning_text.done"
	} else {
		lps := append([]tokenLogprob{}, c.lps...)
		part.Logprobs, done.Logprobs = &lps, &lps
	}
	c.send(c.within(done))
	c.send(c.within(responseEvent{Type: "response.content_part.done", Part: &part}))
	c.item.Status, c.item.Content = status, &[]contentPart{part}
	c.send(responseEvent{Type: "response.output_item.done", OutputIndex: c.index(), Item: c.item})
	c.head.Output = append(c.head.Output, *c.item)
	c.item, c.lps = nil, nil
	c.text.Reset()
}

// call writes a whole call, which is how the engine gives them.
func (c *responseStream) call(call *plume.ToolCall) {
	args := string(call.Arguments)
	id := c.newID("fc_")
	item := callItem(id, call, "", "in_progress")
	c.send(responseEvent{Type: "response.output_item.added", OutputIndex: c.index(), Item: &item})
	c.send(responseEvent{Type: "response.function_call_arguments.delta", ItemID: id, OutputIndex: c.index(), Delta: args})
	c.send(responseEvent{Type: "response.function_call_arguments.done", ItemID: id, OutputIndex: c.index(), Name: call.Name, Arguments: &args})
	item = callItem(id, call, args, "completed")
	c.send(responseEvent{Type: "response.output_item.done", OutputIndex: c.index(), Item: &item})
	c.head.Output = append(c.head.Output, item)
}

func (c *responseStream) ping() { c.out.raw(": waiting\n\n") }

func (c *responseStream) fail(e *apiError) {
	code := e.code
	if code == "" {
		code = kinds[e.kind].openai
	}
	c.head.Status, c.head.Error = "failed", &responseError{code, e.Error()}
	c.send(responseEvent{Type: "error", Code: &code, Message: e.Error(), Param: optional(clip(e.param, maxParam))})
	c.send(responseEvent{Type: "response.failed", Response: &c.head})
}

func (c *responseStream) end() {
	c.send(responseEvent{Type: "response." + c.head.Status, Response: &c.head})
}
