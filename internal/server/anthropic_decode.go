package server

import (
	"encoding/json"
	"net/http"

	"github.com/plume-run/plume"
)

// messagesRequest is the body of POST /v1/messages and of count_tokens, which
// knows no max_tokens.
type messagesRequest struct {
	Model         string             `json:"model"`
	MaxTokens     *int               `json:"max_tokens"`
	Messages      []json.RawMessage  `json:"messages"`
	System        json.RawMessage    `json:"system"`
	Stream        bool               `json:"stream"`
	StopSequences json.RawMessage    `json:"stop_sequences"`
	Temperature   *float64           `json:"temperature"`
	TopP          *float64           `json:"top_p"`
	TopK          *int               `json:"top_k"`
	Tools         []json.RawMessage  `json:"tools"`
	ToolChoice    json.RawMessage    `json:"tool_choice"`
	Thinking      *anthropicThinking `json:"thinking"`
	OutputConfig  *anthropicOutput   `json:"output_config"`
	OutputFormat  json.RawMessage    `json:"output_format"` // its older place

	// Refused when they ask for something.
	Container         json.RawMessage   `json:"container"`
	MCPServers        []json.RawMessage `json:"mcp_servers"`
	ContextManagement json.RawMessage   `json:"context_management"`

	// About accounts, regions and caches of the original service.
	Metadata     ignored `json:"metadata"`
	ServiceTier  ignored `json:"service_tier"`
	CacheControl ignored `json:"cache_control"`
	Diagnostics  ignored `json:"diagnostics"`
	Geo          ignored `json:"inference_geo"`
	Speed        ignored `json:"speed"`
	Profile      ignored `json:"user_profile_id"`
	Workspace    ignored `json:"workspace_id"`
}

type anthropicThinking struct {
	Type         string  `json:"type"`
	BudgetTokens *int    `json:"budget_tokens"`
	Display      ignored `json:"display"`
}

type anthropicOutput struct {
	Format json.RawMessage `json:"format"`
	Effort string          `json:"effort"`
}

func (s *Server) decodeMessages(body []byte) (*job, *apiError) {
	q, err := decode[messagesRequest]("", body)
	if err != nil {
		return nil, err
	}
	if q.MaxTokens == nil {
		return nil, refuse("max_tokens", "missing")
	}
	model, r, err := s.messagesPrompt(q)
	if err != nil {
		return nil, err
	}
	j := &job{model: model, prefix: "toolu_"}
	if r.ToolChoice, j.oneCall, err = anthropicChoice(q.ToolChoice, r.Tools); err != nil {
		return nil, err
	}
	j.requests = []plume.Request{*r}
	head := messageHead{id: s.newID("msg_"), model: model}
	if !q.Stream {
		j.whole = head.encode
		return j, nil
	}
	// The first event says how long the prompt is.
	n, failed := s.engine.CountTokens(*r)
	if failed != nil {
		return nil, classify(failed)
	}
	j.stream = func(out *sink) streamer { return &messageStream{out: out, head: head, prompt: n} }
	return j, nil
}

// countTokens answers POST /v1/messages/count_tokens.
func (s *Server) countTokens(w http.ResponseWriter, r *http.Request) {
	n, e := s.countBody(w, r)
	if e != nil {
		anthropic.refuse(w, r, e)
		return
	}
	writeJSON(w, http.StatusOK, map[string]int{"input_tokens": n})
}

func (s *Server) countBody(w http.ResponseWriter, r *http.Request) (int, *apiError) {
	body, release, err := s.readBody(w, r)
	if err != nil {
		return 0, err
	}
	defer release()
	q, err := decode[messagesRequest]("", body)
	if err != nil {
		return 0, err
	}
	_, req, err := s.messagesPrompt(q)
	if err != nil {
		return 0, err
	}
	if _, _, err := anthropicChoice(q.ToolChoice, req.Tools); err != nil {
		return 0, err
	}
	n, failed := s.engine.CountTokens(*req)
	if failed != nil {
		return 0, classify(failed)
	}
	return n, nil
}

// messagesPrompt turns all fields but the choice of tools into a request.
func (s *Server) messagesPrompt(q *messagesRequest) (string, *plume.Request, *apiError) {
	r := &plume.Request{}
	model, err := s.named(q.Model)
	step := func(f func() *apiError) {
		if err == nil {
			err = f()
		}
	}
	step(q.refused)
	step(func() (e *apiError) { r.Messages, e = anthropicMessages(q); return })
	step(func() (e *apiError) { r.MaxTokens, e = s.maxTokens("max_tokens", q.MaxTokens); return })
	step(func() (e *apiError) { r.Stop, e = stopStrings("stop_sequences", q.StopSequences); return })
	step(func() (e *apiError) { r.Tools, e = anthropicTools(q.Tools); return })
	step(func() (e *apiError) { r.Thinking, e = q.Thinking.on(r.MaxTokens); return })
	step(func() (e *apiError) { r.Format, e = q.format(); return })
	step(func() *apiError { return within("temperature", q.Temperature, 0, 1) })
	step(func() (e *apiError) {
		p := openaiSampling{Temperature: q.Temperature, TopP: q.TopP, TopK: q.TopK}
		r.Sampling, e = p.apply(s.opt.Model.Sampling)
		return
	})
	return model, r, err
}

