package engine

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What was computed before a restart is there after it; what is damaged, cut off or of
// another model is not believed, and told.
func TestPrefixFile(t *testing.T) {
	e, _ := load(t)
	path := filepath.Join(t.TempDir(), "p")
	o := SchedulerOptions{Sequences: 2, Context: 600, PrefixBytes: 1 << 30, PrefixFile: path, PrefixKey: PrefixKey{1}}
	prompts := [][]int32{someIDs(1, 210), slices.Concat(someIDs(1, 150), someIDs(2, 70)), someIDs(3, 20)}
	var want [][]int32
	s := newScheduler(t, e, o)
	for _, p := range prompts {
		out, _ := ask(t, s, Request{Prompt: p, MaxTokens: 30})
		want = append(want, out)
	}
	saved := func(s *Scheduler) PrefixStats {
		t.Helper()
		if err := s.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		return s.Stats().Prefix
	}
	first := saved(s)
	if first.Note != "" || first.Entries < 5 {
		t.Fatalf("saved %+v", first)
	}

	s = newScheduler(t, e, o)
	if st := s.Stats().Prefix; st.Entries != first.Entries || st.Bytes != first.Bytes || st.Note != "" {
		t.Errorf("found %+v, saved %+v", st, first)
	}
	checkPrefixes(t, s)
	for i, p := range prompts {
		p = slices.Concat(p, want[i][:29])
		out, res := ask(t, s, Request{Prompt: p, MaxTokens: 1})
		if res.Reused != len(p)-1 || out[0] != want[i][29] {
			t.Errorf("prompt %d: %d of %d reused, then %v, want %v", i, res.Reused, len(p), out, want[i][29])
		}
	}
	saved(s)

	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	with := func(o SchedulerOptions, data []byte) PrefixStats {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		s := newScheduler(t, e, o)
		checkPrefixes(t, s)
		st := s.Stats().Prefix
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		s.Close(ctx)
		return st
	}
	o.Sequences = 1
	for at := 0; at < len(good); at += 1 + len(good)/50 {
		if st := with(o, good[:at]); !strings.Contains(st.Note, "load prefixes") {
			t.Errorf("cut at %d: %+v", at, st)
		}
		bad := slices.Clone(good)
		bad[at] ^= 0x10
		if st := with(o, bad); !strings.Contains(st.Note, "load prefixes") {
			t.Errorf("damaged at %d: %+v", at, st)
		}
	}
	other := o
	other.PrefixKey[5]++
	if st := with(other, good); st.Entries != 0 || !strings.Contains(st.Note, "another model") {
		t.Errorf("another key: %+v", st)
	}
	small := o
	small.PrefixBytes = first.Bytes / 2
	if st := with(small, good); st.Bytes > small.PrefixBytes || !strings.Contains(st.Note, "budget") {
		t.Errorf("half the budget: %+v", st)
	}
	o.PrefixFile = filepath.Join(path, "there is no such folder")
	s = newScheduler(t, e, o)
	ask(t, s, Request{Prompt: prompts[0], MaxTokens: 1})
	if st := saved(s); !strings.Contains(st.Note, "save prefixes") {
		t.Errorf("nowhere to save: %+v", st)
	}
}
