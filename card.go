package plume

import "fmt"

// CardShare says how much of a model would lie in a graphics card's memory. It is about
// capacity only: plume has no GPU backend yet, and all speeds are the processor's.
type CardShare struct {
	VRAM int64 `json:"vram_bytes"` // of the card
	Of   int64 `json:"of_bytes"`   // all that a step computes with: weights, keys and values, activations
	Held int64 `json:"held_bytes"` // of that, what fits
}

// cardRoles are the uses of memory, beside weights, that lie where a step is computed.
var cardRoles = map[string]bool{"kv full": true, "kv sliding": true, "fresh kv": true, "activations": true, "logits": true}

// cardShare is what of a plan a card of so many bytes would hold; nil without a card. The
// per-layer table is not part of it: its rows come from storage to any processor.
func cardShare(p *MemoryPlan, vram int64) *CardShare {
	if vram <= 0 {
		return nil
	}
	c := &CardShare{VRAM: vram, Of: p.p.Weights().Resident()}
	for _, it := range p.Items() {
		if cardRoles[it.Role] {
			c.Of += it.Bytes
		}
	}
	c.Held = min(c.Of, vram)
	return c
}

// String is the share in a line.
func (c *CardShare) String() string {
	what := fmt.Sprintf("all %.0f MiB", mibs(c.Of))
	if c.Held < c.Of {
		what = fmt.Sprintf("%.0f of the %.0f MiB", mibs(c.Held), mibs(c.Of))
	}
	return fmt.Sprintf("%.0f MiB of VRAM would hold %s that a step computes with; plume has no GPU backend yet, so all speeds are the processor's", mibs(c.VRAM), what)
}
