package server

import (
	"net/http"
	"strconv"
	"strings"
)

// dialect is a family of routes with one form of errors.
type dialect struct {
	name   string
	errors func(e *apiError, id string) any
}

var (
	openai = &dialect{"openai", func(e *apiError, _ string) any {
		return openaiErrorBody{openaiError{e.Error(), kinds[e.kind].openai, optional(clip(e.param, maxParam)), optional(e.code)}}
	}}
	anthropic = &dialect{"anthropic", func(e *apiError, id string) any {
		return anthropicErrorBody{"error", anthropicError{kinds[e.kind].anthropic, e.Error()}, id}
	}}
	ollama = &dialect{"ollama", func(e *apiError, _ string) any {
		return ollamaError{e.Error()}
	}}
)

type openaiErrorBody struct {
	Error openaiError `json:"error"`
}

type openaiError struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    *string `json:"code"`
}

type anthropicErrorBody struct {
	Type      string         `json:"type"`
	Error     anthropicError `json:"error"`
	RequestID string         `json:"request_id,omitempty"`
}

type anthropicError struct {
	Type    string `json:"type"`
	Message string `json:"message"`
}

type ollamaError struct {
	Error string `json:"error"`
}

// optional is nil for "".
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// dialectOf tells which clients ask for a path.
func dialectOf(r *http.Request) *dialect {
	switch path := r.URL.Path; {
	case strings.HasPrefix(path, "/v1/messages"), r.Header.Get("Anthropic-Version") != "":
		return anthropic
	case strings.HasPrefix(path, "/api/") && !strings.HasPrefix(path, "/api/plume/"):
		return ollama
	}
	return openai
}

// refuse answers with an error.
func (d *dialect) refuse(w http.ResponseWriter, r *http.Request, e *apiError) {
	if e.retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(e.retry.Seconds()+0.999)))
	}
	if e.kind == unauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	rec := recordOf(r)
	rec.refused(e)
	writeJSON(w, e.status(), d.errors(e, rec.id))
}
