package plume

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
)

func newService(t *testing.T, m *Model, o ServiceOptions) *Service {
	t.Helper()
	s, err := m.NewService(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Many at once are answered as one alone, whatever form their requests have.
func TestServiceAnswersLikeASession(t *testing.T) {
	m := openDemo(t)
	s := newService(t, m, ServiceOptions{Sequences: 3, Context: 128, ChunkTokens: 7})
	request := func(i int) Request {
		sampling := m.Sampling()
		sampling.Seed = uint64(i + 1)
		r := Request{Sampling: &sampling, MaxTokens: 20 + i, Stop: []string{"fox"}}
		if text := fmt.Sprint("Tell me story ", i%4, "."); i%2 == 0 {
			r.Prompt = text
		} else {
			r.Raw, r.Logprobs = text, 2
		}
		return r
	}
	var wg sync.WaitGroup
	for i := range 12 {
		want, err := Collect(newSession(t, m, SessionOptions{Context: 128}).Generate(t.Context(), request(i)))
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			got, err := Collect(s.Generate(t.Context(), request(i)))
			if err != nil || got.Text != want.Text || !slices.Equal(got.Result.IDs, want.Result.IDs) ||
				got.Result.Finish != want.Result.Finish || got.Result.Stop != want.Result.Stop || got.Result.Usage.Generated != want.Result.Usage.Generated {
				t.Errorf("request %d: %+v, %v, want %+v", i, got, err, want)
			}
		})
	}
	wg.Wait()
	if st := s.Stats(); st.Answered != 12 || st.Running+st.Waiting != 0 || st.Sequences != 3 || st.KVCapacity != 3*128 || st.RetryAfter != 0 {
		t.Errorf("afterwards %+v", st)
	}
}

// Answers that share their steps tell of their own rows of the table.
func TestServiceTellsRowsApart(t *testing.T) {
	m := openFromDisk(t)
	s := newService(t, m, ServiceOptions{Sequences: 4, Context: 128, PrefixCacheBytes: -1})
	before := m.PLEStats()
	var wg sync.WaitGroup
	results := make([]Result, 4)
	for i := range results {
		wg.Go(func() {
			a, err := Collect(s.Generate(t.Context(), greedyRequest(Request{Raw: fmt.Sprint(i, " times a fox"), MaxTokens: 5 + 3*i})))
			if err != nil {
				t.Error(err)
				return
			}
			results[i] = a.Result
		})
	}
	wg.Wait()
	var rows, read, reads int64
	for i, r := range results {
		u, p := r.Usage, r.PLE
		if p.Rows != int64(u.Prompt-u.Cached+u.Generated-1+u.Drafted-u.Accepted) || p.CacheHits+p.RowsRead != p.Rows || p.WaitP99 < p.WaitP50 {
			t.Errorf("answer %d, %+v: %+v", i, u, p)
		}
		rows, read, reads = rows+p.Rows, read+p.RowsRead, reads+p.Reads
	}
	if all := m.PLEStats().minus(before); all.Rows != rows || all.RowsRead != read || all.Reads != reads {
		t.Errorf("%d rows, %d read in %d reads, the model says %+v", rows, read, reads, all)
	}
}

// A chat's next turn finds what the turns before have computed.
func TestServiceRemembersTurns(t *testing.T) {
	m := openDemo(t)
	s := newService(t, m, ServiceOptions{Sequences: 1, Context: 512})
	var chat []Message
	for i := range 5 {
		chat = append(chat, UserMessage(fmt.Sprint("Tell me story number ", i, ".")))
		a, err := Collect(s.Generate(t.Context(), greedyRequest(Request{Messages: chat, MaxTokens: 30})))
		if err != nil {
			t.Fatal(err)
		}
		want, err := Collect(newSession(t, m, SessionOptions{Context: 512}).Generate(t.Context(), greedyRequest(Request{Messages: chat, MaxTokens: 30})))
		if err != nil || a.Text != want.Text {
			t.Errorf("turn %d: %q, want %q, %v", i, a.Text, want.Text, err)
		}
		if u := a.Result.Usage; i > 0 && u.Prompt-u.Cached > 30 {
			t.Errorf("turn %d: %d of %d tokens computed again", i, u.Prompt-u.Cached, u.Prompt)
		}
		chat = append(chat, a.Message())
		// Somebody else comes between, and there is one sequence for all.
		if _, err := Collect(s.Generate(t.Context(), greedyRequest(Request{Raw: fmt.Sprint("Once upon a time number ", i), MaxTokens: 20}))); err != nil {
			t.Fatal(err)
		}
	}
	if st := s.Stats().Prefix; st.Hits < 4 || st.Entries == 0 || st.Bytes == 0 || st.Bytes > st.Capacity {
		t.Errorf("prefixes %+v", st)
	}
}

