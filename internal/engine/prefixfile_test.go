package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plume-run/plume/internal/gemma"
)

// What has been computed is on the disk soon after, while requests go on: a crash loses
// little, and leaves nothing half written.
func TestPrefixFileSurvivesACrash(t *testing.T) {
	e, _ := load(t)
	dir := filepath.Join(t.TempDir(), "[a]") // is no pattern
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "p")
	parts := map[string]bool{".123.part": false, ".456.part": true, ".x.123.part": true} // that stay
	long := time.Now().Add(-24 * time.Hour)
	for part := range parts {
		if err := os.WriteFile(path+part, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
		if part == ".456.part" { // another server may be writing it
			continue
		}
		if err := os.Chtimes(path+part, long, long); err != nil {
			t.Fatal(err)
		}
	}
	o := SchedulerOptions{Sequences: 3, Context: 600, Queue: 9, PrefixBytes: 1 << 22, PrefixFile: path, PrefixKey: PrefixKey{1}, PrefixPause: 1}
	s := newScheduler(t, e, o)
	for part, stays := range parts {
		if _, err := os.Stat(path + part); errors.Is(err, os.ErrNotExist) == stays {
			t.Errorf("%s: %v, it stays is %v", part, err, stays)
		}
	}
	var wg sync.WaitGroup
	for i := range 9 {
		wg.Go(func() { ask(t, s, Request{Prompt: someIDs(i%5, 100+10*i), MaxTokens: 5 + i}) })
	}
	wg.Wait()
	answered := s.Stats().Prefix
	for s.Stats().Prefix.Saves <= answered.Saves+1 { // one that has begun after the last answer
		ask(t, s, Request{Prompt: someIDs(20, 2), MaxTokens: 1})
	}
	crashed, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for os.Remove(path) != nil || os.Mkdir(path, 0o700) != nil { // the file may just be written
		runtime.Gosched()
	}
	for !strings.Contains(s.Stats().Prefix.Note, "save prefixes") {
		ask(t, s, Request{Prompt: someIDs(20, 2), MaxTokens: 1})
	}
	o.PrefixFile, o.PrefixPause = filepath.Join(t.TempDir(), "p"), 0
	if err := os.WriteFile(o.PrefixFile, crashed, 0o600); err != nil {
		t.Fatal(err)
	}
	again := newScheduler(t, e, o)
	prompt := someIDs(2, 120) // two requests began so
	if _, res := ask(t, again, Request{Prompt: prompt, MaxTokens: 1}); res.Reused != len(prompt)-1 {
		t.Errorf("%d of %d tokens found, %+v", res.Reused, len(prompt), again.Stats().Prefix)
	}
}

