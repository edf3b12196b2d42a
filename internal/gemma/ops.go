package gemma

import (
	"math"
	"slices"

	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/quant"
)

// OpKind says what an Op does.
type OpKind uint8

// The kinds of operations that take time.
const (
	OpProduct   OpKind = iota + 1 // weights × activations: those that are none of the following
	OpFFN                         // of the dense feed-forward networks
	OpHead                        // the output matrix, which a prompt's chunks do without
	OpExperts                     // the chosen experts' products
	OpAttention                   // queries × keys, weights × values
)

// String returns the kind in one word.
func (k OpKind) String() string {
	switch k {
	case OpProduct:
		return "products"
	case OpFFN:
		return "ffn"
	case OpHead:
		return "head"
	case OpExperts:
		return "experts"
	case OpAttention:
		return "attention"
	}
	return "operation"
}

// Op sums up the operations of a step that are of one kind, type and shape, as far as
// their time depends on them.
type Op struct {
	Kind  OpKind
	Type  quant.Type // of the weights as stored, or of keys and values
	Out   int        // a product's shape; of attention: 0
	In    int
	Rows  int     // rows that the weights meet at once; of attention: queries of a sequence
	Calls float64 // operations of the backend
	Bytes int64   // weights, or keys and values, as the device holds them, each counted once
	MACs  int64   // multiply-adds
	Elems int64   // activations read and written: what norms, rounding and GELU go through too

	Attention backend.Attention // its shape, when it is attention
}

// StepWork says what a step computes: Rows tokens of each of so many sequences, Wanted
// of which get logits, after Position others.
type StepWork struct {
	Sequences, Rows, Wanted, Position int
	KVType                            quant.Type
}

// Ops lists what a step asks of the device that z describes. The number of experts is what
// is expected when every token chooses among all alike.
func (w *Weights) Ops(z backend.Sizer, s StepWork) []Op {
	return w.ops(z, s, func(product) bool { return true }, w.cfg.NumLayers)
}

// OpsBeforeRows is the part of Ops that comes before the rows of the per-layer table are
// waited for: the projection of the embedding, and layer 0 up to its own use of them.
func (w *Weights) OpsBeforeRows(z backend.Sizer, s StepWork) []Op {
	return w.ops(z, s, func(p product) bool {
		return p.key == KeyPLEProj || p.layer == 0 && p.key != KeyPLEGate && p.key != KeyPLEOut
	}, 1)
}

// ops sums up the products that are taken, and the attention of the first layers.
func (w *Weights) ops(z backend.Sizer, s StepWork, take func(product) bool, layers int) []Op {
	sums := opSums{}
	for _, p := range w.products {
		rows := s.Sequences * w.rowsOf(p, s.Rows, s.Wanted)
		if rows == 0 || !take(p) {
			continue
		}
		op := Op{Kind: OpProduct, Type: p.typ, Out: p.out, In: p.in, Rows: rows, Calls: callsOf(p.key), Bytes: z.MatrixBytes(p.typ, p.out, p.in)}
		op.MACs = int64(rows) * int64(p.out) * int64(p.in)
		op.Elems = int64(rows) * int64(p.out+p.in)
		switch p.key {
		case KeyGate, KeyUp, KeyDown:
			op.Kind = OpFFN
		case KeyEmbed:
			op.Kind = OpHead
		case KeyExpertsGateUp, KeyExpertsDown:
			op = w.expertOp(op)
		}
		sums.add(op)
	}
	for i := range layers {
		if rows := w.cfg.layerRows(i, s.Rows, s.Wanted); rows > 0 {
			sums.add(w.attentionOp(z, i, rows, s))
		}
	}
	return sums.list
}

// callsOf is how many operations a product is: keys and values come with the queries, the
// gate with what it lets through.
func callsOf(k Key) float64 {
	switch k {
	case KeyK, KeyV, KeyUp:
		return 0
	case KeyExpertsGateUp: // two of these are one
		return 0.5
	}
	return 1
}

// rowsOf is how many rows of a sequence meet a matrix.
func (w *Weights) rowsOf(p product, rows, wanted int) int {
	switch {
	case p.layer >= 0 && p.key != KeyK && p.key != KeyV:
		return w.cfg.layerRows(p.layer, rows, wanted)
	case p.key == KeyEmbed || p.late:
		return wanted
	}
	return rows
}

