package server

import (
	"context"
	"iter"
	"runtime/debug"
	"sync"

	"github.com/plume-run/plume"
)

// job is a request of any dialect after decoding.
type job struct {
	model    string          // as the client named it
	requests []plume.Request // one for each choice of the answer
	oneCall  bool            // end an answer behind its first tool call
	prefix   string          // of the ids of tool calls

	// Exactly one of the two is set.
	whole  func([]answer) any       // encodes finished answers
	stream func(out *sink) streamer // encodes answers while they come
}

// streamer writes the answers to one job in a dialect's streaming form. Its
// methods are called from one goroutine, begin first, then fail or end last.
type streamer interface {
	begin()
	event(choice int, ev plume.Event) // EventDone included
	ping()                            // nothing has happened for a while
	fail(e *apiError)
	end()
}

// tagged is what happened to one choice.
type tagged struct {
	choice int
	ev     plume.Event
	err    error
}

// eventBuffer is how many events may wait for a client that reads slowly
// before its answer does.
const eventBuffer = 64

// run computes all choices of j at once, until ctx ends, and sends what happens
// to them. The channel closes when all have ended. A caller that stops reading
// before that closes gone and ends ctx.
func (s *Server) run(ctx context.Context, gone <-chan struct{}, j *job, rec *record) <-chan tagged {
	out := make(chan tagged, eventBuffer)
	var wg sync.WaitGroup
	for i, r := range j.requests {
		wg.Go(func() {
			send := func(t tagged) {
				select {
				case out <- t:
				case <-gone: // the engine ends within a step, and says then what it has cost
				}
			}
			defer func() {
				if bug := recover(); bug != nil {
					s.opt.Log.Error("bug", "id", rec.id, "panic", bug, "stack", string(debug.Stack()))
					send(tagged{choice: i, err: errBug})
				}
			}()
			for ev, err := range s.choice(ctx, j, r, rec) {
				send(tagged{i, ev, err})
			}
		})
	}
	go func() {
		wg.Wait()
		close(out)
	}()
	return out
}

// choice computes one answer and brings its events into the form that all
// dialects rely on: no thoughts unless asked for, ids of calls that are unique,
// a malformed call as the text it is, log probabilities of text only, nothing
// behind the call that ends an answer.
func (s *Server) choice(ctx context.Context, j *job, r plume.Request, rec *record) iter.Seq2[plume.Event, error] {
	return func(yield func(plume.Event, error) bool) {
		own, cancel := context.WithCancel(ctx)
		defer cancel()
		alternatives := max(0, r.Logprobs)
		if r.Logprobs == sampledOnly {
			r.Logprobs = 1
		}
		watch := s.metrics.watch()
		called := false // the call that ends the answer has been made
		left := false
		for ev, err := range s.engine.Generate(own, r) {
			watch.event(ev)
			for i := range ev.Logprobs {
				p := &ev.Logprobs[i]
				p.Top = p.Top[:min(len(p.Top), alternatives)]
			}
			if ev.Kind != plume.EventText && ev.Kind != plume.EventBadCall {
				ev.Logprobs = nil
			}
			switch ev.Kind {
			case plume.EventThinking:
				if !r.Thinking {
					continue
				}
			case plume.EventBadCall:
				ev.Kind = plume.EventText
			case plume.EventToolCall:
				if called {
					continue
				}
				call := *ev.Call
				call.ID = s.newID(j.prefix)
				ev.Call = &call
				if called = j.oneCall; called {
					cancel()
				}
			case plume.EventDone:
				// Not a call that the answer's length has cut off.
				if called && ctx.Err() == nil && ev.Result.Finish == plume.FinishCancelled {
					res := *ev.Result
					res.Finish, ev.Result, err = plume.FinishToolCalls, &res, nil
				}
				watch.done(ev.Result)
				rec.done(ev.Result)
			}
			if called && ev.Kind == plume.EventText {
				continue
			}
			if err != nil {
				err = cutOff(ctx, err)
				rec.fail(err)
			}
			if !left {
				left = !yield(ev, err)
			}
		}
	}
}

// answer is one choice, collected.
type answer struct {
	text     string
	thinking string
	thoughts int // pieces of thinking, which are tokens
	calls    []plume.ToolCall
	logprobs []plume.TokenLogprob // of text, not of thoughts
	result   plume.Result
}

// collect reads events until all n answers are whole.
func collect(events <-chan tagged, n int) ([]answer, error) {
	texts := make([]textBuilder, n)
	out := make([]answer, n)
	for t := range events {
		if t.err != nil {
			return nil, t.err
		}
		a := &out[t.choice]
		switch t.ev.Kind {
		case plume.EventText:
			texts[t.choice].text.WriteString(t.ev.Text)
			a.logprobs = append(a.logprobs, t.ev.Logprobs...)
		case plume.EventThinking:
			texts[t.choice].thinking.WriteString(t.ev.Text)
			a.thoughts++
		case plume.EventToolCall:
			a.calls = append(a.calls, *t.ev.Call)
		case plume.EventDone:
			a.result = *t.ev.Result
		}
	}
	for i := range out {
		out[i].text, out[i].thinking = texts[i].text.String(), texts[i].thinking.String()
	}
	return out, nil
}

// usage sums the tokens of all choices; the prompt is the same for all and
// counts once.
func usage(answers []answer) plume.Usage {
	var u plume.Usage
	for i, a := range answers {
		if i == 0 {
			u.Prompt, u.Cached = a.result.Usage.Prompt, a.result.Usage.Cached
		}
		u.Generated += a.result.Usage.Generated
	}
	return u
}
