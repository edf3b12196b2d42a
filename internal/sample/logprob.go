package sample

import "math"

// LogProb is the natural log of the softmax probability of id, in float64; for
// perplexity and reported log-probabilities. It is -Inf for an id outside
// logits, for a logit of -Inf or NaN, and for a finite one beside a +Inf.
func LogProb(logits []float32, id int32) float64 {
	if id < 0 || int(id) >= len(logits) {
		return math.Inf(-1)
	}
	top, sum := logSum(logits)
	return logProb(logits[id], top, sum)
}

// LogSoftmax writes the log-probability of every logit into dst, reused when it
// has the capacity, and returns it. The exceptions are those of LogProb.
func LogSoftmax(dst []float64, logits []float32) []float64 {
	if cap(dst) < len(logits) {
		dst = make([]float64, len(logits))
	}
	dst = dst[:len(logits)]
	top, sum := logSum(logits)
	for i, v := range logits {
		dst[i] = logProb(v, top, sum)
	}
	return dst
}

// logSum returns the highest logit and log Σ exp(v−top).
func logSum(logits []float32) (top float32, logOfSum float64) {
	at := argmax(logits)
	if at < 0 {
		return float32(math.Inf(-1)), 0
	}
	top = logits[at]
	sum := 0.0
	for _, v := range logits {
		sum += weight(v, top, 1)
	}
	return top, math.Log(sum)
}

func logProb(v, top float32, logOfSum float64) float64 {
	switch {
	case !(v > float32(math.Inf(-1))):
		return math.Inf(-1)
	case v == top:
		return -logOfSum
	}
	return float64(v) - float64(top) - logOfSum
}

// ln2Hi+ln2Lo is ln 2; ln2Hi has 32 significant bits, so k·ln2Hi is exact for
// every k used here.
const (
	ln2Hi = 6.93147180369123816490e-01
	ln2Lo = 1.90821492927058770002e-10
)

// exp is e^x for x ≤ 0, within 1 part in 2^51, and 0 below -700.
//
// math.Exp has assembly on some platforms and fuses on others, and a last-bit
// difference can move a draw. Here every product is rounded before it is added
// (the conversions say so to the compiler), so the bits are the same everywhere.
//
//	x = k·ln2 + r, |r| ≤ ln2/2 ;  e^x = 2^k · Σ r^n/n!  up to n = 13
func exp(x float64) float64 {
	if !(x >= -700) {
		return 0
	}
	k := math.Floor(float64(x*math.Log2E) + 0.5)
	r := (x - float64(k*ln2Hi)) - float64(k*ln2Lo)
	s := 1.0 / 6227020800
	s = float64(s*r) + 1.0/479001600
	s = float64(s*r) + 1.0/39916800
	s = float64(s*r) + 1.0/3628800
	s = float64(s*r) + 1.0/362880
	s = float64(s*r) + 1.0/40320
	s = float64(s*r) + 1.0/5040
	s = float64(s*r) + 1.0/720
	s = float64(s*r) + 1.0/120
	s = float64(s*r) + 1.0/24
	s = float64(s*r) + 1.0/6
	s = float64(s*r) + 0.5
	s = float64(s*r) + 1
	s = float64(s*r) + 1
	return s * math.Float64frombits(uint64(1023+int64(k))<<52)
}
