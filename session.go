package plume

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/plume-run/plume/internal/engine"
)

// Session is one conversation or text and its KV cache. It belongs to one
// goroutine at a time; a second one gets ErrBusy.
//
// A session holds no messages: every request brings the whole conversation.
// It remembers what it has computed, so the beginning that a request shares
// with the one before costs nothing, as long as the sliding windows still hold it.
type Session struct {
	m        *Model
	es       *engine.Session
	reserved int64 // of the model's budget
}

// Close frees the KV cache.
func (s *Session) Close() error {
	err := s.es.Close()
	if err == nil {
		s.m.leave(s.reserved)
		s.reserved = 0
	}
	return err
}

// Reset forgets what was computed and keeps the memory.
func (s *Session) Reset() error { return s.es.Reset() }

// Len returns how many tokens are in the KV cache.
func (s *Session) Len() int { return s.es.Len() }

// Context returns the number of tokens the session has room for.
func (s *Session) Context() int { return s.es.Options().Context }

// CacheBytes returns the size of the KV cache.
func (s *Session) CacheBytes() int64 { return s.es.CacheBytes() }

// Request is what a session is asked to continue. Exactly one of Messages,
// Prompt, Raw and Tokens is set.
type Request struct {
	Messages []Message // a conversation, answered in chat form
	Prompt   string    // short for one user message
	Raw      string    // plain text to continue; BOS is put before it
	Tokens   []int32   // the same as ids, to which nothing is added

	Tools    []Tool // functions that the model may call; chat form only
	Thinking bool   // let the model think before it answers, else it cannot; chat form only

	// Format makes the answer's text conform, right by construction: what does not is
	// never drawn. A thought before it is free.
	Format *Format
	// ToolChoice says what the model does with Tools: "" or "auto", it decides; "none",
	// it calls none; "required", it calls at least one; or the name of the one it must
	// call. The arguments of a call conform to the tool's parameters. Where these are a
	// schema that cannot be enforced, the request fails, but under "auto" a tool that is
	// not declared strict then takes any object.
	ToolChoice string

	Sampling  *Sampling // nil: the model's own settings
	MaxTokens int       // most tokens to generate, thinking included; 0: until the context is full
	Stop      []string  // end the answer before the first of these in its text
	Logprobs  int       // tell this many of the most likely tokens with every one, in Event.Logprobs; 0: none
}

// Format is the form that an answer must have. Exactly one field is set.
type Format struct {
	JSON   bool            // any JSON object
	Schema json.RawMessage // JSON that a JSON schema allows
	Regex  string          // text that a regular expression matches from beginning to end
}

// MaxLogprobs is the most alternatives that Request.Logprobs may ask for.
const MaxLogprobs = 64

// Generate answers r. It runs inside the loop over the returned sequence and
// stops when the loop does:
//
//	for ev, err := range s.Generate(ctx, plume.Request{Prompt: "Hi"}) {
//		if err != nil { return err }
//		switch ev.Kind {
//		case plume.EventText: fmt.Print(ev.Text)
//		}
//	}
//
// Cancelling ctx ends the answer between two tokens. An error is the last
// thing the sequence yields; when it struck after the computation had begun,
// its event is an EventDone with the counts so far, text held back for a stop
// string having been given out before.
//
// Errors: ErrRequest, ErrUnsupported, ErrContextFull, ErrToken, ErrBusy,
// ErrClosed, ctx's error, or a failed read of the per-layer table.
func (s *Session) Generate(ctx context.Context, r Request) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		s.m.answer(ctx, r, s.es, yield)
	}
}

// validate refuses requests that contradict themselves.
func (r *Request) validate() error {
	kinds := 0
	for _, set := range []bool{r.Messages != nil, r.Prompt != "", r.Raw != "", r.Tokens != nil} {
		if set {
			kinds++
		}
	}
	switch {
	case kinds != 1:
		return fmt.Errorf("read request: %d of messages, prompt, raw and tokens are set, want one", kinds)
	case r.MaxTokens < 0:
		return fmt.Errorf("read request: max tokens %d, want 0 or more", r.MaxTokens)
	case r.Logprobs < 0 || r.Logprobs > MaxLogprobs:
		return fmt.Errorf("read request: logprobs %d, want 0 to %d", r.Logprobs, MaxLogprobs)
	case slices.Contains(r.Stop, ""):
		return errors.New("read request: empty stop string")
	case r.Format != nil && r.Format.validate() != nil:
		return r.Format.validate()
	case (r.Thinking || len(r.Tools) > 0) && (r.Raw != "" || r.Tokens != nil):
		return errors.New("read request: thinking and tools need messages or a prompt")
	}
	return nil
}