// A lock that cannot be taken, for another reason than that the file system has none, keeps the
// file from being written; what is wrong with the lock and with the file are both told.
func TestPrefixFileWithoutItsLock(t *testing.T) {
	e, _ := load(t)
	path := filepath.Join(t.TempDir(), "p")
	if err := os.WriteFile(path, []byte("not such a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path+".lock", 0o700); err != nil {
		t.Fatal(err)
	}
	s := newScheduler(t, e, SchedulerOptions{Sequences: 1, Context: 600, PrefixBytes: 1 << 22, PrefixFile: path})
	if note := s.Stats().Prefix.Note; !strings.Contains(note, "load prefixes") || !strings.Contains(note, "save prefixes") {
		t.Errorf("at the start: %q", note)
	}
	ask(t, s, Request{Prompt: someIDs(1, 100), MaxTokens: 1})
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if st := s.Stats().Prefix; st.Saves != 0 || !strings.Contains(st.Note, "save prefixes") {
		t.Errorf("at the end: %+v", st)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "not such a file" {
		t.Errorf("the file is %q, %v", data, err)
	}
}

// Of two schedulers with one file, the first writes it. The other one finds what is there
// and says that it saves nothing, until the first has ended.
func TestPrefixFileHasOneWriter(t *testing.T) {
	e, _ := load(t)
	path := filepath.Join(t.TempDir(), "p")
	o := SchedulerOptions{Sequences: 1, Context: 600, PrefixBytes: 1 << 22, PrefixFile: path, PrefixKey: PrefixKey{1}}
	known, fresh, last := someIDs(1, 100), someIDs(2, 100), someIDs(3, 100)
	end := func(s *Scheduler) PrefixStats {
		t.Helper()
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		return s.Stats().Prefix
	}
	reused := func(s *Scheduler, prompt []int32) int {
		_, res := ask(t, s, Request{Prompt: prompt, MaxTokens: 1})
		return res.Reused
	}
	s := newScheduler(t, e, o)
	reused(s, known)
	end(s)

	first, second, third := newScheduler(t, e, o), newScheduler(t, e, o), newScheduler(t, e, o)
	if note := first.Stats().Prefix.Note; note != "" {
		t.Errorf("the first: %s", note)
	}
	if n := reused(second, known); n != len(known)-1 {
		t.Errorf("the second finds %d of %d tokens", n, len(known))
	}
	reused(second, last)
	if st := end(second); st.Saves != 0 || !strings.Contains(st.Note, "another server") {
		t.Errorf("the second: %+v", st)
	}
	reused(first, fresh)
	if st := end(first); st.Saves != 1 || st.Note != "" {
		t.Errorf("the first: %+v", st)
	}
	reused(third, last)
	if st := end(third); st.Saves != 1 || st.Note != "" {
		t.Errorf("the third, alone now: %+v", st)
	}
	again := newScheduler(t, e, o)
	for i, c := range []struct {
		prompt []int32
		want   int
	}{{fresh, 0}, {last, len(last) - 1}} { // the third began before fresh was known
		if n := reused(again, c.prompt); n != c.want {
			t.Errorf("prompt %d: %d tokens found, want %d", i, n, c.want)
		}
	}
}

// Nothing that is forgotten while a snapshot is alive would give its memory back, so
// nothing is, and what does not fit is not kept.
func TestNothingIsForgottenWhileLent(t *testing.T) {
	e, _ := load(t)
	s := newScheduler(t, e, SchedulerOptions{Sequences: 1, Context: 600, PrefixBytes: 200 << 10})
	for i := range 4 {
		ask(t, s, Request{Prompt: someIDs(i, 200), MaxTokens: 1})
	}
	before := s.Stats().Prefix
	if before.Evicted == 0 {
		t.Fatalf("the budget is too large for the test: %+v", before)
	}
	s.known.lent = true // the loop is idle
	ask(t, s, Request{Prompt: someIDs(9, 200), MaxTokens: 1})
	if st := s.Stats().Prefix; st.Evicted != before.Evicted || st.Bytes != before.Bytes {
		t.Errorf("before %+v, then %+v", before, st)
	}
	s.known.lent = false
	ask(t, s, Request{Prompt: someIDs(10, 200), MaxTokens: 1})
	if st := s.Stats().Prefix; st.Evicted == before.Evicted {
		t.Errorf("afterwards %+v", st)
	}
}

// noSum agrees with every record, so that fuzzing gets behind the sums.
type noSum struct{}

func (noSum) Write(b []byte) (int, error) { return len(b), nil }
func (noSum) Sum(b []byte) []byte         { return append(b, 0, 0, 0, 0) }
func (noSum) Sum32() uint32               { return 0 }
func (noSum) Reset()                      {}
func (noSum) Size() int                   { return 4 }
func (noSum) BlockSize() int              { return 1 }

// FuzzPrefixFile reads files that anybody may have written: one that is not sound leaves
// nothing behind, what is read can be written and read again, and no more than the budget
// is held.
func FuzzPrefixFile(f *testing.F) {
	key := PrefixKey{7}
	const budget = 1 << 20
	open := func(t testing.TB) *sequence {
		e, _ := load(t)
		q, err := e.newSequence(200, MaxDraft)
		if err != nil {
			t.Fatal(err)
		}
		return q
	}
	write := func(p *prefixes) []byte {
		var file bytes.Buffer
		if err := p.snapshot().write(&file, key, noSum{}); err != nil {
			f.Fatal(err)
		}
		return file.Bytes()
	}
	q := open(f)
	p := newPrefixes(budget)
	f.Add(write(p))
	for i, n := range []int{20, 64, 140, 30} {
		q.clear()
		q.ids = someIDs(i%3, n)
		b := &gemma.Batch{Parts: []gemma.Part{{Cache: q.cache, IDs: q.ids}}}
		if err := q.e.forward(f.Context(), b, nil); err != nil {
			f.Fatal(err)
		}
		if err := p.keep(q.cache, q.ids); err != nil {
			f.Fatal(err)
		}
		f.Add(write(p))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		p := newPrefixes(budget)
		err := p.read(bytes.NewReader(file), key, q.cache, noSum{})
		checkTree(t, p)
		switch {
		case err != nil && !errors.Is(err, errFull) && (p.stats.Bytes != 0 || len(p.root.kids)+len(p.root.marks) != 0):
			t.Errorf("%v, and yet %+v", err, p.stats)
		case err == nil:
			again := newPrefixes(budget)
			if err := again.read(bytes.NewReader(write(p)), key, q.cache, noSum{}); err != nil || again.stats != p.stats {
				t.Errorf("written again: %v, %+v, want %+v", err, again.stats, p.stats)
			}
		}
	})
}

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
		if st := with(o, good[:at]); st.Entries != 0 || !strings.Contains(st.Note, "load prefixes") {
			t.Errorf("cut at %d: %+v", at, st)
		}
		bad := slices.Clone(good)
		bad[at] ^= 0x10
		if st := with(o, bad); st.Entries != 0 || !strings.Contains(st.Note, "load prefixes") {
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
	if st := with(small, good); st.Bytes > small.PrefixBytes || !strings.Contains(st.Note, fmt.Sprintf("budget: %d places", st.Entries)) {
		t.Errorf("half the budget: %+v", st)
	}
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	s = newScheduler(t, e, small)
	last := slices.Concat(prompts[2], want[2][:29])
	if _, res := ask(t, s, Request{Prompt: last, MaxTokens: 1}); res.Reused != len(last)-1 {
		t.Errorf("half the budget: %d of %d tokens of the last prompt are reused", res.Reused, len(last))
	}
	o.PrefixFile = filepath.Join(path, "there is no such folder")
	s = newScheduler(t, e, o)
	ask(t, s, Request{Prompt: prompts[0], MaxTokens: 1})
	if st := saved(s); !strings.Contains(st.Note, "save prefixes") {
		t.Errorf("nowhere to save: %+v", st)
	}
}
