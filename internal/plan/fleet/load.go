package fleet

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
)

// Lengths is a lognormal distribution of numbers of tokens.
type Lengths struct {
	Mean float64 `json:"mean"`
	P95  float64 `json:"p95"` // 19 of 20 are shorter
}

// validate refuses what no lognormal distribution has.
func (l Lengths) validate(what string) error {
	if !(l.Mean >= 1 && l.Mean <= 1e6) || !(l.P95 >= l.Mean && l.P95 <= 3.8*l.Mean) {
		return fmt.Errorf("%s of %g tokens on average, %g at the 95th percentile: want at least 1, and a percentile of 1 to 3.8 times the average", what, l.Mean, l.P95)
	}
	return nil
}

// z95 is the 95th percentile of the normal distribution.
const z95 = 1.6448536269514722

// sigma solves exp(μ + σ²/2) = Mean, exp(μ + z·σ) = P95 for σ: the smaller root.
func (l Lengths) sigma() float64 {
	return z95 - math.Sqrt(max(0, z95*z95-2*math.Log(l.P95/l.Mean)))
}

// draw returns a length, at least 1.
func (l Lengths) draw(r *rand.Rand) int {
	s := l.sigma()
	return max(1, int(math.Round(math.Exp(math.Log(l.Mean)-s*s/2+s*r.NormFloat64()))))
}

// Load is what clients ask for: Rate requests per second whatever becomes of them, or Users
// of whom each waits for an answer before asking for the next.
type Load struct {
	Rate float64 `json:"requests_per_second,omitempty"`
	// Burst is the variance of the times between arrivals, by the square of their mean: 0 or 1
	// when they are independent of one another, more when they come in bursts.
	Burst float64 `json:"burst,omitempty"`

	Users int     `json:"users,omitempty"`         // in place of Rate
	Think float64 `json:"think_seconds,omitempty"` // from an answer to the user's next request, on average

	Prompt   Lengths `json:"prompt_tokens"`
	Answer   Lengths `json:"answer_tokens"`
	Requests int     `json:"requests"` // simulated
	Seed     uint64  `json:"seed"`
}

func (l *Load) validate() error {
	open, closed := l.Rate != 0 || l.Burst != 0, l.Users != 0 || l.Think != 0
	switch {
	case open && closed:
		return errors.New("requests come at a rate, or from users who wait for answers: want one of both")
	case !closed && !(l.Rate > 0 && l.Rate <= 1e6):
		return fmt.Errorf("%g requests per second, want more than 0", l.Rate)
	case l.Burst != 0 && !(l.Burst >= 1 && l.Burst <= 1e4):
		return fmt.Errorf("bursts of %g, want 1 (independent arrivals) to 10,000", l.Burst)
	case closed && (l.Users < 1 || l.Users > 1e6):
		return fmt.Errorf("%d users, want 1 to a million", l.Users)
	case !(l.Think >= 0 && l.Think <= 1e6):
		return fmt.Errorf("users who think for %g seconds, want 0 or more", l.Think)
	case l.Requests < 1 || l.Requests > 1e7:
		return fmt.Errorf("%d requests, want 1 to 10 million", l.Requests)
	}
	return errors.Join(l.Prompt.validate("prompts"), l.Answer.validate("answers"))
}

// gap draws the seconds from one arrival to the next: exponential with the mean 1/Rate, or, in
// bursts, one of two exponential distributions that each bring half of the time (balanced
// means): short gaps with the probability p, long ones else, where 1 + Burst = 1 / (2·p·(1−p)).
func (l *Load) gap(r *rand.Rand) float64 {
	if l.Burst <= 1 {
		return r.ExpFloat64() / l.Rate
	}
	p := (1 + math.Sqrt((l.Burst-1)/(l.Burst+1))) / 2
	if r.Float64() >= p {
		p = 1 - p
	}
	return r.ExpFloat64() / (2 * p * l.Rate)
}

// think draws the seconds from an answer to the user's next request.
func (l *Load) think(r *rand.Rand) float64 {
	if l.Think == 0 {
		return 0
	}
	return r.ExpFloat64() * l.Think
}
