package server

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/plume-run/plume"
)

// ollamaGenerateRequest is the body of POST /api/generate: one prompt, in chat
// form unless it is raw.
type ollamaGenerateRequest struct {
	ollamaCommon
	Prompt string `json:"prompt"`
	System string `json:"system"`
	Raw    bool   `json:"raw"`

	// Refused when they ask for something.
	Suffix   string            `json:"suffix"`
	Template string            `json:"template"`
	Images   []json.RawMessage `json:"images"`
	Context  []int32           `json:"context"`
	Width    *int              `json:"width"`
	Height   *int              `json:"height"`
	Steps    *int              `json:"steps"`
}

func (s *Server) decodeOllamaGenerate(body []byte) (*job, *apiError) {
	q, err := decode[ollamaGenerateRequest]("", body)
	if err != nil {
		return nil, err
	}
	if err := q.refused(); err != nil {
		return nil, err
	}
	r := &plume.Request{}
	model, err := s.ollamaBase(&q.ollamaCommon, r)
	if err != nil {
		return nil, err
	}
	head := ollamaHead{s: s, model: model, begun: s.now(), logprobs: q.Logprobs}
	switch {
	case q.Prompt == "":
		return head.loaded(q.unload), nil
	case q.Raw:
		r.Raw = q.Prompt
	default:
		if q.System != "" {
			r.Messages = append(r.Messages, plume.SystemMessage(q.System))
		}
		r.Messages = append(r.Messages, plume.UserMessage(q.Prompt))
	}
	return head.job(r, q.Stream), nil
}

func (q *ollamaGenerateRequest) refused() *apiError {
	switch {
	case q.Suffix != "":
		return unsupported("suffix", "the model only continues text")
	case q.Template != "":
		return unsupported("template", "the model's own is used; with raw set, the prompt is taken as it is")
	case len(q.Images) > 0:
		return unsupported("images", "this server reads text only")
	case len(q.Context) > 0:
		return unsupported("context", "send the conversation to /api/chat")
	case q.Width != nil || q.Height != nil || q.Steps != nil:
		return unsupported("width", "this server makes no pictures")
	case q.Raw && q.System != "":
		return refuse("system", "a raw prompt is taken as it is")
	}
	return nil
}

// loaded answers a request without prompt, by which clients ask for the model
// to be in memory, or no longer. It is in any case.
func (h ollamaHead) loaded(unload bool) *job {
	l := h.line("", "", nil)
	if l.Done, l.Reason = true, "load"; unload {
		l.Reason = "unload"
	}
	return &job{model: h.model, whole: func([]answer) any { return l }}
}

// unloads reads "keep_alive", seconds or a text with units, and reports whether it is none.
func unloads(raw json.RawMessage) (bool, *apiError) {
	var seconds float64
	var text string
	switch {
	case !present(raw):
		return false, nil
	case json.Unmarshal(raw, &seconds) == nil:
		return seconds == 0, nil
	case json.Unmarshal(raw, &text) == nil:
		if d, err := time.ParseDuration(text); err == nil {
			return d == 0, nil
		}
	}
	return false, refuse("keep_alive", `want seconds, or a text as "5m"`)
}

// ollamaProtocol is a version of the original that has every field served here; of
// those, log probabilities came last. Clients compare it with what they need, so it
// is no version of this program.
const ollamaProtocol = "0.12.11"

func (s *Server) ollamaVersion(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"version": ollamaProtocol})
}
