package server

import (
	"encoding/json"

	"github.com/plume-run/plume"
)

// chatStream writes chat.completion.chunk events: one with the role, one for
// each piece, one with the reason for the end, the usage if it was asked for,
// and [DONE].
type chatStream struct {
	out     *sink
	head    chatHead
	usage   bool
	choices []chatProgress
}

// chatProgress is how far one choice has come; of the answer only what usage
// is counted from is kept.
type chatProgress struct {
	begun  bool
	called int
	answer
}

type chatChunk struct {
	ID      string        `json:"id"`
	Object  string        `json:"object"`
	Created int64         `json:"created"`
	Model   string        `json:"model"`
	Choices []chunkChoice `json:"choices"`
	Usage   any           `json:"usage,omitempty"`
}

type chunkChoice struct {
	Index    int           `json:"index"`
	Delta    chatDelta     `json:"delta"`
	Logprobs *logprobsJSON `json:"logprobs,omitempty"`
	Finish   *string       `json:"finish_reason"`
}

type chatDelta struct {
	Role      string     `json:"role,omitempty"`
	Content   *string    `json:"content,omitempty"`
	Reasoning string     `json:"reasoning_content,omitempty"`
	ToolCalls []callJSON `json:"tool_calls,omitempty"`
}

func newChatStream(out *sink, head chatHead, n int, usage bool) *chatStream {
	return &chatStream{out: out, head: head, usage: usage, choices: make([]chatProgress, n)}
}

func (c *chatStream) begin() { c.out.start(typeSSE) }

func (c *chatStream) event(i int, ev plume.Event) {
	p := &c.choices[i]
	if !p.begun {
		p.begun = true
		empty := ""
		c.chunk(chunkChoice{Index: i, Delta: chatDelta{Role: "assistant", Content: &empty}})
	}
	choice := chunkChoice{Index: i}
	switch ev.Kind {
	case plume.EventText:
		choice.Delta.Content = &ev.Text
	case plume.EventThinking:
		choice.Delta.Reasoning = ev.Text
		p.thoughts++
	case plume.EventToolCall:
		at := p.called
		p.called++
		choice.Delta.ToolCalls = []callJSON{{
			Index: &at, ID: ev.Call.ID, Type: "function",
			Function: callFunction{ev.Call.Name, string(ev.Call.Arguments)},
		}}
	case plume.EventDone:
		p.result = *ev.Result
		finish := finishReason(ev.Result.Finish)
		choice.Finish = &finish
	}
	if c.head.logprobs && len(ev.Logprobs) > 0 {
		choice.Logprobs = newLogprobs(ev.Logprobs)
	}
	c.chunk(choice)
}

// chunk writes one piece of one choice. Where usage was asked for, all chunks
// but the last say null.
func (c *chatStream) chunk(choice chunkChoice) {
	var none any
	if c.usage {
		none = json.RawMessage("null")
	}
	c.object([]chunkChoice{choice}, none)
}

func (c *chatStream) object(choices []chunkChoice, u any) {
	c.out.event("", chatChunk{
		ID: c.head.id, Object: "chat.completion.chunk", Created: c.head.created, Model: c.head.model,
		Choices: choices, Usage: u,
	})
}

func (c *chatStream) ping() { c.out.raw(": waiting\n\n") }

func (c *chatStream) fail(e *apiError) { c.out.event("", openai.errors(e, "")) }

func (c *chatStream) end() {
	if c.usage {
		answers := make([]answer, len(c.choices))
		for i, p := range c.choices {
			answers[i] = p.answer
		}
		c.object([]chunkChoice{}, c.head.usage(answers))
	}
	c.out.raw("data: [DONE]\n\n")
}
