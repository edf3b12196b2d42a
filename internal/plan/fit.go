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

// fit gives way in this order until the plan fits: what costs only time, then
// precision if it was allowed, then room.
//
//  1. the prompt chunk, halved down to minChunk
//  2. the cache of per-layer rows, halved down to nothing
//  3. keys and values, f16 to int8, if AllowI8
//  4. the context, to the largest multiple of contextTo that fits, down to minContext
func fit(w *gemma.Weights, o Options) (*Plan, error) {
	smallest := shrinkAll(o)
	least := lay(w, smallest)
	minimum := (least.Total + 1<<20 - 1) &^ (1<<20 - 1)
	if o.RAMBytes > 0 && least.Total > o.RAMBytes {
		return nil, &TooSmallError{Budget: o.RAMBytes, Minimum: minimum, Resident: w.Resident()}
	}
	p, asked := lay(w, o), o
	fits := func() bool { p = lay(w, o); return o.RAMBytes == 0 || p.Total <= o.RAMBytes }
	for !fits() && o.Chunk > smallest.Chunk {
		o.Chunk = max(smallest.Chunk, o.Chunk/2)
	}
	for !fits() && o.PLECache > smallest.PLECache {
		if o.PLECache /= 2; o.PLECache < 64<<10 {
			o.PLECache = 0
		}
	}
	if !fits() {
		o.KVType = smallest.KVType
	}
	if !fits() {
		o.Context = largestContext(smallest.Context, o.Context, func(n int) bool { o.Context = n; return fits() })
		fits()
	}
	p.Minimum = minimum
	p.Shrunk = shrunk(asked, o)
	return p, nil
}

// shrinkAll is the least that the options allow.
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
