package fleet

import (
	"cmp"
	"container/heap"
	"math"
	"math/rand/v2"
	"slices"
)

// request is one client's.
type request struct {
	at, first, end float64 // seconds
	prompt, answer int     // still to do
	asked, tokens  int     // of the prompt and of the answer
}

// server is a replica's state.
type server struct {
	now              float64
	busyNow          bool // its next step is among the events
	waiting, running []*request
	admitting        float64 // seconds since the last step
	busy, weighted   float64
	queued, most     int
}

func (s *server) load() int { return len(s.waiting) + len(s.running) }

// simulation is one run.
type simulation struct {
	load    *Load
	replica *Replica
	draw    *rand.Rand
	servers []*server
	events  events
	turns   int
	all     []*request
	gaps    gaps
}

func (s *simulation) run() {
	if s.load.Users == 0 {
		s.ask(s.load.gap(s.draw))
	}
	for range s.load.Users {
		s.ask(s.load.think(s.draw))
	}
	for len(s.events) > 0 {
		e := heap.Pop(&s.events).(event)
		if e.request == nil {
			s.serve(e.server)
			continue
		}
		s.arrive(e.request)
		if s.load.Users == 0 {
			s.ask(e.at + s.load.gap(s.draw))
		}
	}
}

// ask lets a request come at a time, while there are to be more.
func (s *simulation) ask(at float64) {
	if len(s.all) == s.load.Requests {
		return
	}
	q := &request{at: at, asked: min(s.load.Prompt.draw(s.draw), s.replica.Context-1)}
	q.tokens = min(s.load.Answer.draw(s.draw), s.replica.Context-q.asked)
	q.prompt, q.answer = q.asked, q.tokens
	s.all = append(s.all, q)
	s.push(event{at: at, request: q})
}

// arrive hands a request to the server with the fewest.
func (s *simulation) arrive(q *request) {
	least := slices.MinFunc(s.servers, func(a, b *server) int { return cmp.Compare(a.load(), b.load()) })
	least.waiting = append(least.waiting, q)
	least.queued, least.most = max(least.queued, len(least.waiting)), max(least.most, least.load())
	if !least.busyNow {
		least.now, least.busyNow = max(least.now, q.at), true
		s.push(event{at: least.now, server: least})
	}
}

func (s *simulation) push(e event) {
	s.turns++
	e.turn = s.turns
	heap.Push(&s.events, e)
}

// serve lets a server take requests and steps until something else happens.
func (s *simulation) serve(x *server) {
	for x.load() > 0 {
		if !s.admit(x) {
			s.step(x)
		}
		if len(s.events) > 0 && s.events[0].at <= x.now {
			break
		}
	}
	if x.busyNow = x.load() > 0; x.busyNow {
		s.push(event{at: x.now, server: x})
	}
}

// admit lets a server take a request that waits, if there is one and room for it.
func (s *simulation) admit(x *server) bool {
	if len(x.running) == s.replica.Sequences || len(x.waiting) == 0 {
		return false
	}
	x.running = append(x.running, x.waiting[0])
	x.waiting = x.waiting[1:]
	x.spend(s.replica.Admit.Seconds())
	x.admitting += s.replica.Admit.Seconds()
	return true
}

// spend lets time pass that a server works in.
func (x *server) spend(seconds float64) {
	x.now += seconds
	x.busy += seconds
	x.weighted += seconds * float64(len(x.running))
}

// step lets a server take a step: a token of each sequence whose prompt is done, and parts of
// the prompts that are not.
func (s *simulation) step(x *server) {
	work, parts := s.compose(x)
	took := max(s.replica.Step(work).Seconds(), 1e-9)
	x.spend(took)
	s.gaps.add(x.admitting+took, work.Decoding)
	x.admitting = 0
	left := x.running[:0]
	for _, q := range x.running {
		part, filling := parts[q]
		switch {
		case filling:
			if q.prompt -= part; q.prompt == 0 { // its logits give the first token
				q.first = x.now
				q.answer--
			}
		case q.prompt == 0:
			q.answer--
		}
		if q.prompt > 0 || q.answer > 0 {
			left = append(left, q)
			continue
		}
		q.end = x.now
		if s.load.Users > 0 {
			s.ask(x.now + s.load.think(s.draw))
		}
	}
	x.running = left
}

// compose shares a step's prompt tokens out evenly, as the engine does: what a short prompt
// does not need goes to the longer ones.
func (s *simulation) compose(x *server) (w Work, parts map[*request]int) {
	var prompts []*request
	for _, q := range x.running {
		if q.prompt == 0 {
			w.Decoding++
		} else {
			prompts = append(prompts, q)
		}
	}
	if prompts == nil {
		return w, nil
	}
	left := max(1, s.replica.Chunk-w.Decoding)
	if w.Decoding > 0 && s.replica.BusyChunk > 0 {
		left = min(left, s.replica.BusyChunk)
	}
	parts = map[*request]int{}
	slices.SortStableFunc(prompts, func(a, b *request) int { return cmp.Compare(a.prompt, b.prompt) })
	for i, q := range prompts {
		if left == 0 {
			break
		}
		n := min(q.prompt, max(1, left/(len(prompts)-i)))
		left -= n
		w.Prompt += n
		parts[q] = n
		if n == q.prompt {
			w.Ending++
		}
	}
	return w, parts
}

// event is a request that comes, or a server's next step.
type event struct {
	at      float64
	turn    int
	request *request
	server  *server
}

// events implements heap.Interface: the earliest first, requests before steps, in order of
// creation.
type events []event

func (q events) Len() int { return len(q) }
func (q events) Less(i, j int) bool {
	a, b := &q[i], &q[j]
	if a.at != b.at {
		return a.at < b.at
	}
	if (a.request == nil) != (b.request == nil) {
		return a.request != nil
	}
	return a.turn < b.turn
}
func (q events) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *events) Push(x any)   { *q = append(*q, x.(event)) }
func (q *events) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	(*q)[last] = event{}
	*q = (*q)[:last]
	return e
}

// gaps counts times between tokens in classes that differ by 1 %.
type gaps struct {
	counts []int
	all    int

	last  float64 // the gap before, and its class: many are alike
	class int
}

// Classes of gaps: from a nanosecond up.
const (
	gapClass = 1.01
	gapLeast = 1e-9
)

func (g *gaps) add(seconds float64, times int) {
	if times == 0 {
		return
	}
	if seconds != g.last {
		g.last, g.class = seconds, max(0, int(math.Log(seconds/gapLeast)/math.Log(gapClass)))
	}
	for len(g.counts) <= g.class {
		g.counts = append(g.counts, 0)
	}
	g.counts[g.class] += times
	g.all += times
}

// quantile is the middle of the class that has it; 0 of no gaps.
func (g *gaps) quantile(p float64) float64 {
	rank := int(math.Ceil(p * float64(g.all)))
	for i, n := range g.counts {
		if rank -= n; n > 0 && rank <= 0 {
			return gapLeast * math.Pow(gapClass, float64(i)+0.5)
		}
	}
	return 0
}
