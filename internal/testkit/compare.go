package testkit

import (
	"fmt"
	"math"
	"testing"
)

// Within reports an error when got and want differ by more than tol in any
// element, naming the worst one; a NaN or a different length differs by more
// than anything.
func Within(tb testing.TB, what string, got, want []float32, tol float64) {
	tb.Helper()
	if msg := compare(got, want, tol); msg != "" {
		tb.Errorf("%s: %s", what, msg)
	}
}

// SameBits reports an error when any element of got has other bits than want's.
func SameBits(tb testing.TB, what string, got, want []float32) {
	tb.Helper()
	if len(got) != len(want) {
		tb.Errorf("%s: %d values, want %d", what, len(got), len(want))
		return
	}
	n, first := 0, -1
	for i := range got {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			if n++; n == 1 {
				first = i
			}
		}
	}
	if n > 0 {
		tb.Errorf("%s: %d of %d values have other bits; the first, [%d], is %v (%#08x), want %v (%#08x)", what, n, len(got), first,
			got[first], math.Float32bits(got[first]), want[first], math.Float32bits(want[first]))
	}
}

// MaxDiff returns the largest absolute difference and where it is; a pair that
// is not a number on one side only, or infinite on one side only, differs by
// +Inf. Slices of different length, which are a bug of the test, panic.
func MaxDiff(got, want []float32) (diff float64, at int) {
	if len(got) != len(want) {
		panic(fmt.Sprintf("testkit: internal error: compare %d values with %d", len(got), len(want)))
	}
	for i, g := range got {
		d := math.Abs(float64(g) - float64(want[i]))
		switch {
		case math.Float32bits(g) == math.Float32bits(want[i]):
			d = 0 // also equal infinities and NaNs
		case math.IsNaN(d):
			d = math.Inf(1)
		}
		if d > diff {
			diff, at = d, i
		}
	}
	return diff, at
}

// compare describes why got is not within tol of want, or returns "".
func compare(got, want []float32, tol float64) string {
	if len(got) != len(want) {
		return fmt.Sprintf("%d values, want %d", len(got), len(want))
	}
	diff, at := MaxDiff(got, want)
	if diff <= tol {
		return ""
	}
	over := 0
	for i := range got {
		if d, _ := MaxDiff(got[i:i+1], want[i:i+1]); d > tol {
			over++
		}
	}
	return fmt.Sprintf("%d of %d values are off by more than %.3g; the worst, [%d], is %v, want %v (off by %.3g)",
		over, len(got), tol, at, got[at], want[at], diff)
}
