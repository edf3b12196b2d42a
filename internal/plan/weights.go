package plan

import "github.com/plume-run/plume/internal/gemma"

// Weights are the model's sizes that the plan was made from.
func (p *Plan) Weights() *gemma.Weights { return p.weights }

// StreamedBytes is what a step over so many tokens reads of weights that are not held:
// known of old, and so read ahead, or experts, which are known when a layer has chosen them.
func (p *Plan) StreamedBytes(tokens int) (ahead, chosen int64) {
	return p.weights.StreamedBytes(p.opt.Residency), expertBytes(p.weights, p.opt.Residency, tokens)
}

// NotHeld is the weights that are read while the model runs, as the device would hold them:
// all that do not stay and have no expert's slot. Buffers that the others take turns in hold
// none of them.
func (p *Plan) NotHeld() int64 {
	held := p.weights.KeptBytes(p.opt.Residency)
	for _, r := range p.weights.RolesWith(p.opt.Residency) {
		if r.Role == gemma.RoleSlots {
			held += r.Bytes
		}
	}
	return max(0, p.weights.KeptBytes(gemma.Residency{})-held)
}
