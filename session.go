package plume

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/plume-run/plume/internal/chat"
	"github.com/plume-run/plume/internal/engine"
	"github.com/plume-run/plume/internal/tokenizer"
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
	Thinking bool   // let the model think before it answers; chat form only

	Sampling  *Sampling // nil: the model's own settings
	MaxTokens int       // most tokens to generate, thinking included; 0: until the context is full
	Stop      []string  // end the answer before the first of these in its text
}

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
		a := &answer{s: s, yield: yield, stops: stopMatcher{stops: r.Stop}}
		req, err := a.prepare(r)
		if err != nil {
			yield(Event{}, err)
			return
		}
		a.run(ctx, req)
	}
}

// answer is the state of one Generate.
type answer struct {
	s       *Session
	yield   func(Event, error) bool
	left    bool               // the caller left its loop
	parser  *chat.Parser       // chat form
	decoder *tokenizer.Decoder // plain text; nil when the model has no vocabulary
	stops   stopMatcher
	stopped bool // a stop string was met
	calls   int
	result  Result
}

// prepare checks r and turns it into token ids, a sampler and a decoder.
func (a *answer) prepare(r Request) (engine.Request, error) {
	var req engine.Request
	if err := r.validate(); err != nil {
		return req, requestError{err}
	}
	sampling := a.s.m.Sampling()
	if r.Sampling != nil {
		sampling = *r.Sampling
	}
	sampler, seed, err := sampling.sampler()
	if err != nil {
		return req, err
	}
	a.result.Seed = seed
	req = engine.Request{MaxTokens: r.MaxTokens, Stop: a.s.m.stop, Sampler: sampler}
	req.Prompt, err = a.prompt(r)
	return req, err
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
	case slices.Contains(r.Stop, ""):
		return errors.New("read request: empty stop string")
	case (r.Thinking || len(r.Tools) > 0) && (r.Raw != "" || r.Tokens != nil):
		return errors.New("read request: thinking and tools need messages or a prompt")
	}
	return nil
}

// prompt returns the ids of r's prompt and sets up the decoding of the answer.
func (a *answer) prompt(r Request) ([]int32, error) {
	text := a.s.m.text
	if text == nil {
		if r.Tokens == nil || len(r.Stop) > 0 {
			return nil, a.s.m.noText
		}
		return r.Tokens, nil
	}
	switch {
	case r.Tokens != nil:
		a.decoder = text.tok.NewDecoder()
		return r.Tokens, nil
	case r.Raw != "":
		a.decoder = text.tok.NewDecoder()
		return text.tok.Encode(text.bos(), r.Raw, true), nil
	case r.Prompt != "":
		r.Messages = []Message{UserMessage(r.Prompt)}
	}
	if err := text.supports(r); err != nil {
		return nil, err
	}
	opt, err := text.chatOptions(RenderOptions{Tools: r.Tools, Thinking: r.Thinking})
	if err != nil {
		return nil, err
	}
	segs, err := chat.RenderSegments(r.Messages, opt)
	if err != nil {
		return nil, requestError{err}
	}
	a.parser = chat.NewParser(text.tok, opensThought(segs))
	// Encoded piece by piece: a message that spells "<turn|>" ends no turn.
	return chat.Encode(nil, text.tok, segs), nil
}

// opensThought reports whether a prompt ends where the model goes on thinking.
func opensThought(segs []chat.Segment) bool {
	n := len(segs)
	return n >= 2 && segs[n-2] == chat.Segment{Text: "<|channel>", Special: true} && segs[n-1].Text == "thought\n"
}

func (a *answer) run(ctx context.Context, req engine.Request) {
	before := a.s.m.PLEStats()
	res, err := a.s.es.Generate(ctx, req, func(t engine.Token) bool {
		a.result.IDs = append(a.result.IDs, t.ID)
		if slices.Contains(req.Stop, t.ID) {
			return true // the engine ends here; a stop token has no text
		}
		a.token(t.ID)
		return !a.left && !a.stopped
	})
	if res.Prompt == 0 || err != nil && res.Prefill == 0 && len(a.result.IDs) == 0 && !cancelled(ctx, err) {
		a.yield(Event{}, err)
		return
	}
	a.close()
	if a.left {
		return
	}
	a.result.Usage = Usage{
		Prompt: res.Prompt, Cached: res.Reused, Generated: res.Generated,
		Drafted: res.Drafted, Accepted: res.Accepted,
	}
	a.result.Timings = Timings{Prefill: res.Prefill, FirstToken: res.First, Decode: res.Decode}
	a.result.PLE = a.s.m.PLEStats().minus(before)
	a.result.Finish = a.finish(ctx, res.Finish, err)
	a.yield(Event{Kind: EventDone, Result: &a.result}, err)
}

func cancelled(ctx context.Context, err error) bool { return err != nil && ctx.Err() != nil }

// finish names the reason in the words of this package.
func (a *answer) finish(ctx context.Context, f engine.Finish, err error) Finish {
	switch {
	case cancelled(ctx, err):
		return FinishCancelled
	case err != nil:
		return FinishError
	case a.stopped:
		a.result.Stop = a.stops.hit
		return FinishStop
	case f == engine.FinishLength:
		return FinishLength
	case f == engine.FinishContext:
		return FinishContext
	case a.calls > 0:
		return FinishToolCalls
	}
	return FinishStop
}

// token decodes one sampled token and hands out what it completes.
func (a *answer) token(id int32) {
	switch {
	case a.parser != nil:
		a.parsed(a.parser.Push(id))
	case a.decoder != nil:
		a.content(a.decoder.Push(id))
	}
}

// close hands out what the decoders still hold.
func (a *answer) close() {
	if !a.stopped {
		switch {
		case a.parser != nil:
			a.parsed(a.parser.Close())
		case a.decoder != nil:
			a.content(a.decoder.Flush())
		}
	}
	if !a.stopped {
		a.send(Event{Kind: EventText, Text: a.stops.flush()})
	}
}

func (a *answer) parsed(events []chat.Event) {
	for _, ev := range events {
		if a.stopped {
			return
		}
		switch ev.Kind {
		case chat.TextEvent:
			a.content(ev.Text)
		case chat.ThoughtEvent:
			a.send(Event{Kind: EventThinking, Text: ev.Text})
		case chat.CallEvent:
			a.calls++
			a.send(Event{Kind: EventToolCall, Call: &ToolCall{ID: ev.Call.ID, Name: ev.Call.Name, Arguments: ev.Call.Arguments}})
		case chat.BadCallEvent:
			a.send(Event{Kind: EventBadCall, Text: ev.Text})
		}
	}
}

// content hands out text of the answer up to a stop string.
func (a *answer) content(text string) {
	show, found := a.stops.push(text)
	a.stopped = found
	a.send(Event{Kind: EventText, Text: show})
}

// send yields an event unless it is empty or the caller has left.
func (a *answer) send(ev Event) {
	if a.left || ev.Text == "" && ev.Call == nil {
		return
	}
	a.left = !a.yield(ev, nil)
}
