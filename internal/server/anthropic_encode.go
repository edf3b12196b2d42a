package server

import (
	"encoding/json"

	"github.com/plume-run/plume"
)

// messageHead is what an answer begins with.
type messageHead struct {
	id    string
	model string
}

type messageJSON struct {
	ID           string         `json:"id"`
	Type         string         `json:"type"`
	Role         string         `json:"role"`
	Model        string         `json:"model"`
	Content      []blockJSON    `json:"content"`
	StopReason   *string        `json:"stop_reason"`
	StopSequence *string        `json:"stop_sequence"`
	Usage        anthropicUsage `json:"usage"`
}

// blockJSON is one block of an answer; which fields it has depends on the type.
type blockJSON struct {
	Type      string          `json:"type"`
	Text      *string         `json:"text,omitempty"`
	Thinking  *string         `json:"thinking,omitempty"`
	Signature *string         `json:"signature,omitempty"`
	ID        string          `json:"id,omitempty"`
	Name      string          `json:"name,omitempty"`
	Input     json.RawMessage `json:"input,omitempty"`
}

// anthropicUsage counts cached tokens apart from the others.
type anthropicUsage struct {
	Input         int `json:"input_tokens"`
	CacheCreation int `json:"cache_creation_input_tokens"`
	CacheRead     int `json:"cache_read_input_tokens"`
	Output        int `json:"output_tokens"`
}

func newAnthropicUsage(u plume.Usage) anthropicUsage {
	return anthropicUsage{Input: u.Prompt - u.Cached, CacheRead: u.Cached, Output: u.Generated}
}

func (h messageHead) object() messageJSON {
	return messageJSON{ID: h.id, Type: "message", Role: "assistant", Model: h.model, Content: []blockJSON{}}
}

func (h messageHead) encode(answers []answer) any {
	a := answers[0]
	out := h.object()
	if a.thinking != "" {
		out.Content = append(out.Content, thinkingBlock(a.thinking))
	}
	if a.text != "" {
		out.Content = append(out.Content, textBlock(a.text))
	}
	for _, c := range a.calls {
		out.Content = append(out.Content, blockJSON{Type: "tool_use", ID: c.ID, Name: c.Name, Input: c.Arguments})
	}
	out.StopReason, out.StopSequence = stopReason(&a.result)
	out.Usage = newAnthropicUsage(a.result.Usage)
	return out
}

func textBlock(text string) blockJSON { return blockJSON{Type: "text", Text: &text} }

// thinkingBlock has an empty signature: thoughts are not signed, and not
// checked when they come back.
func thinkingBlock(text string) blockJSON {
	none := ""
	return blockJSON{Type: "thinking", Thinking: &text, Signature: &none}
}

// stopReason is how an answer ended, and the stop string if that was it.
func stopReason(res *plume.Result) (reason, sequence *string) {
	switch res.Finish {
	case plume.FinishToolCalls:
		return optional("tool_use"), nil
	case plume.FinishLength:
		return optional("max_tokens"), nil
	case plume.FinishContext:
		return optional("model_context_window_exceeded"), nil
	}
	if res.Stop != "" {
		return optional("stop_sequence"), &res.Stop
	}
	return optional("end_turn"), nil
}
