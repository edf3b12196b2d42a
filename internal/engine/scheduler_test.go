package engine

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/sample"
)

func newScheduler(t *testing.T, e *Engine, o SchedulerOptions) *Scheduler {
	t.Helper()
	if o.Context == 0 {
		o.Context = 128
	}
	if o.Chunk == 0 {
		o.Chunk, o.BusyChunk = 16, 5
	}
	s, err := e.NewScheduler(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		s.Close(ctx)
	})
	return s
}

// request n of a family of different ones: greedy and sampled, short and long.
func request(t *testing.T, g golden, n int) Request {
	t.Helper()
	rng := rand.New(rand.NewPCG(uint64(n), 7))
	s, err := sample.New(sample.Params{Temperature: float32(n%4) / 3, TopK: 30, RepetitionPenalty: 1.1, Seed: uint64(n)})
	if err != nil {
		t.Fatal(err)
	}
	from := rng.IntN(20)
	r := Request{Prompt: slices.Concat(g.IDs[:1], g.IDs[from:from+1+rng.IntN(25)]), Sampler: s, MaxTokens: 1 + rng.IntN(30), Stop: []int32{9, 77}}
	if n%3 == 0 { // a text that repeats, so that there are drafts
		r.Prompt = slices.Concat(r.Prompt, r.Prompt)
	}
	return r
}

// An answer that runs alone drafts, unless that is off, and the scheduler counts it; the
// answer is the same.
func TestLoneAnswersDraft(t *testing.T) {
	e, g := load(t)
	prompt := slices.Concat(g.IDs[:20], g.IDs[:20], g.IDs[:7])
	var answers [][]int32
	for _, off := range []bool{false, true} {
		s := newScheduler(t, e, SchedulerOptions{Sequences: 1, NoDraft: off})
		s.slots[0].pace.eager()
		out, res := ask(t, s, Request{Prompt: prompt, MaxTokens: 60})
		answers = append(answers, out)
		st := s.Stats()
		if (res.Drafted == 0) != off || st.Drafted != int64(res.Drafted) || st.Accepted != int64(res.Accepted) || st.Accepted > st.Drafted {
			t.Errorf("without drafts %v: %d guessed, %d right; in all %+v", off, res.Drafted, res.Accepted, st)
		}
	}
	if !slices.Equal(answers[0], answers[1]) {
		t.Errorf("with drafts %v, without %v", answers[0], answers[1])
	}
}

// Whoever computes beside it, and whenever it comes, an answer is what a session
// alone gives.
func TestBatchMatesChangeNothing(t *testing.T) {
	e, g := load(t)
	const requests = 24
	want := make([][]int32, requests)
	finish := make([]Finish, requests)
	for i := range want {
		var res Result
		want[i], res = collect(t, newSession(t, e, SessionOptions{Context: 128}), request(t, g, i))
		finish[i] = res.Finish
	}
	for _, o := range []SchedulerOptions{
		{Sequences: 1, Queue: requests}, {Sequences: 3, Queue: requests}, {Sequences: 16, Queue: requests},
		{Sequences: 4, Queue: requests, Chunk: 1, BusyChunk: 1}, {Sequences: 4, Queue: requests, Chunk: 64, BusyChunk: 64},
	} {
		s := newScheduler(t, e, o)
		var wg sync.WaitGroup
		for _, i := range rand.Perm(requests) {
			r := request(t, g, i)
			wg.Go(func() {
				var got []int32
				res, err := s.Generate(t.Context(), r, func(tok Token) bool { got = append(got, tok.ID); return true })
				if err != nil || !slices.Equal(got, want[i]) || res.Finish != finish[i] || res.Generated != len(got) {
					t.Errorf("%+v, request %d: %v %+v, %v, want %v (%d)", o, i, got, res, err, want[i], finish[i])
				}
			})
		}
		wg.Wait()
		st := s.Stats()
		if st.Answered != requests || st.Running+st.Waiting+st.KVTokens != 0 || st.Failed+st.Refused != 0 {
			t.Errorf("afterwards %+v", st)
		}
		if o.Sequences == 16 && st.Steps >= st.Generated {
			t.Errorf("%d steps for %d tokens: nothing was computed together", st.Steps, st.Generated)
		}
	}
}

