// Package load asks a chat server as many users at once: it streams answers
// through the OpenAI dialect and times them. Where it is told to be rough, its
// users also leave in the middle of an answer, hang up in the middle of a
// request, and send what must be refused.
//
// It knows nothing of plume but the names of its metrics, and asks any server of
// that dialect. The command line's `bench serve` and the server's own test call
// it. Run may be called again when it has returned; it leaves no goroutine and
// no connection behind.
package load

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Options say who is asked, by how many, for how long and how.
type Options struct {
	URL      string        // of the server, without a path
	Key      string        // API key; "": none
	Model    string        // name of the model; "": the server's
	Clients  int           // users at once, 1 or more
	Duration time.Duration // after which no request begins; answers that run are read to their end
	Rounds   int           // most requests of each client; 0: as many as Duration allows
	Prompt   string        // what is asked, each time behind another number
	Tokens   int           // most tokens of an answer, 4 or more
	Patience time.Duration // most that a client waits that was refused and told to come later

	Rough    bool  // answers of other lengths, new schemas, clients that leave, nonsense, too much
	TooLarge int64 // bytes of a body that the server must refuse, for Rough
}

// Result is what the clients have seen. Each request is counted once.
type Result struct {
	Clients   int      `json:"clients"`
	Seconds   float64  `json:"seconds"`        // until Duration was over, or the last answer
	Ended     int      `json:"ended"`          // answers that came to their proper end
	Left      int      `json:"left"`           // by the client, in the middle
	Refused   int      `json:"refused"`        // with 429
	Malformed int      `json:"malformed"`      // cut-off JSON, refused with 400
	TooLarge  int      `json:"too_large"`      // refused with 413, or by hanging up
	HungUp    int      `json:"hung_up"`        // connections closed by the client in the middle of a request
	Failed    int      `json:"failed"`         // everything that should not happen
	Failures  []string `json:"failures"`       // the first of these, in words
	Tokens    int      `json:"tokens"`         // pieces of text that came within Seconds
	Rate      float64  `json:"tokens_s"`       // Tokens by Seconds
	First     Times    `json:"first_token_s"`  // from the request to its first token
	Between   Times    `json:"between_s"`      // from token to token of an answer
	Answer    Times    `json:"whole_answer_s"` // of answers that ended
}

// Times are quantiles in seconds.
type Times struct {
	Count int     `json:"count"`
	P50   float64 `json:"p50"`
	P99   float64 `json:"p99"`
	Max   float64 `json:"max"`
}

func newTimes(all []time.Duration) Times {
	if len(all) == 0 {
		return Times{}
	}
	slices.Sort(all)
	at := func(percent int) float64 { return all[min(len(all)-1, len(all)*percent/100)].Seconds() }
	return Times{len(all), at(50), at(99), all[len(all)-1].Seconds()}
}

// maxFailures are described; the rest is counted.
const maxFailures = 5

// run is one call of Run.
type run struct {
	o     Options
	http  *http.Client
	begun time.Time

	mu                  sync.Mutex
	out                 Result
	first, gaps, answer []time.Duration
}

// Run lets o.Clients users ask until o.Duration or o.Rounds is over or ctx ends,
// and returns when all of them are done.
func Run(ctx context.Context, o Options) *Result {
	o.Tokens = max(o.Tokens, 4)
	o.Duration = cmp.Or(o.Duration, 1<<62)
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = o.Clients
	defer t.CloseIdleConnections()
	r := &run{o: o, http: &http.Client{Transport: t}, begun: time.Now(), out: Result{Clients: o.Clients, Failures: []string{}}}
	var all sync.WaitGroup
	for i := range o.Clients {
		all.Go(func() { r.client(ctx, rand.New(rand.NewPCG(uint64(i), 1))) })
	}
	all.Wait()
	out := &r.out
	out.Seconds = min(o.Duration, time.Since(r.begun)).Seconds()
	out.Rate = float64(out.Tokens) / out.Seconds
	out.First, out.Between, out.Answer = newTimes(r.first), newTimes(r.gaps), newTimes(r.answer)
	return out
}

// client is one user.
func (r *run) client(ctx context.Context, dice *rand.Rand) {
	for n := 0; ctx.Err() == nil && time.Since(r.begun) < r.o.Duration && (r.o.Rounds == 0 || n < r.o.Rounds); n++ {
		wait := time.Duration(0)
		kind := 3
		if r.o.Rough {
			kind = dice.IntN(20)
		}
		switch kind {
		case 0:
			r.malformed(ctx, dice)
		case 1:
			r.tooLarge(ctx, dice)
		case 2:
			r.hangUp(dice)
		default:
			wait = r.chat(ctx, dice)
		}
		select {
		case <-time.After(min(wait, r.o.Patience)):
		case <-ctx.Done():
		}
	}
}

// count adds to one of the result's counters.
func (r *run) count(n *int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*n++
}

func (r *run) fail(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.out.Failed++; len(r.out.Failures) < maxFailures {
		r.out.Failures = append(r.out.Failures, fmt.Sprintf(format, args...))
	}
}
