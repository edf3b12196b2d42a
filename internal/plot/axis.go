package plot

import (
	"fmt"
	"math"
)

// axis maps values to places.
type axis struct {
	low, high float64
	from, to  float64
	log       bool
}

func (a *axis) place(v float64) float64 {
	low, high := a.low, a.high
	if a.log {
		low, high, v = math.Log(low), math.Log(high), math.Log(max(v, a.low))
	}
	if high == low {
		return a.from
	}
	return a.from + (v-low)/(high-low)*(a.to-a.from)
}

// mostTicks is how many fit beside one another.
const mostTicks = 11

// ticks are round values along the axis.
func (a *axis) ticks() []float64 {
	if !a.log {
		var out []float64
		step := niceStep((a.high - a.low) / 5)
		for v := math.Ceil(a.low/step) * step; v <= a.high*1.0001; v += step {
			out = append(out, v)
		}
		return out
	}
	if out := a.decades(1, 2, 5); len(out) <= mostTicks {
		return out
	}
	return a.decades(1)
}

// decades are the multiples of powers of ten along a logarithmic axis.
func (a *axis) decades(multiples ...float64) []float64 {
	var out []float64
	for e := math.Floor(math.Log10(a.low)); e <= math.Ceil(math.Log10(a.high)); e++ {
		for _, m := range multiples {
			if v := m * math.Pow(10, e); v >= a.low*0.999 && v <= a.high*1.001 {
				out = append(out, v)
			}
		}
	}
	return out
}

// niceStep is the next of 1, 2, 5, 10, … that is not below x.
func niceStep(x float64) float64 {
	if !(x > 0) {
		return 1
	}
	base := math.Pow(10, math.Floor(math.Log10(x)))
	for _, m := range []float64{1, 2, 5, 10} {
		if m*base >= x*0.999 {
			return m * base
		}
	}
	return 10 * base
}

// number prints a tick.
func number(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%gM", v/1e6)
	case v >= 1e4:
		return fmt.Sprintf("%gk", v/1e3)
	}
	return fmt.Sprintf("%.4g", v)
}
