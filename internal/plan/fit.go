package plan

import (
	"fmt"

	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/quant"
)

// How far things may shrink without being told to.
const (
	minChunk   = 32  // below it, prompts read all weights for a handful of tokens
	minContext = 512 // a short question and its answer
	contextTo  = 64  // contexts that were shrunk are multiples of it
)

// StreamContext is a conversation: rather than less of it, weights are streamed.
const StreamContext = 2048

// fit gives way in this order until the plan fits: what costs only time, then
// precision if it was allowed, then room, then much time, then all room.
//
//  1. the buffers that weights are read into, see gemma.Residency
//  2. the prompt chunk, halved down to minChunk
//  3. the cache of per-layer rows, halved down to nothing
//  4. keys and values, f16 to int8, if AllowI8
//  5. the context, to the largest multiple of contextTo that fits, down to StreamContext
//  6. the weights that stay, see stream, unless FixedResidency
//  7. the context again, down to minContext
func fit(w *gemma.Weights, o Options) (*Plan, error) {
	f := fitter{w: w, asked: o, least: shrinkAll(o)}
	f.least.Residency = f.thriftiest()
	f.least.Residency.FewReads = true
	least := lay(w, f.least)
	minimum := (least.Total + 1<<20 - 1) &^ (1<<20 - 1)
	if o.RAMBytes > 0 && least.Total > o.RAMBytes {
		return nil, &TooSmallError{
			Budget: o.RAMBytes, Minimum: minimum,
			Weights: w.ResidentWith(f.least.Residency), Streamed: streamed(w, f.least.Residency) != nil,
		}
	}
	f.shrink()
	if !f.fits() && !o.FixedResidency {
		f.stream()
	}
	if !f.fits() {
		f.o = f.least
		f.growContext()
	}
	p := lay(w, f.o)
	p.Minimum = minimum
	p.Shrunk = shrunk(o, f.o)
	return p, nil
}

// fitter is a plan in the making: o is what is asked for, and what it has come to.
type fitter struct {
	w        *gemma.Weights
	asked, o Options
	least    Options
}

// fits reports whether the options, as they stand, keep the budget.
func (f *fitter) fits() bool { return f.holds(f.o) }

func (f *fitter) holds(o Options) bool {
	return o.RAMBytes == 0 || lay(f.w, o).Total <= o.RAMBytes
}

// floor is the context that is kept rather than all weights.
func (f *fitter) floor() int {
	if f.asked.FixedResidency {
		return f.least.Context
	}
	return max(f.least.Context, min(f.asked.Context, StreamContext))
}

// shrink gives way without touching the weights.
func (f *fitter) shrink() {
	f.o = f.asked
	f.o.Residency.FewReads = !f.fits()
	for !f.fits() && f.o.Chunk > f.least.Chunk {
		f.o.Chunk = max(f.least.Chunk, f.o.Chunk/2)
	}
	for !f.fits() && f.o.PLECache > f.least.PLECache {
		if f.o.PLECache /= 2; f.o.PLECache < 64<<10 {
			f.o.PLECache = 0
		}
	}
	if !f.fits() {
		f.o.KVType = f.least.KVType
	}
	if !f.fits() {
		f.o.Context = f.floor()
		f.growContext()
	}
}

// growContext makes the context as large as fits, if it fits as it is.
func (f *fitter) growContext() {
	if !f.fits() {
		return
	}
	n := f.o
	f.o.Context = largestContext(n.Context, f.asked.Context, func(context int) bool {
		n.Context = context
		return f.holds(n)
	})
}

// giveBack undoes a change where there is room for that.
func (f *fitter) giveBack(change func(o *Options)) {
	n := f.o
	if change(&n); f.holds(n) {
		f.o = n
	}
}

// shrinkAll is the least that the options allow, the weights left alone.
func shrinkAll(o Options) Options {
	if !o.FixedChunk {
		o.Chunk = min(o.Chunk, minChunk)
	}
	if !o.FixedPLE {
		o.PLECache = 0
	}
	if o.AllowI8 && o.KVType != quant.F32 {
		o.KVType = quant.I8
	}
	if !o.FixedContext {
		o.Context = min(o.Context, minContext)
	}
	return o
}

// largestContext returns the largest context in [low, high] that fits, a multiple of
// contextTo above low. low is known to fit.
func largestContext(low, high int, fits func(int) bool) int {
	if fits(high) {
		return high
	}
	a, b := low/contextTo, (high+contextTo-1)/contextTo // a fits, b does not
	for b-a > 1 {
		if mid := (a + b) / 2; fits(mid * contextTo) {
			a = mid
		} else {
			b = mid
		}
	}
	return max(low, a*contextTo)
}

func shrunk(from, to Options) []string {
	var out []string
	note := func(changed bool, format string, args ...any) {
		if changed {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}
	note(to.Chunk != from.Chunk, "chunk %d instead of %d", to.Chunk, from.Chunk)
	note(to.PLECache != from.PLECache, "ple cache %d KiB instead of %d", to.PLECache>>10, from.PLECache>>10)
	note(to.KVType != from.KVType, "kv type %s instead of %s", kvName(to.KVType), kvName(from.KVType))
	note(to.Context != from.Context, "context %d instead of %d", to.Context, from.Context)
	return out
}
