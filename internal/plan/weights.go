package plan

import "github.com/plume-run/plume/internal/gemma"

// Weights are the model's sizes that the plan was made from.
func (p *Plan) Weights() *gemma.Weights { return p.weights }
