package server

import (
	"encoding/json"

	"github.com/plume-run/plume"
)

// responseRequest is the body of POST /v1/responses. Nothing is stored, so
// whatever refers to an earlier answer is refused.
type responseRequest struct {
	Model        string          `json:"model"`
	Input        json.RawMessage `json:"input"`
	Instructions *string         `json:"instructions"`
	openaiSampling
	MaxOutputTokens *int              `json:"max_output_tokens"`
	Stream          bool              `json:"stream"`
	StreamOptions   *streamOptions    `json:"stream_options"`
	TopLogprobs     *int              `json:"top_logprobs"`
	Include         []string          `json:"include"`
	Text            *responseText     `json:"text"`
	Reasoning       *responseReason   `json:"reasoning"`
	Tools           []json.RawMessage `json:"tools"`
	ToolChoice      json.RawMessage   `json:"tool_choice"`
	Parallel        *bool             `json:"parallel_tool_calls"`
	Metadata        json.RawMessage   `json:"metadata"`

	// Refused when they ask for something.
	Previous          *string         `json:"previous_response_id"`
	Conversation      json.RawMessage `json:"conversation"`
	Background        bool            `json:"background"`
	Prompt            json.RawMessage `json:"prompt"`
	Truncation        string          `json:"truncation"`
	MaxToolCalls      *int            `json:"max_tool_calls"`
	ContextManagement json.RawMessage `json:"context_management"`
	Moderation        json.RawMessage `json:"moderation"`

	User                 ignored `json:"user"`
	Store                ignored `json:"store"`
	ServiceTier          ignored `json:"service_tier"`
	SafetyIdentifier     ignored `json:"safety_identifier"`
	PromptCacheKey       ignored `json:"prompt_cache_key"`
	PromptCacheOptions   ignored `json:"prompt_cache_options"`
	PromptCacheRetention ignored `json:"prompt_cache_retention"`
}

type responseText struct {
	Format    json.RawMessage `json:"format"`
	Verbosity ignored         `json:"verbosity"`
}

type responseReason struct {
	Effort          string  `json:"effort"`
	Summary         ignored `json:"summary"`
	GenerateSummary ignored `json:"generate_summary"`
}

func (s *Server) decodeResponse(body []byte) (*job, *apiError) {
	q, err := decode[responseRequest]("", body)
	if err != nil {
		return nil, err
	}
	if err := q.refused(); err != nil {
		return nil, err
	}
	model, err := s.named(q.Model)
	if err != nil {
		return nil, err
	}
	r, err := s.responsePrompt(q)
	if err != nil {
		return nil, err
	}
	j := &job{model: model, requests: []plume.Request{*r}, prefix: "call_", oneCall: q.Parallel != nil && !*q.Parallel}
	head := s.newResponse(q, r, model)
	if q.Stream {
		j.stream = func(out *sink) streamer {
			return &responseStream{out: out, head: head, newID: s.newID, logprobs: r.Logprobs != 0}
		}
	} else {
		j.whole = func(answers []answer) any { return head.finish(answers[0], s.newID, r.Logprobs != 0) }
	}
	return j, nil
}

// refused says what a request asks for that is not to be had.
func (q *responseRequest) refused() *apiError {
	const stateless = "this server keeps no conversations: send the whole conversation as input"
	switch {
	case q.Previous != nil && *q.Previous != "":
		return unsupported("previous_response_id", stateless)
	case present(q.Conversation):
		return unsupported("conversation", stateless)
	case present(q.Prompt):
		return unsupported("prompt", "this server keeps no prompts: send input")
	case q.Background:
		return unsupported("background", stateless)
	case q.Truncation != "" && q.Truncation != "disabled":
		return unsupported("truncation", "%s: conversations are never cut behind your back", quote(q.Truncation))
	case q.MaxToolCalls != nil:
		return unsupported("max_tool_calls", "this server has no tools of its own")
	case present(q.ContextManagement):
		return unsupported("context_management", "conversations are never cut behind your back")
	case present(q.Moderation):
		return unsupported("moderation", "not supported")
	case q.StreamOptions != nil && !q.Stream:
		return refuse("stream_options", "needs stream to be true")
	}
	return nil
}

// responsePrompt turns the fields that reach the model into a request.
func (s *Server) responsePrompt(q *responseRequest) (*plume.Request, *apiError) {
	r := &plume.Request{}
	var err *apiError
	step := func(f func() *apiError) {
		if err == nil {
			err = f()
		}
	}
	step(func() (e *apiError) { r.Messages, e = responseInput(q.Input); return })
	step(func() (e *apiError) { r.Sampling, e = q.apply(s.opt.Model.Sampling); return })
	step(func() (e *apiError) { r.Tools, e = responseTools(q.Tools); return })
	step(func() (e *apiError) { r.ToolChoice, e = toolChoice(q.ToolChoice, r.Tools); return })
	step(func() (e *apiError) { r.MaxTokens, e = s.maxTokens("max_output_tokens", q.MaxOutputTokens); return })
	step(func() (e *apiError) { r.Logprobs, e = q.logprobs(); return })
	if q.Text != nil {
		step(func() (e *apiError) { r.Format, e = responseFormat("text.format", q.Text.Format); return })
	}
	if q.Reasoning != nil {
		step(func() (e *apiError) { r.Thinking, e = reasons("reasoning.effort", q.Reasoning.Effort); return })
	}
	if err == nil && q.Instructions != nil && *q.Instructions != "" {
		r.Messages = append([]plume.Message{plume.SystemMessage(*q.Instructions)}, r.Messages...)
	}
	return r, err
}

// logprobs reads what "include" and top_logprobs ask for. Of the rest of
// "include", encrypted thoughts are harmless to ask for: ours are not.
func (q *responseRequest) logprobs() (int, *apiError) {
	on := false
	for i, what := range q.Include {
		switch what {
		case "message.output_text.logprobs":
			on = true
		case "reasoning.encrypted_content":
		default:
			return 0, unsupported(index("include", i), "%s: not supported", quote(what))
		}
	}
	if q.TopLogprobs != nil && *q.TopLogprobs > 0 {
		on = true
	}
	return logprobCount(on, q.TopLogprobs)
}

// responseTools reads declarations that have the function's fields beside the type.
func responseTools(raw []json.RawMessage) ([]plume.Tool, *apiError) {
	functions := make([]toolFunction, len(raw))
	for i, item := range raw {
		at := index("tools", i)
		if err := functionType(at, item); err != nil {
			return nil, err
		}
		t, err := decode[struct {
			Type string `json:"type"`
			toolFunction
			Defer ignored `json:"defer_loading"`
		}](at, item)
		if err != nil {
			return nil, err
		}
		functions[i] = t.toolFunction
	}
	return declare("tools", functions)
}
