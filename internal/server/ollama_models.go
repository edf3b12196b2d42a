package server

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/plume-run/plume"
)

type ollamaModel struct {
	Name     string        `json:"name"`
	Model    string        `json:"model"`
	Modified string        `json:"modified_at,omitempty"`
	Size     int64         `json:"size"`
	Digest   string        `json:"digest"`
	Details  ollamaDetails `json:"details"`

	// In /api/ps only.
	Expires string `json:"expires_at,omitempty"`
	VRAM    *int64 `json:"size_vram,omitempty"`
	Context int    `json:"context_length,omitempty"`
}

type ollamaDetails struct {
	Parent       string   `json:"parent_model"`
	Format       string   `json:"format"`
	Family       string   `json:"family"`
	Families     []string `json:"families"`
	Size         string   `json:"parameter_size"`
	Quantization string   `json:"quantization_level"`
}

func (s *Server) ollamaDetails() ollamaDetails {
	m := s.opt.Model
	return ollamaDetails{"", m.Format, m.Family, []string{m.Family}, countText(m.Parameters), m.Quantization}
}

// served is the model that answers.
func (s *Server) served(name string) ollamaModel {
	m := s.opt.Model
	return ollamaModel{
		Name: name, Model: name, Modified: m.Modified.UTC().Format(time.RFC3339),
		Size: m.Bytes, Digest: identity(m.ID, m.Bytes, m.Modified), Details: s.ollamaDetails(),
	}
}

// identity stands where the original has a checksum, which clients cut to a
// short name: it changes when the file does, without gigabytes being read.
func identity(name string, bytes int64, modified time.Time) string {
	return fmt.Sprintf("%x", sha256.Sum256(fmt.Appendf(nil, "%s %d %d", name, bytes, modified.UnixNano())))
}

// ollamaTags lists what can be asked: the model that is served, under all its names.
// Models that were pulled are not among them, since another server has to serve them.
func (s *Server) ollamaTags(w http.ResponseWriter, _ *http.Request) {
	list := []ollamaModel{}
	for _, name := range s.names() {
		list = append(list, s.served(name))
	}
	writeJSON(w, http.StatusOK, map[string]any{"models": list})
}

// ollamaRunning lists what is in memory: the model, until the server ends.
func (s *Server) ollamaRunning(w http.ResponseWriter, _ *http.Request) {
	m := s.served(s.opt.Model.ID)
	var none int64
	m.VRAM, m.Context = &none, s.opt.Model.Context
	m.Expires = time.Date(2318, 1, 1, 0, 0, 0, 0, time.UTC).Format(time.RFC3339) // never, as the original writes it
	writeJSON(w, http.StatusOK, map[string]any{"models": []ollamaModel{m}})
}

func (s *Server) ollamaShow(w http.ResponseWriter, r *http.Request) {
	body, release, e := s.readBody(w, r)
	if e != nil {
		ollama.refuse(w, r, e)
		return
	}
	defer release()
	q, e := decode[struct {
		Model    string  `json:"model"`
		Name     string  `json:"name"` // its older name
		Verbose  ignored `json:"verbose"`
		System   ignored `json:"system"`
		Template ignored `json:"template"`
		Options  ignored `json:"options"`
	}]("", body)
	if e == nil {
		q.Model = cmp.Or(q.Model, q.Name)
		_, e = s.named(q.Model)
		if q.Model == "" {
			e = refuse("model", "missing")
		}
	}
	if e != nil {
		ollama.refuse(w, r, e)
		return
	}
	m := s.opt.Model
	capabilities := []string{"completion"}
	if m.Tools {
		capabilities = append(capabilities, "tools")
	}
	if m.Thinking {
		capabilities = append(capabilities, "thinking")
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"modelfile": "# " + m.ID + " is served by plume", "parameters": "", "template": "", "details": s.ollamaDetails(),
		"model_info": map[string]any{
			"general.architecture":       m.Family,
			"general.parameter_count":    m.Parameters,
			m.Family + ".context_length": m.Context,
			"general.size_label":         m.Size,
			"general.quantization_level": m.Quantization,
		},
		"capabilities": capabilities, "modified_at": m.Modified.UTC().Format(time.RFC3339),
	})
}

// ollamaPull fetches a model and tells how far it has come.
func (s *Server) ollamaPull(w http.ResponseWriter, r *http.Request) {
	name, stream, e := s.pullRequest(w, r)
	if e != nil {
		ollama.refuse(w, r, e)
		return
	}
	if _, e := s.named(name); e == nil {
		writeJSON(w, http.StatusOK, map[string]string{"status": "success"})
		return
	}
	if s.opt.Pull == nil {
		ollama.refuse(w, r, &apiError{kind: notImplemented, code: "unsupported", text: "this server fetches no models: use 'plume pull' on its machine, or start it with --allow-pull"})
		return
	}
	if !stream {
		if err := s.opt.Pull(r.Context(), name, func(PullProgress) {}); err != nil {
			s.failed(w, r, ollama, pullError(err))
			return
		}
		s.deadline(w)
		writeJSON(w, http.StatusOK, map[string]string{"status": "success"})
		return
	}
	out := newSink(w, s.opt.WriteTimeout)
	out.start(typeNDJSON)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	err := s.opt.Pull(ctx, name, func(p PullProgress) {
		out.line(pullLine(p))
		if out.err != nil {
			cancel()
		}
	})
	switch {
	case clientGone(r) || out.err != nil:
		recordOf(r).gone()
	case err != nil:
		out.line(ollama.errors(s.explain(r, pullError(err)), ""))
	default:
		out.line(pullLine(PullProgress{Status: "pulled: to ask " + quote(name) + ", start a server with -m and that name"}))
		out.line(map[string]string{"status": "success"})
	}
}

func pullLine(p PullProgress) any {
	return struct {
		Status    string `json:"status"`
		Digest    string `json:"digest,omitempty"`
		Total     int64  `json:"total,omitempty"`
		Completed int64  `json:"completed,omitempty"`
	}{p.Status, p.Digest, p.Total, p.Completed}
}

func (s *Server) pullRequest(w http.ResponseWriter, r *http.Request) (name string, stream bool, e *apiError) {
	body, release, e := s.readBody(w, r)
	if e != nil {
		return "", false, e
	}
	defer release()
	q, e := decode[struct {
		Model    string  `json:"model"`
		Name     string  `json:"name"`
		Insecure bool    `json:"insecure"`
		Stream   *bool   `json:"stream"`
		Username ignored `json:"username"`
		Password ignored `json:"password"`
	}]("", body)
	if e != nil {
		return "", false, e
	}
	if q.Insecure {
		return "", false, unsupported("insecure", "models are fetched over verified connections only")
	}
	if q.Model = cmp.Or(q.Model, q.Name); q.Model == "" {
		return "", false, refuse("model", "missing")
	}
	return q.Model, q.Stream == nil || *q.Stream, nil
}

// pullError is what a client is told of a download that failed: all of it, since
// only the one who asked can mend a name or accept terms. One that was cut off is not
// the download's failure.
func pullError(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, errShutdown) {
		return err
	}
	e := &apiError{kind: internalError, code: "pull_failed", text: err.Error()}
	switch {
	case errors.Is(err, plume.ErrHubName):
		e.kind = badRequest
	case errors.Is(err, plume.ErrHubNotFound):
		e.kind = notFound
	case errors.Is(err, plume.ErrHubDenied):
		e.kind = forbidden
	}
	return e
}
