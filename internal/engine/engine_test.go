package engine

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/plume-run/plume/internal/backend/cpu"
	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/quant"
	"github.com/plume-run/plume/internal/sample"
)

// golden is e-tiny: shared KV, a window of 16 and a per-layer table, and what
// an independent implementation says of it.
type golden struct {
	IDs    []int32 `json:"input_ids"`
	Greedy []int32 `json:"greedy"`
	NLL    float64 `json:"mean_nll"`
}

// tiny is the folder of the model whose reference outputs golden holds.
var tiny = filepath.Join("..", "gemma", "testdata", "e-tiny")

func load(t testing.TB) (*Engine, golden) {
	t.Helper()
	return loadFrom(t, tiny)
}

func loadFrom(t testing.TB, dir string) (*Engine, golden) {
	t.Helper()
	var g golden
	raw, err := os.ReadFile(filepath.Join(dir, "expect.json"))
	if err == nil {
		err = json.Unmarshal(raw, &g)
	}
	if err != nil {
		t.Fatal(err)
	}
	cat, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := gemma.ReadConfig(cat)
	if err != nil {
		t.Fatal(err)
	}
	back, err := cpu.New(2)
	if err != nil {
		t.Fatal(err)
	}
	m, err := gemma.Bind(cat, cfg, back, gemma.BindOptions{KVType: quant.F32})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(m.Close(), back.Close(), cat.Close()); err != nil {
			t.Error(err)
		}
	})
	return New(m), g
}

