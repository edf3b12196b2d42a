package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/plume-run/plume"
)

// kind is the class of an error; statuses and the dialects' own type names
// follow from it.
type kind uint8

const (
	badRequest kind = iota
	unauthorized
	forbidden
	notFound
	badMethod
	tooLarge
	overloaded
	unavailable
	timedOut
	notImplemented
	internalError
)

// kinds is the one table from classes to statuses and names.
var kinds = [...]struct {
	status            int
	openai, anthropic string
}{
	badRequest:     {http.StatusBadRequest, "invalid_request_error", "invalid_request_error"},
	unauthorized:   {http.StatusUnauthorized, "invalid_request_error", "authentication_error"},
	forbidden:      {http.StatusForbidden, "invalid_request_error", "permission_error"},
	notFound:       {http.StatusNotFound, "invalid_request_error", "not_found_error"},
	badMethod:      {http.StatusMethodNotAllowed, "invalid_request_error", "invalid_request_error"},
	tooLarge:       {http.StatusRequestEntityTooLarge, "invalid_request_error", "request_too_large"},
	overloaded:     {http.StatusTooManyRequests, "rate_limit_error", "rate_limit_error"},
	unavailable:    {http.StatusServiceUnavailable, "server_error", "overloaded_error"},
	timedOut:       {http.StatusGatewayTimeout, "server_error", "timeout_error"},
	notImplemented: {http.StatusNotImplemented, "invalid_request_error", "invalid_request_error"},
	internalError:  {http.StatusInternalServerError, "server_error", "api_error"},
}

// apiError is what a client is told. Its text never holds paths or other
// things of this machine.
type apiError struct {
	kind  kind
	param string // the offending field, as "messages[2].content"; "" when there is none
	code  string // a word for programs, "" when the kind says it all
	text  string
	retry time.Duration // when to come again, 0: nothing is known
}

func (e *apiError) Error() string {
	if e.param != "" {
		return clip(e.param, maxParam) + ": " + clip(e.text, maxMessage)
	}
	return clip(e.text, maxMessage)
}

// What an error may repeat of a request, in its answer and in the log.
const (
	maxParam   = 200
	maxMessage = 1000
	maxQuoted  = 100
)

// clip cuts a text that is longer than n bytes and makes it valid.
func clip(s string, n int) string {
	if len(s) > n {
		s = s[:n] + "…"
	}
	return strings.ToValidUTF8(s, "?")
}

func (e *apiError) status() int { return kinds[e.kind].status }

// refuse returns a 400 that names a field.
func refuse(param, format string, args ...any) *apiError {
	return &apiError{kind: badRequest, param: param, text: fmt.Sprintf(format, args...)}
}

// unsupported returns a 400 for a sensible request that cannot be served.
func unsupported(param, format string, args ...any) *apiError {
	e := refuse(param, format, args...)
	e.code = "unsupported"
	return e
}

// errBug is what a request ends with that has met a bug. It costs the request,
// not the server.
var errBug = &apiError{kind: internalError, code: "internal_error", text: "this is a bug; the server's log has the details"}

// retryAfter is what a client is told when nothing better is known.
const retryAfter = 2 * time.Second

// maxRetryAfter is the longest that a client is sent away for.
const maxRetryAfter = 5 * time.Minute

// errorClass is one line of the table that turns the engine's errors into
// answers; the first line that fits counts.
type errorClass struct {
	is    error
	kind  kind
	code  string
	text  string        // "": the error's own
	retry time.Duration // when to come again, 0: nothing is known
}

var errorClasses = []errorClass{
	{is: plume.ErrContextFull, kind: badRequest, code: "context_length_exceeded"},
	{is: plume.ErrUnsupported, kind: badRequest, code: "unsupported"},
	{is: plume.ErrRequest, kind: badRequest},
	{is: plume.ErrToken, kind: badRequest},
	{plume.ErrOverloaded, overloaded, "overloaded", tooMany, retryAfter},
	{plume.ErrBusy, overloaded, "overloaded", tooMany, retryAfter},
	// What grows with a request is planned; what is left are formats and tools, of which the first
	// request takes its share for good. Trying again does not help.
	{is: plume.ErrMemory, kind: unavailable, code: "out_of_memory", text: "the server's memory budget has no room for response formats and tools; other requests are answered"},
	{plume.ErrClosed, unavailable, "shutting_down", "the server cannot take this request now", retryAfter},
	{is: context.DeadlineExceeded, kind: timedOut, code: "timeout", text: "the answer took longer than this server allows"},
}

const tooMany = "too many requests are waiting: try again later"

// classify turns an error of the engine into one for clients. What is not in
// the table is a failure of this machine, whose text is for the log only.
func classify(err error) *apiError {
	var known *apiError
	if errors.As(err, &known) {
		return known
	}
	for _, c := range errorClasses {
		if errors.Is(err, c.is) {
			return &apiError{kind: c.kind, code: c.code, text: cmp.Or(c.text, err.Error()), retry: c.retry}
		}
	}
	return &apiError{kind: internalError, code: "internal_error", text: "the model could not answer; the server's log has the reason"}
}
