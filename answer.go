package plume

import (
	"context"
	"fmt"
	"slices"

	"github.com/plume-run/plume/internal/chat"
	"github.com/plume-run/plume/internal/engine"
	"github.com/plume-run/plume/internal/tokenizer"
)

// generator computes answers in tokens: a session alone, or a scheduler many at once.
type generator interface {
	Generate(ctx context.Context, r engine.Request, yield func(engine.Token) bool) (engine.Result, error)
}

// answer answers r, as Session.Generate says.
func (m *Model) answer(ctx context.Context, r Request, by generator, yield func(Event, error) bool) {
	a := &answer{m: m, by: by, yield: yield, stops: stopMatcher{stops: r.Stop}, thoughtEnd: -1}
	req, err := a.prepare(r)
	if err != nil {
		yield(Event{}, err)
		return
	}
	a.run(ctx, req)
}

// answer is the state of one Generate.
type answer struct {
	m       *Model
	by      generator
	yield   func(Event, error) bool
	left    bool               // the caller left its loop
	parser  *chat.Parser       // chat form
	decoder *tokenizer.Decoder // plain text; nil when the model has no vocabulary
	stops   stopMatcher
	stopped bool // a stop string was met

	inThought  bool  // the prompt ends within a thought
	thoughtEnd int32 // the token behind a thought, −1 where there are none
	calls      int
	result     Result

	logprobs []TokenLogprob // of the tokens whose event is still to come
}

// prepare checks r and turns it into token ids, a sampler and a decoder.
func (a *answer) prepare(r Request) (engine.Request, error) {
	var req engine.Request
	if err := r.validate(); err != nil {
		return req, requestError{err}
	}
	sampling := a.m.Sampling()
	if r.Sampling != nil {
		sampling = *r.Sampling
	}
	sampler, seed, err := sampling.sampler()
	if err != nil {
		return req, err
	}
	a.result.Seed = seed
	req = engine.Request{MaxTokens: r.MaxTokens, Stop: a.m.stop, Sampler: sampler, Logprobs: r.Logprobs}
	if req.Prompt, err = a.prompt(r); err == nil && a.m.text != nil {
		req.Constraint, err = a.constraint(r)
	}
	if a.parser != nil && !r.Thinking {
		req.Never = []int32{a.m.text.marks().think} // a thought would be paid for and not be seen
	}
	return req, err
}

// prompt returns the ids of r's prompt and sets up the decoding of the answer.
func (a *answer) prompt(r Request) ([]int32, error) {
	text := a.m.text
	if text == nil {
		if r.Tokens == nil || len(r.Stop) > 0 || r.Format != nil || r.Logprobs > 0 {
			return nil, a.m.noText
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
	a.inThought, a.thoughtEnd = opensThought(segs), text.marks().thinkEnd
	a.parser = chat.NewParser(text.tok, a.inThought)
	// Encoded piece by piece: a message that spells "<turn|>" ends no turn.
	return chat.Encode(nil, text.tok, segs), nil
}

// opensThought reports whether a prompt ends where the model goes on thinking.
func opensThought(segs []chat.Segment) bool {
	n := len(segs)
	return n >= 2 && segs[n-2] == chat.Segment{Text: "<|channel>", Special: true} && segs[n-1].Text == "thought\n"
}

func (a *answer) run(ctx context.Context, req engine.Request) {
	res, err := a.by.Generate(ctx, req, func(t engine.Token) bool {
		a.result.IDs = append(a.result.IDs, t.ID)
		if slices.Contains(req.Stop, t.ID) {
			return true // the engine ends here; a stop token has no text
		}
		a.noteLogprobs(t)
		a.token(t.ID)
		if t.ID == a.thoughtEnd {
			a.logprobs = nil // of the thought's name, which is in no event
		}
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
	a.result.Timings = Timings{Prefill: res.Prefill, FirstToken: res.First, Decode: res.Decode, Queued: res.Queued}
	a.result.PLE, a.result.Weights = answerPLE(&res), answerWeights(&res)
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
	ev.Logprobs, a.logprobs = a.logprobs, nil
	a.left = !a.yield(ev, nil)
}

// noteLogprobs keeps what is known of t for the event that its text will be in.
// Tokens that are no text have none.
func (a *answer) noteLogprobs(t engine.Token) {
	text := a.m.text
	if t.Logprobs == nil || text == nil || text.tok.IsSpecial(t.ID) {
		return
	}
	l := TokenLogprob{ID: t.ID, Text: text.bytes(t.ID), Logprob: t.Logprobs.Chosen}
	for _, p := range t.Logprobs.Top {
		l.Top = append(l.Top, TokenLogprob{ID: p.ID, Text: text.bytes(p.ID), Logprob: p.LogProb})
	}
	a.logprobs = append(a.logprobs, l)
}

// bytes returns what a token adds to a text.
func (t *Tokenizer) bytes(id int32) string {
	if id < 0 || int(id) >= t.tok.Len() {
		return "" // rows of logits may be longer than the vocabulary
	}
	if t.tok.Kind(id) == tokenizer.Byte { // "<0xE2>"
		var b byte
		fmt.Sscanf(t.tok.Text(id), "<0x%02X>", &b)
		return string([]byte{b})
	}
	return t.tok.Decode([]int32{id})
}