func TestServiceRefusals(t *testing.T) {
	m := openDemo(t)
	for _, o := range []ServiceOptions{
		{Sequences: -1}, {Sequences: 1 << 20}, {Context: -1}, {Context: 1 << 30}, {ChunkTokens: -1}, {Queue: 1 << 30},
	} {
		if _, err := m.NewService(o); !errors.Is(err, ErrRequest) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	s, err := m.NewService(ServiceOptions{Context: 64})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []Request{{}, {Prompt: "Hi", Logprobs: -1}, {Prompt: "Hi", Logprobs: MaxLogprobs + 1}} {
		if _, err := Collect(s.Generate(t.Context(), r)); !errors.Is(err, ErrRequest) {
			t.Errorf("%+v: %v", r, err)
		}
	}
	if _, err := Collect(s.Generate(t.Context(), Request{Tokens: make([]int32, 65)})); !errors.Is(err, ErrContextFull) {
		t.Errorf("too long a prompt: %v", err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := Collect(s.Generate(t.Context(), Request{Prompt: "Hi"})); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// A service takes its share of the budget, as much as there is, and gives it back.
func TestServiceBudget(t *testing.T) {
	free := openTiny(t, Options{RAM: -1})
	cache, _ := free.plan.p.Session(free.opt.Context, free.opt.Chunk)
	budget := free.plan.Total() + 3*cache + 1<<20
	m := openTiny(t, Options{RAM: budget})
	if m.opt.Context != free.opt.Context {
		t.Fatal("the budget is too small for the test")
	}
	for range 2 {
		s, err := m.NewService(ServiceOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if n := s.Options().Sequences; n < 2 || n > defaultSequences {
			t.Errorf("%d sequences in a budget for four or so", n)
		}
		if got := s.Stats().KVBytes; got != int64(s.Options().Sequences)*cache {
			t.Errorf("caches of %d bytes, planned %d each", got, cache)
		}
		if _, err := m.NewService(ServiceOptions{Sequences: 8}); !errors.Is(err, ErrMemory) {
			t.Errorf("eight sequences more: %v", err)
		}
		if _, err := m.NewService(ServiceOptions{Sequences: 1, PrefixCacheBytes: 1 << 40}); !errors.Is(err, ErrMemory) {
			t.Errorf("a terabyte for prefixes: %v", err)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if m.cacheBytes != 0 {
			t.Errorf("%d bytes still reserved", m.cacheBytes)
		}
	}
}

// Log-probabilities are the model's own: they do not change with the temperature, and
// the chosen token's is among the top ones of a greedy answer.
func TestLogprobs(t *testing.T) {
	m := openDemo(t)
	s := newSession(t, m, SessionOptions{Context: 64})
	r := greedyRequest(Request{Prompt: "Tell me a story about a fox.", MaxTokens: 11, Logprobs: 3})
	text, n := "", 0
	for ev, err := range s.Generate(t.Context(), r) {
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range ev.Logprobs {
			text += l.Text
			n++
			if len(l.Top) != 3 || l.Top[0].ID != l.ID || l.Top[0].Logprob != l.Logprob || l.Logprob > 0 || l.Top[1].Logprob > l.Logprob {
				t.Errorf("%+v", l)
			}
		}
	}
	if text != fox || n != 11 {
		t.Errorf("%d tokens spell %q, want 11 that spell %q", n, text, fox)
	}
}

// A conversation goes on after a restart where it was.
func TestServicePrefixesSurvive(t *testing.T) {
	dir := t.TempDir()
	chat := []Message{UserMessage("Tell me a story about a fox and a hen who live in the same wood.")}
	for run, least := range []int{0, 40} {
		m := openDemo(t)
		s, err := m.NewService(ServiceOptions{Sequences: 2, Context: 256, PrefixCacheDir: filepath.Join(dir, "new")})
		if err != nil {
			t.Fatal(err)
		}
		a, err := Collect(s.Generate(t.Context(), greedyRequest(Request{Messages: chat, MaxTokens: 40})))
		if err != nil {
			t.Fatal(err)
		}
		if a.Result.Usage.Cached < least || run == 0 && a.Result.Usage.Cached > 0 {
			t.Errorf("run %d: %d of %d tokens reused", run, a.Result.Usage.Cached, a.Result.Usage.Prompt)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if st := s.Stats().Prefix; st.Note != "" || st.Entries == 0 {
			t.Errorf("run %d: %+v", run, st)
		}
		chat = append(chat, a.Message(), UserMessage("Tell me more."))
	}
	m := openTiny(t, Options{Backend: "ref"})
	if _, err := m.NewService(ServiceOptions{PrefixCacheDir: dir}); !errors.Is(err, ErrRequest) {
		t.Errorf("the ref backend: %v", err)
	}
	if m.cacheBytes != 0 {
		t.Errorf("%d bytes still reserved", m.cacheBytes)
	}
}
