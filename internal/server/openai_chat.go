package server

import (
	"encoding/json"

	"github.com/plume-run/plume"
)

// chatRequest is the body of POST /v1/chat/completions.
type chatRequest struct {
	Model    string            `json:"model"`
	Messages []json.RawMessage `json:"messages"`
	openaiSampling
	MaxTokens           *int            `json:"max_tokens"`
	MaxCompletionTokens *int            `json:"max_completion_tokens"`
	N                   *int            `json:"n"`
	Stop                json.RawMessage `json:"stop"`
	Stream              bool            `json:"stream"`
	StreamOptions       *streamOptions  `json:"stream_options"`
	Logprobs            bool            `json:"logprobs"`
	TopLogprobs         *int            `json:"top_logprobs"`
	Report              bool            `json:"plume_report"`

	Tools             []json.RawMessage `json:"tools"`
	ToolChoice        json.RawMessage   `json:"tool_choice"`
	ParallelToolCalls *bool             `json:"parallel_tool_calls"`
	ResponseFormat    json.RawMessage   `json:"response_format"`
	ReasoningEffort   string            `json:"reasoning_effort"`
	TemplateOptions   *templateOptions  `json:"chat_template_kwargs"`

	// Refused when they ask for something.
	Modalities   []string        `json:"modalities"`
	LogitBias    map[string]any  `json:"logit_bias"`
	Audio        json.RawMessage `json:"audio"`
	Functions    json.RawMessage `json:"functions"`
	FunctionCall json.RawMessage `json:"function_call"`
	WebSearch    json.RawMessage `json:"web_search_options"`
	Moderation   json.RawMessage `json:"moderation"`

	openaiIgnored
}

// openaiIgnored are fields about accounts, storage and caches of the original
// service, and hints.
type openaiIgnored struct {
	User                 ignored `json:"user"`
	Metadata             ignored `json:"metadata"`
	Store                ignored `json:"store"`
	ServiceTier          ignored `json:"service_tier"`
	SafetyIdentifier     ignored `json:"safety_identifier"`
	PromptCacheKey       ignored `json:"prompt_cache_key"`
	PromptCacheOptions   ignored `json:"prompt_cache_options"`
	PromptCacheRetention ignored `json:"prompt_cache_retention"`
	Prediction           ignored `json:"prediction"`
	Verbosity            ignored `json:"verbosity"`
}

type streamOptions struct {
	IncludeUsage       bool    `json:"include_usage"`
	IncludeObfuscation ignored `json:"include_obfuscation"`
}

// templateOptions is how other local servers switch thinking.
type templateOptions struct {
	EnableThinking *bool `json:"enable_thinking"`
}

func (s *Server) decodeChat(body []byte) (*job, *apiError) {
	q, err := decode[chatRequest]("", body)
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
	r, err := s.chatPrompt(q)
	if err != nil {
		return nil, err
	}
	n := 1
	if q.N != nil {
		n = *q.N
	}
	if err := within("n", &n, 1, s.opt.MaxChoices); err != nil {
		return nil, err
	}
	j := &job{
		model: model, requests: choices(*r, n), prefix: "call_",
		oneCall: q.ParallelToolCalls != nil && !*q.ParallelToolCalls,
	}
	head := chatHead{s.newID("chatcmpl-"), s.now().Unix(), model, q.Logprobs, q.Report}
	if q.Stream {
		withUsage := q.Report || q.StreamOptions != nil && q.StreamOptions.IncludeUsage
		j.stream = func(out *sink) streamer { return newChatStream(out, head, n, withUsage) }
	} else {
		j.whole = head.encode
	}
	return j, nil
}

// refused says what a request asks for that is not to be had.
func (q *chatRequest) refused() *apiError {
	for _, m := range q.Modalities {
		if m != "text" {
			return unsupported("modalities", "%s: answers are text", quote(m))
		}
	}
	switch {
	case len(q.LogitBias) > 0:
		return unsupported("logit_bias", "not supported")
	case present(q.Audio):
		return unsupported("audio", "answers are text")
	case present(q.Functions):
		return unsupported("functions", "functions have become tools: send tools")
	case present(q.FunctionCall):
		return unsupported("function_call", "functions have become tools: send tool_choice")
	case present(q.WebSearch):
		return unsupported("web_search_options", "this server searches nothing")
	case present(q.Moderation):
		return unsupported("moderation", "not supported")
	case q.StreamOptions != nil && !q.Stream:
		return refuse("stream_options", "needs stream to be true")
	}
	return nil
}