// A queue that is full says so at once, and what a caller who leaves has held is free
// for the next one.
func TestQueueAndLeaving(t *testing.T) {
	e, g := load(t)
	s := newScheduler(t, e, SchedulerOptions{Sequences: 1, Queue: 1})
	started, leave := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		first := true
		res, err := s.Generate(t.Context(), Request{Prompt: g.IDs[:5], Sampler: greedy(t)}, func(Token) bool {
			if first {
				close(started)
				first = false
			}
			<-leave
			return false
		})
		if err != nil || res.Generated != 1 || res.Finish != FinishCaller {
			t.Errorf("the caller who left: %+v, %v", res, err)
		}
	})
	<-started
	ctx, cancel := context.WithCancel(t.Context())
	queued := make(chan struct{})
	wg.Go(func() {
		_, err := s.Generate(ctx, Request{Prompt: g.IDs[:5], Sampler: greedy(t)}, nil)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled in the queue: %v", err)
		}
		close(queued)
	})
	for s.Stats().Waiting == 0 {
	}
	if _, err := s.Generate(t.Context(), Request{Prompt: g.IDs[:5], Sampler: greedy(t)}, nil); !errors.Is(err, ErrOverloaded) {
		t.Errorf("a request too many: %v", err)
	}
	if st := s.Stats(); st.Running != 1 || st.Waiting != 1 || st.Refused != 1 {
		t.Errorf("meanwhile %+v", st)
	}
	cancel()
	<-queued
	if st := s.Stats(); st.Failed != 1 || st.Left != 1 || st.Waiting != 0 {
		t.Errorf("after one has left the queue: %+v", st)
	}
	wg.Go(func() {
		var got []int32
		_, err := s.Generate(t.Context(), Request{Prompt: g.IDs, MaxTokens: 5, Sampler: greedy(t)}, func(tok Token) bool {
			got = append(got, tok.ID)
			return true
		})
		if err != nil || !slices.Equal(got, g.Greedy[:5]) {
			t.Errorf("the next one: %v, %v", got, err)
		}
	})
	for s.Stats().Waiting == 0 {
	}
	close(leave)
	wg.Wait()
}

// leaver allows every token and leaves when some have come, in the midst of a step.
type leaver struct {
	tokens int
	leave  func()
}

func (l *leaver) Mask(dst []uint64) {
	for i := range dst {
		dst[i] = ^uint64(0)
	}
}

func (l *leaver) CanEnd() bool { return true }

func (l *leaver) Accept(int32) error {
	if l.tokens--; l.tokens == 0 {
		l.leave()
	}
	return nil
}

// A caller who leaves frees the place within one step: the one that runs ends, and in the
// next the place belongs to who waits for it.
func TestLeavingTakesAStep(t *testing.T) {
	e, g := load(t)
	s := newScheduler(t, e, SchedulerOptions{Sequences: 1, Queue: 1, Context: 300})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	waiting := make(chan error, 1)
	var left, next int64
	l := &leaver{tokens: 5, leave: func() {
		go func() {
			_, err := s.Generate(t.Context(), Request{Prompt: g.IDs[:7], MaxTokens: 1, Sampler: greedy(t),
				Constraint: &leaver{tokens: 1, leave: func() { next = s.Stats().Steps }}}, func(Token) bool { return true })
			waiting <- err
		}()
		for s.Stats().Waiting == 0 {
			runtime.Gosched()
		}
		left = s.Stats().Steps
		cancel()
	}}
	res, err := s.Generate(ctx, Request{Prompt: g.IDs[:5], Sampler: greedy(t), Constraint: l}, func(Token) bool { return true })
	if !errors.Is(err, context.Canceled) || res.Generated < 5 {
		t.Errorf("the caller who left: %+v, %v", res, err)
	}
	if err := <-waiting; err != nil {
		t.Error(err)
	}
	if next != left+1 {
		t.Errorf("left in step %d, the next one had the place in step %d", left+1, next+1)
	}
}

// A reader that does not read stops its own answer and nobody else's.
func TestSlowReader(t *testing.T) {
	e, g := load(t)
	s := newScheduler(t, e, SchedulerOptions{Sequences: 2, Queue: 9, Context: 300})
	stuck, resume := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	want, _ := collect(t, newSession(t, e, SessionOptions{Context: 300}), Request{Prompt: g.IDs[:5], MaxTokens: 200})
	wg.Go(func() {
		var got []int32
		_, err := s.Generate(t.Context(), Request{Prompt: g.IDs[:5], MaxTokens: 200, Sampler: greedy(t)}, func(tok Token) bool {
			if got = append(got, tok.ID); len(got) == 3 {
				close(stuck)
				<-resume
			}
			return true
		})
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("the slow reader got %d tokens, %v", len(got), err)
		}
	})
	<-stuck
	for range 5 {
		var got []int32
		_, err := s.Generate(t.Context(), Request{Prompt: g.IDs, MaxTokens: len(g.Greedy), Sampler: greedy(t)}, func(tok Token) bool {
			got = append(got, tok.ID)
			return true
		})
		if err != nil || !slices.Equal(got, g.Greedy) {
			t.Errorf("beside the slow reader: %v, %v", got, err)
		}
	}
	for s.Stats().KVTokens != 5+3+tokenBuffer-1 { // where it must come to rest
	}
	close(resume)
	wg.Wait()
}

