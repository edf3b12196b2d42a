package server

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// textBuilder gathers the two texts of an answer.
type textBuilder struct{ text, thinking strings.Builder }

// sink writes a streamed answer piece by piece, each sent at once. After the
// first failure, which is the client's going away, it writes nothing more.
type sink struct {
	w       http.ResponseWriter
	rc      *http.ResponseController
	timeout time.Duration // for one write; a client that takes longer is gone
	buf     bytes.Buffer
	err     error
}

func newSink(w http.ResponseWriter, timeout time.Duration) *sink {
	return &sink{w: w, rc: http.NewResponseController(w), timeout: timeout}
}

// start sends the header of a stream.
func (o *sink) start(contentType string) {
	h := o.w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Accel-Buffering", "no") // a proxy must not hold pieces back
	o.w.WriteHeader(http.StatusOK)
}

const (
	typeSSE    = "text/event-stream; charset=utf-8"
	typeNDJSON = "application/x-ndjson"
)

// event sends a server-sent event; name may be "".
func (o *sink) event(name string, v any) {
	o.buf.Reset()
	if name != "" {
		o.buf.WriteString("event: " + name + "\n")
	}
	o.buf.WriteString("data: ")
	o.encode(v)
	o.buf.WriteString("\n")
	o.send()
}

// raw sends text as it is.
func (o *sink) raw(text string) {
	o.buf.Reset()
	o.buf.WriteString(text)
	o.send()
}

// line sends one line of NDJSON.
func (o *sink) line(v any) {
	o.buf.Reset()
	o.encode(v)
	o.send()
}

// encode appends v and a newline.
func (o *sink) encode(v any) {
	e := json.NewEncoder(&o.buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil && o.err == nil {
		o.err = err
	}
}

func (o *sink) send() {
	if o.err != nil {
		return
	}
	if o.timeout > 0 {
		// Not every ResponseWriter can; those of tests cannot and need not.
		_ = o.rc.SetWriteDeadline(time.Now().Add(o.timeout))
	}
	if _, o.err = o.w.Write(o.buf.Bytes()); o.err == nil {
		o.err = o.rc.Flush()
	}
}

// writeJSON sends one JSON object as the whole answer.
func writeJSON(w http.ResponseWriter, status int, v any) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic("server: internal error: encode answer: " + err.Error())
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(buf.Bytes()) // a client that is gone needs no answer
}
