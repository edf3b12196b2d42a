package plume

import (
	"context"
	"slices"
	"testing"

	"github.com/plume-run/plume/internal/engine"
	"github.com/plume-run/plume/internal/sample"
)

// scripted is a model that wants to say these pieces: it draws them in turn, but those
// that it may not.
type scripted struct {
	t      *testing.T
	text   *Tokenizer
	pieces []string
}

func (s *scripted) Generate(_ context.Context, r engine.Request, yield func(engine.Token) bool) (engine.Result, error) {
	res := engine.Result{Prompt: len(r.Prompt), Finish: engine.FinishStop}
	for _, piece := range s.pieces {
		id, ok := s.text.tok.ID(piece)
		if !ok {
			s.t.Fatalf("no token %q", piece)
		}
		if slices.Contains(r.Never, id) {
			continue
		}
		tok := engine.Token{ID: id}
		if r.Logprobs > 0 {
			tok.Logprobs = &engine.Logprobs{Chosen: -1, Top: []sample.TokenProb{{ID: id, LogProb: -1}}}
		}
		res.Generated++
		if !yield(tok) {
			break
		}
	}
	return res, nil
}

// scriptedAnswer answers a request with the pieces.
func scriptedAnswer(t *testing.T, r Request, pieces ...string) ([]Event, *Answer) {
	t.Helper()
	demo := openDemo(t)
	m := &Model{text: toolTokenizer(t), plan: demo.plan, cfg: demo.cfg}
	var events []Event
	a, err := Collect(func(yield func(Event, error) bool) {
		m.answer(t.Context(), r, &scripted{t, m.text, pieces}, func(ev Event, err error) bool {
			events = append(events, ev)
			return yield(ev, err)
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return events, a
}

// A model that would rather think than answer cannot where thinking is off.
func TestThinkingOff(t *testing.T) {
	pieces := []string{"<|channel>", "a", "b", "<channel|>", "c"}
	for _, thinking := range []bool{true, false} {
		_, a := scriptedAnswer(t, Request{Prompt: "Hi", Thinking: thinking}, pieces...)
		if thought := a.Thinking != ""; thought != thinking || a.Text == "" {
			t.Errorf("thinking %v: thought %q, text %q", thinking, a.Thinking, a.Text)
		}
	}
}

// The log probabilities of a text's events are those of its tokens, also behind a thought
// that is empty but for its name.
func TestLogprobsOfText(t *testing.T) {
	for name, pieces := range map[string][]string{
		"alone":                   {"c", "d"},
		"behind a thought":        {"<|channel>", "a", "\n", "b", "<channel|>", "c", "d"},
		"behind an empty thought": {"<|channel>", "a", "\n", "<channel|>", "c", "d"},
	} {
		events, _ := scriptedAnswer(t, Request{Prompt: "Hi", Thinking: true, Logprobs: 1}, pieces...)
		said := ""
		for _, ev := range events {
			if ev.Kind != EventText {
				continue
			}
			for _, l := range ev.Logprobs {
				said += l.Text
			}
		}
		if said != "cd" {
			t.Errorf("%s: the probabilities are of %q, want those of \"cd\"", name, said)
		}
	}
}
