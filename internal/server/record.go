package server

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/plume-run/plume"
)

// record gathers what the log says about one request.
type record struct {
	id    string
	begun time.Time
	route string // the pattern that was met, for metrics
	model string
	body  []byte // kept only if prompts are logged

	mu        sync.Mutex
	prompt    int
	cached    int
	generated int
	finish    plume.Finish
	err       error // the engine's
	refusal   *apiError
	left      bool // the client went away
}

type recordKey struct{}

// recordOf returns the record of a request; the outermost handler has made one.
func recordOf(r *http.Request) *record {
	rec, ok := r.Context().Value(recordKey{}).(*record)
	if !ok {
		panic("server: internal error: request without a record")
	}
	return rec
}

// done adds what one choice has cost.
func (c *record) done(res *plume.Result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.prompt, c.cached = res.Usage.Prompt, res.Usage.Cached
	c.generated += res.Usage.Generated
	c.finish = res.Finish
}

// fail notes the first error that struck.
func (c *record) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
}

func (c *record) refused(e *apiError) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refusal = e
}

// gone notes that the client did not wait.
func (c *record) gone() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = true
}

// statusGone is logged where the client went away before it got a status.
const statusGone = 499

// watched is a ResponseWriter that remembers its status.
type watched struct {
	http.ResponseWriter
	status int
}

// Unwrap is for http.ResponseController.
func (w *watched) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w *watched) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *watched) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}

// log writes one line about a finished request. Prompts and answers are not in
// it unless they were asked for.
func (c *record) log(l *slog.Logger, r *http.Request, status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	attrs := []slog.Attr{
		slog.String("id", c.id), slog.String("method", r.Method), slog.String("path", r.URL.Path),
		slog.Int("status", status), slog.Duration("took", time.Since(c.begun).Round(time.Microsecond)),
		slog.String("remote", r.RemoteAddr),
	}
	if c.finish != "" {
		attrs = append(attrs, slog.String("model", c.model), slog.Int("prompt_tokens", c.prompt),
			slog.Int("cached_tokens", c.cached), slog.Int("generated_tokens", c.generated), slog.String("finish", string(c.finish)))
	}
	if c.refusal != nil {
		attrs = append(attrs, slog.String("refused", c.refusal.Error()))
	}
	level := slog.LevelInfo
	switch {
	case c.left || errors.Is(c.err, context.Canceled):
		attrs = append(attrs, slog.Bool("client_gone", true))
	case c.err != nil:
		attrs = append(attrs, slog.String("error", clip(c.err.Error(), maxMessage)))
		if status >= 500 || status == http.StatusOK {
			level = slog.LevelError
		}
	}
	if c.body != nil {
		attrs = append(attrs, slog.String("body", string(c.body)))
	}
	if quiet[r.URL.Path] && status < 400 {
		level = slog.LevelDebug
	}
	l.LogAttrs(context.WithoutCancel(r.Context()), level, "request", attrs...)
}

// quiet are paths that machines ask for every few seconds.
var quiet = map[string]bool{"/health": true, "/ready": true, "/metrics": true, "/api/plume/stats": true}
