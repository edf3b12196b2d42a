package engine

import "time"

// MaxDraft is the most tokens evaluated on trial beside one that is certain. The
// matrix kernels take eight tokens in one pass over the weights.
const MaxDraft = 7

// pace decides how many drafted tokens a step takes along, from what steps have
// cost and how often drafts were right. A step with k drafts yields 1 to k+1
// tokens, but takes longer than one without; where that does not pay, no draft is
// tried but now and then. Drafting never costs more than mostLost of the time.
//
// Only speed depends on its choice: a drafted token counts when the sampler draws
// the same one.
type pace struct {
	cost  [MaxDraft + 1]float64 // seconds of a step with k drafts, moving average; 0: unknown
	right float64               // probability that the next draft is right while all before it were
	total float64               // seconds of all decode steps
	lost  float64               // seconds that drafting has cost, less what it has saved
}

// The prior of a fresh pace: even odds, and a token on trial at twice what it
// costs where memory is the limit. Where arithmetic is, the first trial, after a
// dozen steps, shows it, and costs no more than one step.
const (
	priorRight = 0.5
	priorCost  = 0.25
	paceWeight = 0.1 // of the newest observation in a moving average

	worthIt   = 1.03 // tokens per cost of a step from which drafts are taken along
	mostLost  = 0.02 // share of the time that drafting may have lost
	trialLost = 0.01 // the same when a draft is only tried
)

// choose returns how many of n drafted tokens to take along. The worst that can
// happen, all of them wrong, must leave the loss within mostLost of the time.
func (p *pace) choose(n int) int {
	if n == 0 || p.cost[0] == 0 {
		return 0 // the first steps show what a step costs
	}
	best, bestRate := 0, worthIt
	for k := 1; k <= min(n, MaxDraft); k++ {
		rate := p.tokens(k) / p.relative(k)
		if rate > bestRate && p.worst(k) <= mostLost*p.total {
			best, bestRate = k, rate
		}
	}
	if best == 0 && p.worst(1) <= trialLost*p.total {
		return 1 // not worth it by what is known; a trial keeps that knowledge fresh
	}
	return best
}

// worst is the loss after a step with k drafts that are all wrong, in seconds.
func (p *pace) worst(k int) float64 {
	return p.lost + p.cost[0]*(p.relative(k)-1)
}

// tokens is how many tokens a step with k drafts is expected to yield.
func (p *pace) tokens(k int) float64 {
	sum, all := 1.0, 1.0
	for range k {
		all *= p.rightness()
		sum += all
	}
	return sum
}

func (p *pace) rightness() float64 {
	if p.right == 0 {
		return priorRight
	}
	return p.right
}

// relative is the cost of a step with k drafts against one without.
func (p *pace) relative(k int) float64 {
	if p.cost[k] > 0 {
		return p.cost[k] / p.cost[0]
	}
	// The nearest known number of drafts tells what one costs.
	for j := MaxDraft; j > 0; j-- {
		if p.cost[j] > 0 {
			return max(1, 1+(p.cost[j]/p.cost[0]-1)*float64(k)/float64(j))
		}
	}
	return 1 + priorCost*float64(k)
}

// observe learns from a step that took k drafts along, of which right were right.
func (p *pace) observe(k, right int, took time.Duration) {
	s := took.Seconds()
	if p.cost[k] == 0 {
		p.cost[k] = s
	}
	p.cost[k] += paceWeight * (s - p.cost[k])
	p.total += s
	if k == 0 {
		return
	}
	p.lost += s - float64(1+right)*p.cost[0]
	p.right = p.rightness()
	for i := range min(right+1, k) { // each draft up to the first wrong one is an observation
		hit := 0.0
		if i < right {
			hit = 1
		}
		p.right += paceWeight * (hit - p.right)
	}
	p.right = max(p.right, 1e-3)
}
