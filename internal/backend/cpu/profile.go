package cpu

import (
	"time"

	"github.com/plume-run/plume/internal/kernel"
)

// Class is a kind of operation in a Profile.
type Class uint8

// The classes. Every operation of the backend belongs to exactly one.
const (
	ClassProducts Class = iota // matrix products with quantised weights, GELU and gating included
	ClassFloat                 // matrix products with float weights
	ClassHead                  // the product with the matrix that tokens are embedded with
	ClassAttend                // scores, softmax and values; storing keys and values
	ClassRows                  // embedding, norms, residuals, rotation, mixing, softcap
	ClassQuantise              // putting activations into the form that weights multiply
	Classes                    // the number of classes
)

var classNames = [Classes]string{"products", "float products", "head", "attention", "rows", "quantise"}

// String is the class in one or two words.
func (c Class) String() string { return classNames[c] }

// Usage is what the operations of a class cost and did.
type Usage struct {
	Time time.Duration // from the first thread's start to the last one's end

	// MACs are the multiply-adds that the mathematics asks for: of products,
	// tokens × rows × columns; of attention, 2 × headDim for each key that a query
	// head sees. Norms and the like count none.
	MACs int64

	// Bytes were read of weights (a matrix counts once per product, however many
	// tokens it multiplies) or of keys and values (once per span and layer).
	Bytes int64
}

// Profile is what has been done since StartProfile.
type Profile struct {
	Of [Classes]Usage
}

// StartProfile clears the counts and counts from now on. Reading the clock around
// every operation costs about 0.1 µs each; while off, it is not read.
func (c *CPU) StartProfile() { c.prof = profile{on: true, embedding: c.prof.embedding} }

// StopProfile ends counting and returns the counts.
func (c *CPU) StopProfile() Profile {
	c.prof.on = false
	return c.prof.Profile
}

// profile is the state behind StartProfile. The goroutine that calls the backend's
// operations owns it.
type profile struct {
	on        bool
	embedding *matrix // the last matrix that tokens were embedded with: the head
	Profile
}

// profileStart is when profiles' clock began; only differences matter.
var profileStart = time.Now()

// begin returns the time, 0 when nobody asks.
func (p *profile) begin() time.Duration {
	if !p.on {
		return 0
	}
	return time.Since(profileStart)
}

// end adds the time since begin to a class.
func (p *profile) end(class Class, begin time.Duration) {
	if p.on {
		p.Of[class].Time += time.Since(profileStart) - begin
	}
}

// endMul is end for a product of any form.
func (p *profile) endMul(j *mulJob, begin time.Duration) {
	if !p.on {
		return
	}
	class := ClassProducts
	count := func(m *matrix) {
		if m == p.embedding {
			class = ClassHead
		} else if m.Layout.Float() {
			class = ClassFloat
		}
		p.Of[class].MACs += int64(j.x.Rows) * int64(m.Rows) * int64(m.Cols)
		p.Of[class].Bytes += m.Bytes()
	}
	for _, q := range j.products {
		count(q.W.(*matrix))
	}
	if j.gate != nil {
		count(j.gate)
	}
	if j.up != nil {
		count(j.up)
	}
	p.end(class, begin)
}

// endRows is end for row operations.
func (p *profile) endRows(j *rowJob, begin time.Duration) {
	if j.op == opEmbed {
		p.embedding = j.matrix
	}
	if !p.on {
		return
	}
	bytes := int64(4 * len(j.w))
	if j.op == opEmbed {
		bytes = int64(len(j.ids)) * int64(j.matrix.Layout.PanelBytes(j.matrix.Cols)/panelRows)
	}
	p.Of[ClassRows].Bytes += bytes
	p.end(ClassRows, begin)
}

// endAttend is end for attention.
func (p *profile) endAttend(j *attendJob, begin time.Duration) {
	if !p.on {
		return
	}
	u := &p.Of[ClassAttend]
	for i := range j.spans {
		s := &j.spans[i]
		for q := range s.N {
			u.MACs += 2 * int64(j.a.Heads) * int64(j.a.HeadDim) * int64(s.Pos+q+1-j.firstKey(s.Pos+q))
		}
		keys := s.Pos + s.N - j.firstKey(s.Pos)
		u.Bytes += int64(j.a.KVHeads) * int64(keys) * s.Hist.(*store).slotBytes()
	}
	p.end(ClassAttend, begin)
}

// slotBytes is the memory of one head's key and value.
func (s *store) slotBytes() int64 {
	n := 2 * int64(s.rowBytes)
	if s.kind == kernel.I8 {
		n += 8
	}
	return n
}
