package plan

import (
	"fmt"
	"math"
	"strings"

	"github.com/plume-run/plume/internal/gemma"
)

// A typical request, by which ways to stream are compared: a prompt reads the streamed
// weights once for every chunk, an answer for every token.
const (
	typicalPrompt = 512
	typicalAnswer = 128
)

// stream chooses what stays of the weights, and the chunk: of what fits, the one that
// reads the fewest bytes for a typical request. Then it gives back what fits beside.
func (f *fitter) stream() {
	f.o = f.least
	f.o.Context = f.floor()
	all := f.w.Resident()
	var best Options
	least := int64(-1)
	for chunk := f.asked.Chunk; ; chunk = max(f.least.Chunk, chunk/2) {
		f.o.Chunk, f.o.Residency = chunk, gemma.Residency{FewReads: true}
		room := f.o.RAMBytes - lay(f.w, f.o).Total + all // for weights
		if r, fits := f.residency(room); fits {
			if cost := cost(f.w, r, chunk); least < 0 || cost < least {
				least, best = cost, f.o
				best.Residency = r
			}
		}
		if chunk <= f.least.Chunk {
			break
		}
	}
	if least < 0 {
		return // not even so: f.o does not fit
	}
	f.o = best
	f.growContext()
	f.giveBack(func(o *Options) { o.KVType = f.asked.KVType })
	f.giveBack(func(o *Options) { o.PLECache = f.asked.PLECache })
}

// residency is what has the weights in room bytes and reads the least. A byte of an expert
// saves less reading than one of a matrix that every token meets, so experts go first: only
// with the fewest of them is anything else streamed.
func (f *fitter) residency(room int64) (r gemma.Residency, fits bool) {
	r.ExpertSlots, r.FewReads = f.fewestSlots(), true
	for all := f.w.Resident(); ; {
		over := f.w.ResidentWith(r) - room
		if over <= 0 {
			return f.fillSlots(r, room), true
		}
		if r.StreamBytes >= all {
			return r, false
		}
		r.StreamBytes += max(over, all/streamSteps)
	}
}

// streamSteps is how exactly it is found out what must be streamed: a part of so many.
const streamSteps = 2048

// fewestSlots is the experts that a token goes through in one layer; 0 in models
// without any.
func (f *fitter) fewestSlots() int {
	return f.w.ExpertsPerToken() / max(1, f.w.Layers())
}

// fillSlots is r with as many experts as there is room for.
func (f *fitter) fillSlots(r gemma.Residency, room int64) gemma.Residency {
	if r.ExpertSlots == 0 {
		return r
	}
	more := r
	more.ExpertSlots++
	used := f.w.ResidentWith(r)
	if each := f.w.ResidentWith(more) - used; room > used && each > 0 {
		r.ExpertSlots = min(f.w.ExpertCount()-1, r.ExpertSlots+int((room-used)/each))
	}
	return r
}

// thriftiest is the residency that takes the least memory: streaming costs a ring, so for
// a very small model it may be none.
func (f *fitter) thriftiest() gemma.Residency {
	best := f.asked.Residency
	if f.asked.FixedResidency {
		return best
	}
	all := f.w.Resident()
	r := gemma.Residency{StreamBytes: all, ExpertSlots: f.fewestSlots()}
	if f.w.ResidentWith(r) < all {
		return r
	}
	return best
}

// cost is the bytes that a typical request reads of the weights.
func cost(w *gemma.Weights, r gemma.Residency, chunk int) int64 {
	chunks := int64(typicalPrompt+chunk-1) / int64(chunk)
	perChunk := w.StreamedBytes(r) + expertBytes(w, r, min(chunk, typicalPrompt))
	return chunks*perChunk + typicalAnswer*tokenBytesRead(w, r)
}

// tokenBytesRead is what a generated token reads.
func tokenBytesRead(w *gemma.Weights, r gemma.Residency) int64 {
	return w.StreamedBytes(r) + expertBytes(w, r, 1)
}

// expertBytes is what a step of so many tokens reads of experts, if all are chosen alike:
// those that at least one token needs, without the part that slots hold.
func expertBytes(w *gemma.Weights, r gemma.Residency, tokens int) int64 {
	n := w.ExpertCount()
	if r.ExpertSlots == 0 || r.ExpertSlots >= n {
		return 0
	}
	needed := float64(n) * (1 - math.Pow(1-float64(w.ExpertsPerToken())/float64(n), float64(tokens)))
	return int64(needed * (1 - float64(r.ExpertSlots)/float64(n)) * float64(w.ExpertBytes()))
}

// streamed describes r, nil when all weights stay.
func streamed(w *gemma.Weights, r gemma.Residency) *Streamed {
	bytes := tokenBytesRead(w, r)
	if bytes == 0 {
		return nil
	}
	s := &Streamed{Bytes: w.StreamedBytes(r), TokenBytes: bytes}
	if r.ExpertSlots > 0 && r.ExpertSlots < w.ExpertCount() {
		s.ExpertSlots, s.OfExperts = r.ExpertSlots, w.ExpertCount()
	}
	return s
}

// String says what is streamed and what that reads.
func (s *Streamed) String() string {
	var parts []string
	if s.Bytes > 0 {
		parts = append(parts, mib(s.Bytes)+" of weights")
	}
	if s.OfExperts > 0 {
		parts = append(parts, fmt.Sprintf("experts (%d of %d are held)", s.ExpertSlots, s.OfExperts))
	}
	return fmt.Sprintf("streamed: %s; %s are read from disk for every token", strings.Join(parts, ", "), mib(s.TokenBytes))
}
