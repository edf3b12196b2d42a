package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"time"
)

func contextWith(r *http.Request, rec *record) context.Context {
	return context.WithValue(r.Context(), recordKey{}, rec)
}

// readBody reads a request's body within the limits: bytes of this one, bytes
// of all together, and time. release gives its bytes back; it must be called.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request) (body []byte, release func(), e *apiError) {
	if enc := r.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		return nil, nil, unsupported("", "content encoding %s: send the body as it is", quote(enc))
	}
	if r.ContentLength > s.opt.MaxBody {
		return nil, nil, s.bodyTooLarge()
	}
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(s.opt.ReadTimeout)) // not every ResponseWriter can
	held := &heldBody{s: s, r: http.MaxBytesReader(w, r.Body, s.opt.MaxBody)}
	var buf bytes.Buffer
	if _, err := buf.ReadFrom(held); err != nil {
		held.release()
		w.Header().Set("Connection", "close") // the rest of the body is not waited for
		return nil, nil, s.bodyError(err)
	}
	_ = rc.SetReadDeadline(time.Time{})
	body = buf.Bytes()
	if s.opt.LogPrompts {
		recordOf(r).body = body
	}
	if len(bytes.TrimSpace(body)) == 0 {
		held.release()
		return nil, nil, refuse("", "the body is empty, want a JSON object")
	}
	return body, held.release, nil
}

func (s *Server) bodyTooLarge() *apiError {
	return &apiError{kind: tooLarge, code: "request_too_large", text: "the body is larger than this server takes: " + sizeText(s.opt.MaxBody)}
}

func (s *Server) bodyError(err error) *apiError {
	var large *http.MaxBytesError
	var known *apiError
	var slow interface{ Timeout() bool }
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &large):
		return s.bodyTooLarge()
	case errors.As(err, &slow) && slow.Timeout():
		return &apiError{kind: badRequest, code: "timeout", text: "the body did not arrive in time"}
	}
	return refuse("", "the body ended early")
}

// heldBody counts the bytes that pass against what all requests may hold.
type heldBody struct {
	s *Server
	r io.Reader
	n int64
}

// Read implements io.Reader.
func (h *heldBody) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	h.n += int64(n)
	if h.s.bodies.Add(int64(n)) > h.s.opt.MaxBodies {
		return n, &apiError{kind: overloaded, code: "overloaded", text: "too many large requests at once", retry: retryAfter}
	}
	return n, err
}

func (h *heldBody) release() {
	h.s.bodies.Add(-h.n)
	h.n = 0
}