// expertOp turns an expert's product, as if all rows had chosen it, into its share of
// what is expected: E experts of which a row chooses K meet rows·K/E rows each, and one
// is touched with the probability 1 − (1 − K/E)^rows.
func (w *Weights) expertOp(op Op) Op {
	share := float64(w.cfg.TopKExperts) / float64(w.cfg.NumExperts)
	touched := 1 - math.Pow(1-share, float64(op.Rows))
	op.Kind = OpExperts // of them all E are listed, so that the sums are right
	op.MACs = int64(float64(op.MACs) * share)
	op.Bytes = int64(float64(op.Bytes) * touched)
	op.Elems = int64(float64(op.Elems) * share)
	op.Calls *= touched
	op.Rows = max(1, int(math.Round(float64(op.Rows)*share/touched)))
	return op
}

// attentionOp is layer i's attention of rows queries of every sequence, the last ones
// of s.Rows tokens.
func (w *Weights) attentionOp(z backend.Sizer, i, rows int, s StepWork) Op {
	c := w.cfg
	var seen int64 // keys, summed over the queries
	most := 0
	for r := s.Rows - rows; r < s.Rows; r++ {
		keys := s.Position + r + 1
		if c.Sliding[i] {
			keys = min(keys, c.SlidingWindow)
		}
		seen, most = seen+int64(keys), max(most, keys)
	}
	spec := c.kvSpec(i, most, s.KVType)
	return Op{
		Kind: OpAttention, Type: s.KVType, Rows: rows, Calls: 1,
		Bytes: int64(s.Sequences) * z.KVBytes(spec),
		MACs:  int64(s.Sequences) * 2 * seen * int64(c.NumHeads) * int64(c.LayerHeadDim(i)),

		Attention: c.attention(i),
	}
}

// attention is the shape of layer i's.
func (c *Config) attention(i int) backend.Attention {
	a := backend.Attention{Heads: c.NumHeads, KVHeads: c.LayerKVHeads(i), HeadDim: c.LayerHeadDim(i)}
	if c.Sliding[i] {
		a.Window = c.SlidingWindow
	}
	return a
}

// Attentions lists the shapes of attention that the layers have.
func (w *Weights) Attentions() []backend.Attention {
	var list []backend.Attention
	for i := range w.cfg.NumLayers {
		if a := w.cfg.attention(i); !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	return list
}

// Matrices lists the types and shapes of the matrices that steps multiply.
func (w *Weights) Matrices() []backend.MatrixSpec {
	var list []backend.MatrixSpec
	for _, p := range w.products {
		if m := (backend.MatrixSpec{Type: p.typ, Out: p.out, In: p.in}); !slices.Contains(list, m) {
			list = append(list, m)
		}
	}
	return list
}

// TypeBytes is what the matrices of each type take on the device.
func (w *Weights) TypeBytes() map[quant.Type]int64 {
	sums := map[quant.Type]int64{}
	for _, g := range w.groups.inOrder() {
		for i := range g.loads {
			sums[g.loads[i].matrix.Type] += w.size(&g.loads[i])
		}
	}
	return sums
}

// like reports whether b's time follows from the same rates.
func (a *Op) like(b *Op) bool {
	return a.Kind == b.Kind && a.Type == b.Type && a.Out == b.Out && a.In == b.In && a.Rows == b.Rows && a.Attention == b.Attention
}

// opSums adds up operations that differ in size alone.
type opSums struct{ list []Op }

func (s *opSums) add(op Op) {
	for i := range s.list {
		if a := &s.list[i]; a.like(&op) {
			a.Calls, a.Bytes, a.MACs, a.Elems = a.Calls+op.Calls, a.Bytes+op.Bytes, a.MACs+op.MACs, a.Elems+op.Elems
			return
		}
	}
	s.list = append(s.list, op)
}

// Layers is the number of decoder layers.
func (w *Weights) Layers() int { return w.cfg.NumLayers }

// PLEValues is the number of values in a row of the per-layer table.
func (w *Weights) PLEValues() int { return w.cfg.RowValues() }
