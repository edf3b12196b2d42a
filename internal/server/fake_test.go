package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plume-run/plume"
)

// fakeEngine plays scripts instead of computing. A script is a list of lines:
//
//	text "…"   think "…"   call NAME {…}   bad "…"
//	lp "TOKEN" -0.5 "ALTERNATIVE" -1.5     log probabilities for the next of these
//	done FINISH [stop="…"] [prompt=N] [cached=N] [generated=N]
//	error CLASS                            CLASS: see failures
//	wait                                   until the request is cancelled
type fakeEngine struct {
	script func(r plume.Request) string
	stats  plume.ServiceStats

	mu   sync.Mutex
	seen []plume.Request
	live int // answers that have begun and not ended
}

var failures = map[string]error{
	"overloaded": plume.ErrOverloaded,
	"full":       fmt.Errorf("prompt of 9000 tokens: %w", plume.ErrContextFull),
	"unsup":      fmt.Errorf("the model has no tools: %w", plume.ErrUnsupported),
	"disk":       errors.New("read /secret/path: input/output error"),
	"closed":     plume.ErrClosed,
	"memory":     plume.ErrMemory,
}

func (f *fakeEngine) Stats() plume.ServiceStats { return f.stats }

func (f *fakeEngine) CountTokens(r plume.Request) (int, error) {
	n := len(r.Raw) + len(r.Tokens)
	for _, m := range r.Messages {
		n += 1 + len(m.Content)
		for _, p := range m.Parts {
			n += len(p.Text)
		}
	}
	return n, nil
}

func (f *fakeEngine) Generate(ctx context.Context, r plume.Request) iter.Seq2[plume.Event, error] {
	f.mu.Lock()
	f.seen = append(f.seen, r)
	f.mu.Unlock()
	return func(yield func(plume.Event, error) bool) {
		f.count(1)
		defer f.count(-1)
		p := player{ctx: ctx, yield: yield}
		for line := range strings.Lines(f.script(r)) {
			if line = strings.TrimSpace(line); line != "" && !p.play(line) {
				return
			}
		}
	}
}

func (f *fakeEngine) count(n int) {
	f.mu.Lock()
	f.live += n
	f.mu.Unlock()
}

func (f *fakeEngine) running() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.live
}

type player struct {
	ctx   context.Context
	yield func(plume.Event, error) bool
	lps   []plume.TokenLogprob
}

// play performs a line and reports whether the script goes on.
func (p *player) play(line string) bool {
	word, rest, _ := strings.Cut(line, " ")
	if p.ctx.Err() != nil {
		res := &plume.Result{Finish: plume.FinishCancelled, Usage: plume.Usage{Prompt: 7, Generated: 1}}
		p.yield(plume.Event{Kind: plume.EventDone, Result: res}, p.ctx.Err())
		return false
	}
	switch word {
	case "text", "think", "bad":
		kind := map[string]plume.EventKind{"text": plume.EventText, "think": plume.EventThinking, "bad": plume.EventBadCall}[word]
		ev := plume.Event{Kind: kind, Text: unquote(rest), Logprobs: p.lps}
		p.lps = nil
		return p.yield(ev, nil)
	case "call":
		name, args, _ := strings.Cut(rest, " ")
		ev := plume.Event{Kind: plume.EventToolCall, Logprobs: p.lps, Call: &plume.ToolCall{ID: "call_0", Name: name, Arguments: json.RawMessage(args)}}
		p.lps = nil
		return p.yield(ev, nil)
	case "lp":
		p.logprob(rest)
	case "wait":
		<-p.ctx.Done()
	case "error":
		return p.yield(plume.Event{}, failures[rest]) && false
	case "done":
		return p.yield(plume.Event{Kind: plume.EventDone, Result: result(rest)}, nil) && false
	default:
		panic("script: " + line)
	}
	return true
}

func (p *player) logprob(rest string) {
	var parts [4]any
	fmt.Sscanf(rest, "%q %v %q %v", ptr(&parts[0], ""), ptr(&parts[1], 0.0), ptr(&parts[2], ""), ptr(&parts[3], 0.0))
	token, lp := *parts[0].(*string), *parts[1].(*float64)
	other, olp := *parts[2].(*string), *parts[3].(*float64)
	p.lps = append(p.lps, plume.TokenLogprob{Text: token, Logprob: lp, Top: []plume.TokenLogprob{{Text: token, Logprob: lp}, {Text: other, Logprob: olp}}})
}

func ptr[T any](slot *any, zero T) *T {
	v := &zero
	*slot = v
	return v
}

func unquote(s string) string {
	out, err := strconv.Unquote(s)
	if err != nil {
		panic("script: " + s)
	}
	return out
}

func result(line string) *plume.Result {
	res := &plume.Result{
		Usage:   plume.Usage{Prompt: 7, Cached: 2, Generated: 3},
		Timings: plume.Timings{Prefill: 30 * time.Millisecond, FirstToken: 40 * time.Millisecond, Decode: 50 * time.Millisecond},
		PLE:     plume.PLEStats{Rows: 9, CacheHits: 4, RowsRead: 5, Overlap: 1}, Weights: plume.WeightStats{TokenBytes: 77},
	}
	for i, word := range strings.Fields(line) {
		key, value, _ := strings.Cut(word, "=")
		n, _ := strconv.Atoi(value)
		switch {
		case i == 0:
			res.Finish = plume.Finish(key)
		case key == "stop":
			res.Stop = unquote(value)
		case key == "prompt":
			res.Usage.Prompt = n
		case key == "cached":
			res.Usage.Cached = n
		case key == "generated":
			res.Usage.Generated = n
		}
	}
	return res
}

// testOptions serve a fake model called "tiny".
func testOptions(e Engine) Options {
	return Options{
		Engine: e, Version: "1.2.3",
		Model: Model{
			ID: "tiny", Family: "gemma4", Size: "T", Format: "gguf", Quantization: "Q4_0", Parameters: 17_900_000, Bytes: 20 << 20,
			Modified: time.Unix(1_700_000_000, 0), Context: 4096, Sampling: plume.Sampling{Temperature: 1, TopK: 64, TopP: 0.95},
			Tools: true, Thinking: true,
		},
	}
}

// newTestServer starts a server with ids that count, each kind by itself, and a
// clock that stands.
func newTestServer(t testing.TB, o Options) (*Server, *httptest.Server) {
	t.Helper()
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelError}))
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	n := map[string]int{}
	s.newID = func(prefix string) string {
		mu.Lock()
		defer mu.Unlock()
		n[prefix]++
		return prefix + strconv.Itoa(n[prefix])
	}
	s.now = func() time.Time { return time.Unix(1_800_000_000, 0) }
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	return s, h
}

// testWriter shows the server's errors in the test's log.
type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Helper()
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}
