package plume

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/plume-run/plume/demo"
)

// answerOf opens the demo and returns the ids of an answer.
func answerOf(t *testing.T, o Options) ([]int32, *Model) {
	t.Helper()
	path, _, err := demo.Path()
	if err != nil {
		t.Fatal(err)
	}
	m, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	s := newSession(t, m, SessionOptions{Context: 64})
	a, err := Collect(s.Generate(t.Context(), greedyRequest(Request{Prompt: "Tell me a story about a fox.", MaxTokens: 20})))
	if err != nil {
		t.Fatal(err)
	}
	return a.Result.IDs, m
}

// Where the weights are, and when they arrive, changes no answer.
func TestStreamedAndBackground(t *testing.T) {
	want, whole := answerOf(t, Options{})
	if whole.Plan().Streamed() != "" {
		t.Errorf("with all in memory: %s", whole.Plan().Streamed())
	}
	for name, o := range map[string]Options{
		"some":       {Stream: &Stream{Bytes: 4 << 20}},
		"everything": {Stream: &Stream{Bytes: 1 << 40}},
		"background": {Background: true},
		"both":       {Background: true, Stream: &Stream{Bytes: 8 << 20}},
	} {
		t.Run(name, func(t *testing.T) {
			got, m := answerOf(t, o)
			if !slices.Equal(got, want) {
				t.Errorf("%v, want %v", got, want)
			}
			if err := m.Ready(t.Context()); err != nil {
				t.Errorf("ready: %v", err)
			}
			read, held := m.Stats().Weights.ReadBytes, whole.Stats().Weights.ReadBytes
			if said := m.Plan().Streamed(); (o.Stream != nil) != strings.Contains(said, "for every token") || (o.Stream != nil) != (read > held) {
				t.Errorf("read %d bytes, %d where all stay: %q", read, held, said)
			}
		})
	}
	if _, err := Open("x", Options{Stream: &Stream{Bytes: -1}}); !errors.Is(err, ErrRequest) {
		t.Errorf("a negative number gives %v", err)
	}
}

// A budget below the weights streams them; one below the rest names the smallest that works.
func TestSmallBudgetStreams(t *testing.T) {
	path, _, err := demo.Path()
	if err != nil {
		t.Fatal(err)
	}
	free, err := Plan(path, Options{RAM: -1, Stream: &Stream{}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Plan(path, Options{RAM: free.Minimum() - 1<<20, Stream: &Stream{}}); !errors.Is(err, ErrMemory) {
		t.Errorf("all weights in less than they need: %v", err)
	}
	got, m := answerOf(t, Options{RAM: free.Minimum() - 1<<20})
	if want, _ := answerOf(t, Options{RAM: -1}); !slices.Equal(got, want) {
		t.Errorf("streamed: %v, want %v", got, want)
	}
	if m.Plan().Streamed() == "" || m.Plan().Total() > free.Minimum()-1<<20 {
		t.Errorf("the plan takes %d of %d: %q", m.Plan().Total(), free.Minimum()-1<<20, m.Plan().Streamed())
	}
}

// A file that ends early is found out before weights are read, in the background too.
func TestBackgroundErrors(t *testing.T) {
	path, _, err := demo.Path()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	short := filepath.Join(t.TempDir(), "short.gguf")
	if err := os.WriteFile(short, data[:len(data)/2], 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(short, Options{Background: true}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("half a file gives %v, want ErrCorrupt", err)
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none.gguf"), Options{Background: true}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file gives %v", err)
	}
}

// A result says what reading weights has cost while it was computed: for each token what
// the plan says, and nothing for those that stay.
func TestResultCountsWeights(t *testing.T) {
	for _, o := range []Options{{}, {Stream: &Stream{Bytes: 1 << 40}}} {
		_, m := answerOf(t, o)
		s := newSession(t, m, SessionOptions{Context: 64, NoDraft: true})
		a, err := Collect(s.Generate(t.Context(), greedyRequest(Request{Prompt: "Tell me a story about a fox.", MaxTokens: 20})))
		if err != nil {
			t.Fatal(err)
		}
		w := a.Result.Weights
		if o.Stream == nil {
			if w.ReadBytes != 0 || w.TokenBytes != 0 {
				t.Errorf("all weights stay, and %+v", w)
			}
			continue
		}
		planned := float64(m.plan.p.Streamed.TokenBytes)
		if r := float64(w.TokenBytes) / planned; r < 0.9 || r > 1.1 {
			t.Errorf("%d bytes a token, the plan has %.0f", w.TokenBytes, planned)
		}
		if since := m.Stats().Weights; w.ReadBytes < 19*w.TokenBytes || w.ReadBytes >= since.ReadBytes || since.TokenBytes != 0 {
			t.Errorf("the answer %+v, since the start %+v", w, since)
		}
	}
}
