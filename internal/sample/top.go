package sample

// TokenProb is a token and the natural log of its probability.
type TokenProb struct {
	ID      int32
	LogProb float64
}

// Norm turns logits of one row into log-probabilities, also when the row has been
// changed since.
type Norm struct {
	top      float32
	logOfSum float64
}

// Normalise returns the Norm of a row.
func Normalise(logits []float32) Norm {
	top, sum := logSum(logits)
	return Norm{top, sum}
}

// LogProb is the natural log of the softmax probability of a token whose logit in
// the row was v. The exceptions are those of the function LogProb.
func (n Norm) LogProb(v float32) float64 { return logProb(v, n.top, n.logOfSum) }

// Top returns the n most likely tokens of a row, best first; fewer when the row has
// no more that can be chosen.
func Top(logits []float32, n int, norm Norm) []TokenProb {
	kept := selectTop(nil, logits, min(n, len(logits)))
	out := make([]TokenProb, len(kept))
	for i, c := range kept {
		out[i] = TokenProb{c.id, norm.LogProb(c.logit)}
	}
	return out
}