func greedy(t *testing.T) *sample.Sampler {
	t.Helper()
	s, err := sample.New(sample.Params{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// collect runs a generation to its end.
func collect(t *testing.T, s *Session, r Request) ([]int32, Result) {
	t.Helper()
	if r.Sampler == nil {
		r.Sampler = greedy(t)
	}
	var out []int32
	res, err := s.Generate(t.Context(), r, func(tok Token) bool { out = append(out, tok.ID); return true })
	if err != nil {
		t.Fatal(err)
	}
	return out, res
}

func newSession(t *testing.T, e *Engine, o SessionOptions) *Session {
	t.Helper()
	s, err := e.NewSession(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestGenerateGolden(t *testing.T) {
	e, g := load(t)
	for _, chunk := range []int{1, 5, 16, 17, 0} {
		s := newSession(t, e, SessionOptions{Chunk: chunk})
		out, res := collect(t, s, Request{Prompt: g.IDs, MaxTokens: len(g.Greedy)})
		if !slices.Equal(out, g.Greedy) {
			t.Errorf("chunk %d: got %v, want %v", chunk, out, g.Greedy)
		}
		want := Result{Prompt: len(g.IDs), Generated: len(g.Greedy), Finish: FinishLength}
		want.Prefill, want.First, want.Decode = res.Prefill, res.First, res.Decode
		want.Drafted, want.Accepted = res.Drafted, res.Accepted
		want.PLE, want.PLEWaits, want.Weights, want.Decoded = res.PLE, res.PLEWaits, res.Weights, res.Decoded
		if res != want {
			t.Errorf("chunk %d: result %+v, want %+v", chunk, res, want)
		}
		if res.Prefill <= 0 || res.First < res.Prefill || res.Decode <= 0 {
			t.Errorf("chunk %d: timings %v, %v, %v", chunk, res.Prefill, res.First, res.Decode)
		}
	}
}

// A session that has answered gives the same answer to the next prompt as a
// fresh one, whether the prompt extends, repeats, shortens or replaces the last.
func TestReuse(t *testing.T) {
	e, g := load(t)
	s := newSession(t, e, SessionOptions{})
	first, _ := collect(t, s, Request{Prompt: g.IDs[:8], MaxTokens: 4})
	long := slices.Concat(g.IDs[:8], first, g.IDs[8:40])
	tests := []struct {
		name   string
		prompt []int32
		reused int
	}{
		{"extends", long, 11},                 // 8 of the prompt, 3 of the answer: the last was never computed
		{"repeats past the window", long, 43}, // the rings have gone on by three tokens, which their slack covers
		{"goes back past the window", long[:20], 0},
		{"goes on", g.IDs[:30], 8},
		{"replaces", g.IDs[10:20], 0},
		{"shortens within the window", g.IDs[10:15], 4},
	}
	for _, tt := range tests {
		got, res := collect(t, s, Request{Prompt: tt.prompt, MaxTokens: 4})
		fresh, _ := collect(t, newSession(t, e, SessionOptions{}), Request{Prompt: tt.prompt, MaxTokens: 4})
		if !slices.Equal(got, fresh) {
			t.Errorf("%s: got %v, a fresh session %v", tt.name, got, fresh)
		}
		if tt.name == "goes on" {
			continue // depends on how far the session before went round its rings
		}
		if res.Reused != tt.reused {
			t.Errorf("%s: reused %d tokens, want %d", tt.name, res.Reused, tt.reused)
		}
	}
}

func TestFinish(t *testing.T) {
	e, g := load(t)
	n := len(g.IDs)
	stop := g.Greedy[3]
	if slices.Contains(g.Greedy[:3], stop) {
		t.Fatal("bad test data")
	}
	tests := []struct {
		name    string
		context int
		req     Request
		tokens  int
		want    Finish
	}{
		{"length", 0, Request{MaxTokens: 2}, 2, FinishLength},
		{"stop", 0, Request{MaxTokens: 20, Stop: []int32{stop}}, 4, FinishStop},
		{"stop is the last allowed", 0, Request{MaxTokens: 4, Stop: []int32{stop}}, 4, FinishStop},
		{"context", n + 3, Request{}, 4, FinishContext},
		{"prompt fills the context", n, Request{}, 1, FinishContext},
	}
	for _, tt := range tests {
		s := newSession(t, e, SessionOptions{Context: tt.context})
		tt.req.Prompt = g.IDs
		out, res := collect(t, s, tt.req)
		if res.Finish != tt.want || !slices.Equal(out, g.Greedy[:tt.tokens]) {
			t.Errorf("%s: finish %d after %v, want %d after %v", tt.name, res.Finish, out, tt.want, g.Greedy[:tt.tokens])
		}
	}
}

func TestRefusals(t *testing.T) {
	e, g := load(t)
	s := newSession(t, e, SessionOptions{Context: 8})
	tests := []struct {
		name   string
		prompt []int32
		want   error
	}{
		{"empty", nil, nil},
		{"negative", []int32{2, -1}, ErrToken},
		{"past the vocabulary", []int32{2, 320}, ErrToken},
		{"too long", g.IDs, ErrContextFull},
	}
	for _, tt := range tests {
		_, err := s.Generate(t.Context(), Request{Prompt: tt.prompt, Sampler: greedy(t)}, nil)
		if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: error %v, want %v", tt.name, err, tt.want)
		}
	}
	for _, o := range []SessionOptions{{Context: -1}, {Context: 4097}, {Chunk: -1}} {
		if _, err := e.NewSession(o); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := s.Generate(t.Context(), Request{Prompt: g.IDs[:2], Sampler: greedy(t)}, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("closed session: error %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
}

// A cancelled or re-entered session stays usable and gives the right answer.
func TestCancelAndBusy(t *testing.T) {
	e, g := load(t)
	s := newSession(t, e, SessionOptions{Chunk: 7})
	ctx, cancel := context.WithCancel(t.Context())
	var busy error
	seen := 0
	res, err := s.Generate(ctx, Request{Prompt: g.IDs, Sampler: greedy(t)}, func(Token) bool {
		_, busy = s.Generate(ctx, Request{Prompt: g.IDs, Sampler: greedy(t)}, nil)
		if seen++; seen == 3 {
			cancel()
		}
		return true
	})
	if !errors.Is(err, context.Canceled) || res.Generated != 3 || res.Finish != FinishError {
		t.Errorf("cancelled: %+v, %v", res, err)
	}
	if !errors.Is(busy, ErrBusy) {
		t.Errorf("re-entered: error %v, want %v", busy, ErrBusy)
	}
	if _, err := s.Generate(ctx, Request{Prompt: g.IDs, Sampler: greedy(t)}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before the start: error %v", err)
	}
	out, _ := collect(t, s, Request{Prompt: g.IDs, MaxTokens: len(g.Greedy)})
	if !slices.Equal(out, g.Greedy) {
		t.Errorf("after the cancellation: got %v, want %v", out, g.Greedy)
	}
}

// Sessions of several goroutines take turns and do not disturb each other.
func TestSessionsInterleave(t *testing.T) {
	e, g := load(t)
	var wg sync.WaitGroup
	for i := range 4 {
		s := newSession(t, e, SessionOptions{Chunk: 3 + i})
		wg.Go(func() {
			var out []int32
			sm, _ := sample.New(sample.Params{})
			_, err := s.Generate(t.Context(), Request{Prompt: g.IDs, MaxTokens: 10, Sampler: sm},
				func(tok Token) bool { out = append(out, tok.ID); return true })
			if err != nil || !slices.Equal(out, g.Greedy[:10]) {
				t.Errorf("session %d: %v, %v, want %v", i, out, err, g.Greedy[:10])
			}
		})
	}
	wg.Wait()
}

func TestEvaluate(t *testing.T) {
	e, g := load(t)
	var first []float32
	for _, chunk := range []int{0, 1, 7, 64} {
		var logits []float32
		hidden := make([]int, 11)
		ev, err := e.Evaluate(t.Context(), g.IDs, EvalOptions{
			Chunk: chunk, Greedy: len(g.Greedy),
			Logits: func(i int, row []float32) error {
				if i*len(row) != len(logits) {
					t.Fatalf("chunk %d: row %d out of order", chunk, i)
				}
				logits = append(logits, row...)
				return nil
			},
			Hidden: func(index, i int, h []float32) error {
				if i != hidden[index] || len(h) != 64 {
					t.Fatalf("chunk %d: hidden.%d token %d of %d values out of order", chunk, index, i, len(h))
				}
				hidden[index]++
				return nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		if math.Abs(ev.MeanNLL-g.NLL) > 1e-4 || ev.Scored != len(g.IDs)-1 {
			t.Errorf("chunk %d: mean nll %.6f of %d, want %.6f", chunk, ev.MeanNLL, ev.Scored, g.NLL)
		}
		if !slices.Equal(ev.Greedy, g.Greedy) {
			t.Errorf("chunk %d: greedy %v, want %v", chunk, ev.Greedy, g.Greedy)
		}
		if slices.Max(hidden) != len(g.IDs) || slices.Min(hidden) != len(g.IDs) {
			t.Errorf("chunk %d: hidden rows %v", chunk, hidden)
		}
		if first == nil {
			first = logits
		} else if !slices.Equal(logits, first) {
			t.Errorf("chunk %d: other logits", chunk)
		}
	}
	stop := errors.New("enough")
	_, err := e.Evaluate(t.Context(), g.IDs, EvalOptions{Hidden: func(int, int, []float32) error { return stop }})
	if !errors.Is(err, stop) {
		t.Errorf("hidden callback: error %v", err)
	}
}

// A file that shrinks while its table is read ends the answer with an error
// that says where.
func TestFileShrinks(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("open files cannot be cut there")
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(tiny)); err != nil {
		t.Fatal(err)
	}
	e, g := loadFrom(t, dir)
	s := newSession(t, e, SessionOptions{})
	sampler, err := sample.New(sample.Params{Temperature: 1, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	cut := false
	_, err = s.Generate(t.Context(), Request{Prompt: g.IDs[:3], MaxTokens: 300, Sampler: sampler}, func(Token) bool {
		if !cut {
			cut, err = true, os.Truncate(filepath.Join(dir, "model.safetensors"), 100)
		}
		return err == nil
	})
	if !errors.Is(err, checkpoint.ErrCorrupt) || !strings.Contains(err.Error(), "shrunk") || strings.Contains(err.Error(), "token -1") {
		t.Errorf("error %v", err)
	}
}
