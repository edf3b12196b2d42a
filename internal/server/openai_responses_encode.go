package server

import (
	"encoding/json"

	"github.com/plume-run/plume"
)

// response is the object that /v1/responses answers with, and that its events
// show growing.
type response struct {
	ID           string            `json:"id"`
	Object       string            `json:"object"`
	CreatedAt    int64             `json:"created_at"`
	Status       string            `json:"status"`
	Background   bool              `json:"background"`
	Error        *responseError    `json:"error"`
	Incomplete   *incomplete       `json:"incomplete_details"`
	Instructions *string           `json:"instructions"`
	MaxOutput    *int              `json:"max_output_tokens"`
	Model        string            `json:"model"`
	Output       []outputItem      `json:"output"`
	Parallel     bool              `json:"parallel_tool_calls"`
	Previous     *string           `json:"previous_response_id"`
	Reasoning    reasoningJSON     `json:"reasoning"`
	Store        bool              `json:"store"`
	Temperature  float32           `json:"temperature"`
	Text         textJSON          `json:"text"`
	ToolChoice   any               `json:"tool_choice"`
	Tools        []json.RawMessage `json:"tools"`
	TopLogprobs  int               `json:"top_logprobs"`
	TopP         float32           `json:"top_p"`
	Truncation   string            `json:"truncation"`
	Usage        *responseUsage    `json:"usage"`
	User         *string           `json:"user"`
	Metadata     json.RawMessage   `json:"metadata"`
}

type responseError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

type incomplete struct {
	Reason string `json:"reason"`
}

type reasoningJSON struct {
	Effort  *string `json:"effort"`
	Summary *string `json:"summary"`
}

type textJSON struct {
	Format json.RawMessage `json:"format"`
}

type responseUsage struct {
	Input        int           `json:"input_tokens"`
	InputDetails promptDetails `json:"input_tokens_details"`
	Output       int           `json:"output_tokens"`
	OutDetails   outputDetails `json:"output_tokens_details"`
	Total        int           `json:"total_tokens"`
}

// outputItem is one entry of "output". Which fields it has depends on the type:
// reasoning, message or function_call.
type outputItem struct {
	ID        string         `json:"id"`
	Type      string         `json:"type"`
	Status    string         `json:"status"`
	Role      string         `json:"role,omitempty"`
	Summary   *[]contentPart `json:"summary,omitempty"`
	Content   *[]contentPart `json:"content,omitempty"`
	CallID    string         `json:"call_id,omitempty"`
	Name      string         `json:"name,omitempty"`
	Arguments *string        `json:"arguments,omitempty"`
}

type contentPart struct {
	Type        string          `json:"type"`
	Text        string          `json:"text"`
	Annotations *[]string       `json:"annotations,omitempty"`
	Logprobs    *[]tokenLogprob `json:"logprobs,omitempty"`
}

// newResponse returns the object as it is before anything is generated.
func (s *Server) newResponse(q *responseRequest, r *plume.Request, model string) response {
	out := response{
		ID: s.newID("resp_"), Object: "response", CreatedAt: s.now().Unix(), Status: "in_progress",
		Instructions: q.Instructions, MaxOutput: q.MaxOutputTokens, Model: model, Output: []outputItem{},
		Parallel: q.Parallel == nil || *q.Parallel, Temperature: r.Sampling.Temperature, TopP: r.Sampling.TopP,
		Text: textJSON{json.RawMessage(`{"type":"text"}`)}, ToolChoice: "auto", Tools: q.Tools,
		TopLogprobs: max(0, r.Logprobs), Truncation: "disabled", Metadata: json.RawMessage(`{}`),
	}
	if q.TopP != nil {
		out.TopP = float32(*q.TopP)
	}
	if q.Text != nil && present(q.Text.Format) {
		out.Text.Format = q.Text.Format
	}
	if present(q.ToolChoice) {
		out.ToolChoice = q.ToolChoice
	}
	if out.Tools == nil {
		out.Tools = []json.RawMessage{}
	}
	if q.Reasoning != nil {
		out.Reasoning.Effort = optional(q.Reasoning.Effort)
	}
	if present(q.Metadata) {
		out.Metadata = q.Metadata
	}
	return out
}

// close fills in how the answer ended.
func (o *response) close(res *plume.Result, thoughts int) {
	u := res.Usage
	o.Usage = &responseUsage{u.Prompt, promptDetails{u.Cached}, u.Generated, outputDetails{thoughts}, u.Prompt + u.Generated}
	o.Status = "completed"
	if finishReason(res.Finish) == "length" {
		o.Status, o.Incomplete = "incomplete", &incomplete{"max_output_tokens"}
	}
}

// finish returns the whole object.
func (o response) finish(a answer, newID func(string) string, logprobs bool) any {
	o.close(&a.result, a.thoughts)
	if a.thinking != "" {
		o.Output = append(o.Output, reasoningItem(newID("rs_"), a.thinking, "completed"))
	}
	if a.text != "" || len(a.calls) == 0 {
		part := outputText(a.text)
		if logprobs {
			*part.Logprobs = tokenLogprobs(a.logprobs)
		}
		o.Output = append(o.Output, messageItem(newID("msg_"), o.Status, part))
	}
	for _, c := range a.calls {
		o.Output = append(o.Output, callItem(newID("fc_"), &c, string(c.Arguments), "completed"))
	}
	return o
}

func reasoningItem(id, text, status string) outputItem {
	content := []contentPart{}
	if text != "" {
		content = append(content, contentPart{Type: "reasoning_text", Text: text})
	}
	return outputItem{ID: id, Type: "reasoning", Status: status, Summary: &[]contentPart{}, Content: &content}
}

func outputText(text string) contentPart {
	return contentPart{Type: "output_text", Text: text, Annotations: &[]string{}, Logprobs: &[]tokenLogprob{}}
}

func messageItem(id, status string, parts ...contentPart) outputItem {
	content := append([]contentPart{}, parts...)
	return outputItem{ID: id, Type: "message", Status: status, Role: "assistant", Content: &content}
}

func callItem(id string, c *plume.ToolCall, args, status string) outputItem {
	return outputItem{ID: id, Type: "function_call", Status: status, CallID: c.ID, Name: c.Name, Arguments: &args}
}