// chatPrompt turns the fields that reach the model into a request.
func (s *Server) chatPrompt(q *chatRequest) (*plume.Request, *apiError) {
	r := &plume.Request{}
	var err *apiError
	step := func(f func() *apiError) {
		if err == nil {
			err = f()
		}
	}
	step(func() (e *apiError) { r.Messages, e = openaiMessages("messages", q.Messages); return })
	step(func() (e *apiError) { r.Sampling, e = q.apply(s.opt.Model.Sampling); return })
	step(func() (e *apiError) { r.Stop, e = stopStrings("stop", q.Stop); return })
	step(func() (e *apiError) { r.Tools, e = openaiTools("tools", q.Tools); return })
	step(func() (e *apiError) { r.ToolChoice, e = toolChoice(q.ToolChoice, r.Tools); return })
	step(func() (e *apiError) { r.Format, e = responseFormat("response_format", q.ResponseFormat); return })
	step(func() (e *apiError) { r.Thinking, e = reasons("reasoning_effort", q.ReasoningEffort); return })
	step(func() (e *apiError) { r.Logprobs, e = logprobCount(q.Logprobs, q.TopLogprobs); return })
	step(func() (e *apiError) {
		limit, path := q.MaxTokens, "max_tokens"
		if q.MaxCompletionTokens != nil {
			limit, path = q.MaxCompletionTokens, "max_completion_tokens"
		}
		r.MaxTokens, e = s.maxTokens(path, limit)
		return
	})
	if q.TemplateOptions != nil && q.TemplateOptions.EnableThinking != nil {
		r.Thinking = *q.TemplateOptions.EnableThinking
	}
	return r, err
}

// chatHead is what all objects of one answer begin with.
type chatHead struct {
	id       string
	created  int64
	model    string
	logprobs bool
	report   bool
}

// usage is what the answers have cost.
func (h chatHead) usage(answers []answer) *openaiUsage {
	u := usageJSON(answers)
	u.Plume = reports(h.report, answers)
	return u
}

type chatCompletion struct {
	ID      string       `json:"id"`
	Object  string       `json:"object"`
	Created int64        `json:"created"`
	Model   string       `json:"model"`
	Choices []chatChoice `json:"choices"`
	Usage   *openaiUsage `json:"usage"`
}

type chatChoice struct {
	Index    int           `json:"index"`
	Message  chatMessage   `json:"message"`
	Logprobs *logprobsJSON `json:"logprobs"`
	Finish   string        `json:"finish_reason"`
}

type chatMessage struct {
	Role      string     `json:"role"`
	Content   *string    `json:"content"` // null beside calls
	Refusal   *string    `json:"refusal"`
	Reasoning string     `json:"reasoning_content,omitempty"`
	ToolCalls []callJSON `json:"tool_calls,omitempty"`
}

// encode writes finished answers as one object.
func (h chatHead) encode(answers []answer) any {
	out := chatCompletion{ID: h.id, Object: "chat.completion", Created: h.created, Model: h.model, Usage: h.usage(answers)}
	for i, a := range answers {
		m := chatMessage{Role: "assistant", Content: &a.text, Reasoning: a.thinking}
		for _, c := range a.calls {
			m.ToolCalls = append(m.ToolCalls, callJSON{ID: c.ID, Type: "function", Function: callFunction{c.Name, string(c.Arguments)}})
		}
		if len(a.calls) > 0 && a.text == "" {
			m.Content = nil
		}
		choice := chatChoice{Index: i, Message: m, Finish: finishReason(a.result.Finish)}
		if h.logprobs {
			choice.Logprobs = newLogprobs(a.logprobs)
		}
		out.Choices = append(out.Choices, choice)
	}
	return out
}