func (q *messagesRequest) refused() *apiError {
	switch {
	case present(q.Container):
		return unsupported("container", "this server runs no code")
	case len(q.MCPServers) > 0:
		return unsupported("mcp_servers", "this server connects to nobody")
	case present(q.ContextManagement):
		return unsupported("context_management", "conversations are never cut behind your back")
	}
	return nil
}

// on reads the thinking switch. A budget is checked and not enforced: the model
// ends its thought by itself, and max_tokens bounds both.
func (t *anthropicThinking) on(maxTokens int) (bool, *apiError) {
	if t == nil {
		return false, nil
	}
	switch t.Type {
	case "disabled":
		return false, nil
	case "adaptive":
		return true, nil
	case "enabled":
		switch {
		case t.BudgetTokens == nil:
			return false, refuse("thinking.budget_tokens", "missing")
		case *t.BudgetTokens < 1, maxTokens > 0 && *t.BudgetTokens >= maxTokens:
			return false, refuse("thinking.budget_tokens", "%d, want at least 1 and less than max_tokens", *t.BudgetTokens)
		}
		return true, nil
	}
	return false, refuse("thinking.type", "%s, want enabled, adaptive or disabled", quote(t.Type))
}

// format reads the form of the answer from either of its places.
func (q *messagesRequest) format() (*plume.Format, *apiError) {
	if present(q.OutputFormat) {
		return responseFormat("output_format", q.OutputFormat)
	}
	if q.OutputConfig == nil {
		return nil, nil
	}
	if err := oneOf("output_config.effort", q.OutputConfig.Effort, "low", "medium", "high", "xhigh", "max"); err != nil {
		return nil, err
	}
	return responseFormat("output_config.format", q.OutputConfig.Format)
}

// anthropicTools reads declarations in this dialect's form.
func anthropicTools(raw []json.RawMessage) ([]plume.Tool, *apiError) {
	functions := make([]toolFunction, len(raw))
	for i, item := range raw {
		at := index("tools", i)
		var typ struct {
			Type *string `json:"type"`
		}
		if json.Unmarshal(item, &typ) != nil {
			return nil, refuse(at, "want an object")
		}
		if typ.Type != nil && *typ.Type != "custom" {
			return nil, unsupported(join(at, "type"), "%s: this server has no tools of its own", quote(*typ.Type))
		}
		t, err := decode[struct {
			Type        *string         `json:"type"`
			Name        string          `json:"name"`
			Description json.RawMessage `json:"description"`
			InputSchema json.RawMessage `json:"input_schema"`
			Strict      *bool           `json:"strict"`
			Cache       ignored         `json:"cache_control"`
			Callers     ignored         `json:"allowed_callers"`
			Defer       ignored         `json:"defer_loading"`
			Eager       ignored         `json:"eager_input_streaming"`
			Examples    ignored         `json:"input_examples"`
		}](at, item)
		if err != nil {
			return nil, err
		}
		if !isKind(t.InputSchema, '{') {
			return nil, refuse(join(at, "input_schema"), "want a JSON schema")
		}
		functions[i] = toolFunction{Name: t.Name, Description: t.Description, Parameters: t.InputSchema, Strict: t.Strict}
	}
	return declare("tools", functions)
}

// anthropicChoice reads "tool_choice" and whether one call is enough.
func anthropicChoice(raw json.RawMessage, tools []plume.Tool) (choice string, one bool, err *apiError) {
	const path = "tool_choice"
	if !present(raw) {
		return "", false, nil
	}
	c, err := decode[struct {
		Type string `json:"type"`
		Name string `json:"name"`
		One  bool   `json:"disable_parallel_tool_use"`
	}](path, raw)
	if err != nil {
		return "", false, err
	}
	switch c.Type {
	case "auto", "none":
		return c.Type, c.One, nil
	case "any":
		if len(tools) == 0 {
			return "", false, refuse(path, "a call is required, and there are no tools")
		}
		return "required", c.One, nil
	case "tool":
		return c.Name, c.One, knownTool(join(path, "name"), c.Name, tools)
	}
	return "", false, refuse(join(path, "type"), "%s, want auto, any, tool or none", quote(c.Type))
}