func TestSchedulerClose(t *testing.T) {
	e, g := load(t)
	s := newScheduler(t, e, SchedulerOptions{Sequences: 1, Queue: 4})
	first, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var wg sync.WaitGroup
	for range 3 { // one runs, two wait
		wg.Go(func() {
			var got []int32
			_, err := s.Generate(t.Context(), Request{Prompt: g.IDs, MaxTokens: 3, Sampler: greedy(t)}, func(tok Token) bool {
				once.Do(func() { close(first); <-release })
				got = append(got, tok.ID)
				return true
			})
			if err != nil || !slices.Equal(got, g.Greedy[:3]) {
				t.Errorf("admitted before the end: %v, %v", got, err)
			}
		})
	}
	<-first
	for st := s.Stats(); st.Waiting+st.Running+int(st.Answered) < 3; st = s.Stats() {
	}
	wg.Go(func() {
		if err := s.Close(t.Context()); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	var err error
	for err == nil || errors.Is(err, ErrOverloaded) { // until Close has begun
		_, err = s.Generate(t.Context(), Request{Prompt: g.IDs[:2], MaxTokens: 1, Sampler: greedy(t)}, func(Token) bool { return true })
	}
	if !errors.Is(err, ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
	close(release)
	wg.Wait()
}

// Closing in a hurry cuts running answers off, and so does closing the engine.
func TestSchedulerCutOff(t *testing.T) {
	for _, closeEngine := range []bool{false, true} {
		e, g := load(t)
		s := newScheduler(t, e, SchedulerOptions{Sequences: 2, Queue: 4})
		started := make(chan struct{}, 3)
		var wg sync.WaitGroup
		release := make(chan struct{})
		for range 3 {
			wg.Go(func() {
				var once sync.Once
				_, err := s.Generate(t.Context(), Request{Prompt: g.IDs, Sampler: greedy(t)}, func(Token) bool {
					once.Do(func() { started <- struct{}{} })
					<-release
					return true
				})
				if !errors.Is(err, ErrClosed) {
					t.Errorf("engine %v: %v, want ErrClosed", closeEngine, err)
				}
			})
		}
		<-started
		<-started
		for s.Stats().Waiting == 0 {
		}
		if closeEngine {
			e.Close()
		} else {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := s.Close(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("close: %v", err)
			}
		}
		close(release)
		wg.Wait()
	}
}

// A long prompt is cut so that those who decode wait for few tokens, and several
// prompts share a step evenly, what a short one leaves going to the others.
func TestCompose(t *testing.T) {
	e, g := load(t)
	newSlot := func(prompt, held int) *slot {
		q, err := e.newSequence(64, 0)
		if err != nil {
			t.Fatal(err)
		}
		r := Request{Prompt: g.IDs[:prompt], Sampler: greedy(t)}
		q.start(&r)
		if held > 0 {
			b := &gemma.Batch{Parts: []gemma.Part{{Cache: q.cache, IDs: q.ids[:held], Want: gemma.WantLast}}}
			err := e.forward(t.Context(), b, func(logits []float32, rows int, _ error) error {
				if held == prompt {
					return q.take(logits, rows)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		return &slot{sequence: q, job: &job{tokens: make(chan Token, tokenBuffer)}}
	}
	decode, long, short, half := func() *slot { return newSlot(4, 4) }, func() *slot { return newSlot(40, 0) }, func() *slot { return newSlot(3, 0) }, func() *slot { return newSlot(20, 15) }
	full := decode()
	for full.job.room() > 0 {
		full.job.tokens <- Token{}
	}
	for name, c := range map[string]struct {
		slots []*slot
		want  []int // tokens of each part
	}{
		"nothing":           {[]*slot{{}}, nil},
		"a prompt alone":    {[]*slot{long()}, []int{16}},
		"beside a decode":   {[]*slot{long(), decode()}, []int{1, 6}},
		"even shares":       {[]*slot{long(), {}, long()}, []int{8, 8}},
		"what short leaves": {[]*slot{long(), short(), half()}, []int{3, 5, 8}},
		"many at once":      {[]*slot{decode(), decode(), long(), long()}, []int{1, 1, 3, 3}},
		"a full buffer":     {[]*slot{full, decode()}, []int{1}},
		"only full buffers": {[]*slot{full}, nil},
	} {
		var b batch
		if some := b.compose(c.slots, &SchedulerOptions{Chunk: 16, BusyChunk: 6}); some != (len(c.want) > 0) {
			t.Errorf("%s: something to do: %v", name, some)
		}
		var got []int
		for _, p := range b.Parts {
			got = append(got, len(p.IDs))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v tokens, want %v", name, got, c.want)
		}
	}
}
