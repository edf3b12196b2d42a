package sample

import "math/rand/v2"

// seedStream is the second half of every generator's seed: an arbitrary odd
// constant (the golden ratio), so that Seed alone names the stream.
const seedStream = 0x9E3779B97F4A7C15

// Sampler draws tokens with fixed Params. It is for one goroutine at a time.
type Sampler struct {
	p   Params
	rng rand.PCG

	adjusted []float32   // logits after penalties, [vocab]; only with penalties
	counts   []int32     // occurrences in the window, [vocab]; all zero between calls
	kept     []candidate // what the filters left, best first
	weights  []float64   // unnormalised probabilities of kept, or of the vocabulary
}

// New returns a Sampler, or what Validate says of p.
func New(p Params) (*Sampler, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	return &Sampler{p: p, rng: *rand.NewPCG(p.Seed, seedStream)}, nil
}

// Params returns the settings s was made with.
func (s *Sampler) Params() Params { return s.p }

// Clone returns an independent Sampler that will draw what s would have drawn.
func (s *Sampler) Clone() *Sampler { return &Sampler{p: s.p, rng: s.rng} }

// Sample returns the id of the chosen token: an index into logits [vocab].
// history holds the ids so far, prompt included, oldest first; only penalties
// read it, and ids outside the vocabulary are passed over.
//
// A logit of -Inf or NaN is never chosen. +Inf beats every finite one, and
// several +Inf share the draw evenly. When nothing can be chosen (no logits, or
// all of them -Inf or NaN) the result is -1.
//
// After the first call with a given vocabulary it allocates nothing.
func (s *Sampler) Sample(logits []float32, history []int32) int32 {
	var u float64
	if s.p.Temperature > 0 {
		u = float64(s.rng.Uint64()>>11) * 0x1p-53 // [0, 1)
	}
	if s.p.penalised() && len(history) > 0 {
		logits = s.penalise(logits, history)
	}
	if s.p.Temperature == 0 || s.p.TopK == 1 {
		return argmax(logits)
	}
	if s.p.TopK > 0 && s.p.TopK < len(logits) {
		s.kept = selectTop(s.kept[:0], logits, s.p.TopK)
		if len(s.kept) == 0 {
			return -1
		}
		return s.drawKept(s.weigh(), u)
	}
	best := argmax(logits)
	switch {
	case best < 0:
		return -1
	case s.p.nucleus():
		return s.drawKept(s.selectNucleus(logits, logits[best]), u)
	}
	return s.drawAll(logits, logits[best], u)
}

// penalise returns a copy of logits, in s.adjusted, with the penalties applied
// to the ids of the window: repetition first, then presence and frequency.
func (s *Sampler) penalise(logits []float32, history []int32) []float32 {
	if w := s.p.PenaltyWindow; w > 0 && len(history) > w {
		history = history[len(history)-w:]
	}
	s.adjusted = append(s.adjusted[:0], logits...)
	if len(s.counts) < len(logits) {
		s.counts = make([]int32, len(logits))
	}
	for _, id := range history {
		if id >= 0 && int(id) < len(logits) {
			s.counts[id]++
		}
	}
	for _, id := range history {
		if id < 0 || int(id) >= len(logits) || s.counts[id] == 0 {
			continue
		}
		s.adjusted[id] = s.p.penalty(s.adjusted[id], s.counts[id])
		s.counts[id] = 0
	}
	return s.adjusted
}

// penalty is the logit v of a token that occurred n times.
func (p *Params) penalty(v float32, n int32) float32 {
	if r := p.RepetitionPenalty; r != 0 && v > 0 {
		v /= r
	} else if r != 0 {
		v = float32(v * r)
	}
	v -= float32(float32(n) * p.FrequencyPenalty)
	return v - p.PresencePenalty
}

// weigh fills s.weights for s.kept and returns their sum.
func (s *Sampler) weigh() float64 {
	top := s.kept[0].logit
	s.weights = s.weights[:0]
	sum := 0.0
	for _, c := range s.kept {
		w := weight(c.logit, top, s.p.Temperature)
		s.weights = append(s.weights, w)
		sum += w
	}
	return sum
}

// drawKept applies top-p and min-p to s.kept, whose weights sum to total (the
// sum of the whole distribution top-p looks at), and draws.
func (s *Sampler) drawKept(total, u float64) int32 {
	n := len(s.weights)
	if s.p.nucleus() {
		n = prefix(s.weights, float64(float64(s.p.TopP)*total))
	}
	floor := float64(s.p.MinP) // the best weight is 1
	sum, last := 0.0, 0
	for i, w := range s.weights[:n] {
		if w == 0 || w < floor {
			break
		}
		sum += w
		last = i
	}
	x := float64(u * sum)
	for i, w := range s.weights[:last] {
		if x < w {
			return s.kept[i].id
		}
		x -= w
	}
	return s.kept[last].id
}

// drawAll draws from the whole vocabulary in id order; only min-p can drop
// tokens here, so nothing needs sorting.
func (s *Sampler) drawAll(logits []float32, top float32, u float64) int32 {
	sum := s.weighAll(logits, top)
	if floor := float64(s.p.MinP); floor > 0 {
		sum = 0
		for i, w := range s.weights {
			if w < floor {
				s.weights[i] = 0
				continue
			}
			sum += w
		}
	}
	x := float64(u * sum)
	last := int32(-1)
	for i, w := range s.weights {
		if w == 0 {
			continue
		}
		if x < w {
			return int32(i)
		}
		x -= w
		last = int32(i)
	}
	return last // rounding left a crumb of x
}

// weighAll fills s.weights for the vocabulary and returns their sum.
func (s *Sampler) weighAll(logits []float32, top float32) float64 {
	if cap(s.weights) < len(logits) {
		s.weights = make([]float64, len(logits))
	}
	s.weights = s.weights[:len(logits)]
	sum := 0.0
	for i, v := range logits {
		w := weight(v, top, s.p.Temperature)
		s.weights[i] = w
		sum += w
	}
	return sum
}

// selectNucleus puts into s.kept a best-first run that covers top-p of the
// vocabulary, and returns the sum of the vocabulary's weights. A nucleus is
// usually a few dozen tokens, so it tries small selections first.
func (s *Sampler) selectNucleus(logits []float32, top float32) float64 {
	total := s.weighAll(logits, top)
	want := float64(float64(s.p.TopP) * total)
	for k := 128; ; k *= 16 {
		s.kept = selectTop(s.kept[:0], logits, min(k, len(logits)))
		if s.weigh() >= want || k >= len(logits) {
			return total
		}
	}
}

// prefix is how many of the descending weights are needed to sum to want; at
// least 1.
func prefix(weights []float64, want float64) int {
	sum := 0.0
	for i, w := range weights {
		sum += w
		if sum >= want {
			return i + 1
		}
	}
	return len(weights)
}

// weight is exp((v−top)/temperature), with 1 at the top, also when that is
// +Inf, and 0 for NaN.
func weight(v, top, temperature float32) float64 {
	if v == top {
		return 1
	}
	if !(v < top) {
		return 0
	}
	return exp((float64(v) - float64(top)) / float64(temperature))
}
