package gemma

import (
	"context"
	"fmt"
	"slices"

	"github.com/plume-run/plume/internal/backend"
)

// Want says for which tokens of a Part logits are computed.
type Want uint8

const (
	WantNone Want = iota // only fill the cache: all but the last chunk of a prompt
	WantLast             // the last token: the end of a prompt, a decode step
	WantAll              // every token: perplexity, verification
)

// Part is the next tokens of one sequence; their positions follow Cache.Len().
type Part struct {
	Cache *Cache
	IDs   []int32
	Want  Want
}

// Batch is what one step evaluates: parts of different sequences, each with a
// Cache of its own.
type Batch struct {
	Parts []Part

	// Hidden, when set, is shown x [rows, H] for index 0 (the scaled embedding),
	// i (the output of layer i−1) and L (after the final norm). All parts must
	// then want all tokens. x is valid during the call.
	Hidden func(index, rows int, x []float32)
}

// Forward evaluates a batch and returns logits [rows, V] after the softcap, one
// row per wanted token in order of the parts, valid until the next Forward; rows
// may be 0. The parts' caches grow by their tokens.
//
// A token whose logits nobody wants leaves the computation as soon as the last
// layer that owns keys and values has taken its own from it; nothing it would
// compute afterwards could be seen by any other token.
//
// Errors: ErrContextFull, a token id outside the vocabulary, a failed read of weights
// or of the PLE table, which names tensor and file, or ctx's error, which is looked at
// between the layers of a prompt and while waiting for a read. After an error in the
// middle of a step the caches involved demand a Reset; the next step reads again.
// A *PartError concerns some parts only: beside it the logits of the others are valid.
func (m *Model) Forward(ctx context.Context, b *Batch) (logits []float32, rows int, err error) {
	s := &m.step
	if err := s.begin(m, b); err != nil {
		return nil, 0, err
	}
	defer func() {
		if err == nil {
			err = s.ple.partError()
		}
		s.end(b, err)
	}()
	if err := m.weights.embed(&s.x, s.ids, m.embedScale); err != nil {
		return nil, 0, err
	}
	if err := s.projectPLE(ctx); err != nil {
		return nil, 0, err
	}
	s.show(0)
	for i := range m.layers {
		if s.rows > len(b.Parts) && ctx.Err() != nil {
			return nil, 0, ctx.Err()
		}
		if ended, err := s.layer(ctx, i); ended || err != nil {
			return nil, 0, err
		}
		if i+1 < len(m.layers) {
			s.show(i + 1)
		}
	}
	logits, err = s.head(ctx)
	return logits, s.x.Rows, err
}

// layer computes layer i. ended is whether no row is left to compute afterwards.
func (s *step) layer(ctx context.Context, i int) (ended bool, err error) {
	m := s.m
	if err := m.weights.use(ctx, m.weights.groups.layers[i]); err != nil {
		return false, err
	}
	if ended, err := s.attention(ctx, i); ended || err != nil {
		return ended, err
	}
	if err := s.feedForward(ctx, i); err != nil {
		return false, err
	}
	if err := s.mixPLE(ctx); err != nil {
		return false, err
	}
	return false, s.perLayer(ctx, i)
}

// step is the working memory of Forward. Tensors are [row, …] over the rows that
// are still being computed.
type step struct {
	m     *Model
	batch *Batch

	ids       []int32 // [row] of the whole batch, soft tokens replaced
	positions []int   // [row] of the rows still computed
	wanted    []int   // rows of the batch whose logits are wanted
	rows      int     // rows still computed
	parts     []partRows

	x          backend.Tensor // residual stream [row, H]
	h          backend.Tensor // its norm
	swap       backend.Tensor // what x or h becomes when rows leave
	q, k, v, a backend.Tensor // queries, keys, values, attention output
	y          backend.Tensor // what a block adds to x
	act        backend.Tensor // activations inside a feed-forward network
	y2, router backend.Tensor // mixture layers: the experts' sum, the router's logits
	routing    routing
	logits     backend.Tensor
	ple        pleStep

	fresh    [2]backend.KV // fresh K/V of sliding layers: [1] for the donor, [0] for the others
	spans    []backend.Span
	products []backend.Product // of linear
}

// partRows is where a part lies in the batch and which of its rows are computed.
type partRows struct {
	row, n     int // in the whole batch
	live, nLiv int // in the rows still computed
	start      int // position of the part's first token
}

// begin checks the batch, lays it out and starts reading its PLE rows.
func (s *step) begin(m *Model, b *Batch) error {
	s.m, s.batch = m, b
	s.ids, s.positions, s.wanted, s.parts = s.ids[:0], s.positions[:0], s.wanted[:0], s.parts[:0]
	for i := range b.Parts {
		p := &b.Parts[i]
		if len(p.IDs) == 0 {
			return fmt.Errorf("evaluate part %d: no tokens", i)
		}
		if err := p.Cache.check(len(p.IDs)); err != nil {
			return err
		}
		row := len(s.ids)
		s.parts = append(s.parts, partRows{row: row, n: len(p.IDs), live: row, nLiv: len(p.IDs), start: p.Cache.n})
		for k, id := range p.IDs {
			if id < 0 || int(id) >= m.cfg.VocabSize {
				return fmt.Errorf("evaluate token %d: id %d outside the vocabulary of %d", k, id, m.cfg.VocabSize)
			}
			if slices.Contains(m.cfg.SoftTokens, id) {
				id = max(m.cfg.Pad, 0)
			}
			s.ids = append(s.ids, id)
			s.positions = append(s.positions, p.Cache.n+k)
			if p.Want == WantAll || p.Want == WantLast && k == len(p.IDs)-1 {
				s.wanted = append(s.wanted, row+k)
			}
		}
	}
	s.rows = len(s.ids)
	if s.rows == 0 {
		return fmt.Errorf("evaluate batch: no parts")
	}
	if b.Hidden != nil && len(s.wanted) != s.rows {
		return fmt.Errorf("evaluate batch: hidden states need every token wanted")
	}
	m.Reserve(s.rows, len(s.wanted))
	m.setRope(s.positions)
	s.x.Resize(s.rows, m.cfg.HiddenSize)
	if err := s.makeFresh(); err != nil {
		return err
	}
	m.weights.begin(len(s.wanted) > 0)
	s.ple.begin(s)
	return nil
}

// end finishes the caches: they grow, or are marked as broken by err.
func (s *step) end(b *Batch, err error) {
	s.ple.end()
	s.m.weights.end()
	for i := range b.Parts {
		c := b.Parts[i].Cache
		if err := PartErr(err, i); err != nil {
			c.broken = err
			continue
		}
		if d := s.m.slidingDonor; d >= 0 {
			s.commit(d, i)
		}
		c.n += s.parts[i].n
	}
	s.batch = nil
}

// show hands x to the batch's observer.
func (s *step) show(index int) {
	if s.batch.Hidden != nil {
		s.batch.Hidden(index, s.x.Rows, s.x.Data)
	}
}

// output is a product of linear: dst [row, out] becomes w · x.
type output struct {
	dst *backend.Tensor
	w   *weight
}

// linear multiplies x by several weights: by what stays of them at once, then by the
// blocks that are streamed, one after the other as they come.
func (s *step) linear(ctx context.Context, x *backend.Tensor, outputs ...output) error {
	m := s.m
	s.products = s.products[:0]
	for _, o := range outputs {
		for i := range o.w.kept {
			p := &o.w.kept[i]
			s.products = append(s.products, backend.Product{Dst: o.dst, W: p.matrix, Col: p.row})
		}
	}
	if len(s.products) > 0 {
		m.back.Linear(x, s.products)
	}
	for _, o := range outputs {
		for _, b := range o.w.blocks {
			w, err := m.weights.stream.use(ctx, b)
			if err != nil {
				return err
			}
			s.products = append(s.products[:0], backend.Product{Dst: o.dst, W: w[0], Col: b.loads[0].row})
			m.back.Linear(x, s.products)
			m.weights.stream.done()
		}
	}
	return nil
}

// gated sets act to the inside of layer i's feed-forward network: what stays, then the rest.
func (s *step) gated(ctx context.Context, i int) error {
	m, l := s.m, &s.m.layers[i]
	for k := range l.gate.kept {
		gate, up := &l.gate.kept[k], &l.up.kept[k]
		m.back.GeGLU(&s.act, &s.h, gate.matrix, up.matrix, gate.row)
	}
	for _, b := range l.gate.blocks {
		w, err := m.weights.stream.use(ctx, b)
		if err != nil {
			return err
		}
		m.back.GeGLU(&s.act, &s.h, w[0], w[1], b.loads[0].row)
		m.weights.stream.done()
	}
	return nil
}

// attention adds layer i's attention block to x. ended is whether no row is left to
// compute afterwards.
func (s *step) attention(ctx context.Context, i int) (ended bool, err error) {
	m, l := s.m, &s.m.layers[i]
	eps := m.eps
	s.h.Resize(s.rows, m.cfg.HiddenSize)
	m.back.Norm(&s.h, &s.x, l.attnNorm, eps)
	last := i == m.lastOwner && len(s.wanted) < s.rows
	if last {
		if err := s.keysValues(ctx, i, false); err != nil {
			return false, err
		}
		if !s.narrow() {
			s.commitLayer(i)
			return true, nil
		}
	}
	s.q.Resize(s.rows, l.heads*l.headDim)
	if last || l.donor != i {
		err = s.linear(ctx, &s.h, output{&s.q, &l.q})
	} else {
		err = s.keysValues(ctx, i, true)
	}
	if err != nil {
		return false, err
	}
	m.back.HeadNorm(&s.q, l.headDim, l.qNorm, eps, m.rope(l.sliding))
	s.a.Resize(s.rows, s.q.Cols)
	m.back.Attend(&s.a, &s.q, s.spansOf(i), backend.Attention{
		Heads: l.heads, KVHeads: l.kvHeads, HeadDim: l.headDim, Window: m.window(l.sliding),
	})
	s.commitLayer(i)
	s.y.Resize(s.rows, m.cfg.HiddenSize)
	if err := s.linear(ctx, &s.a, output{&s.y, &l.o}); err != nil {
		return false, err
	}
	m.back.AddNorm(&s.x, &s.y, l.postAttnNorm, eps, 1)
	return false, nil
}

// keysValues projects h to layer i's keys and values (and to queries too if they are
// wanted, in the same pass over h) and stores them.
func (s *step) keysValues(ctx context.Context, i int, queries bool) error {
	m, l := s.m, &s.m.layers[i]
	s.k.Resize(s.rows, l.kvHeads*l.headDim)
	s.v.Resize(s.rows, l.kvHeads*l.headDim)
	var outputs [3]output
	list := append(outputs[:0], output{&s.k, &l.k})
	if m.cfg.HasV(i) {
		list = append(list, output{&s.v, &l.v})
	}
	if queries {
		list = append(list, output{&s.q, &l.q})
	}
	if err := s.linear(ctx, &s.h, list...); err != nil {
		return err
	}
	if !m.cfg.HasV(i) { // the values are the raw key projection
		copy(s.v.Data, s.k.Data)
	}
	m.back.HeadNorm(&s.k, l.headDim, l.kNorm, m.eps, m.rope(l.sliding))
	m.back.HeadNorm(&s.v, l.headDim, nil, m.eps, nil)
	for p := range s.parts {
		s.store(i, p)
	}
	return nil
}

// narrow keeps the wanted rows only and reports whether there are any.
func (s *step) narrow() bool {
	m := s.m
	if len(s.wanted) == 0 {
		return false
	}
	m.back.Gather(s.resized(&s.swap, len(s.wanted)), &s.x, s.wanted)
	s.x, s.swap = s.swap, s.x
	m.back.Gather(s.resized(&s.swap, len(s.wanted)), &s.h, s.wanted)
	s.h, s.swap = s.swap, s.h
	s.rows = len(s.wanted)
	s.positions = s.positions[:0]
	live := 0
	for i := range s.parts {
		p := &s.parts[i]
		p.live, p.nLiv = live, 0
		for live < len(s.wanted) && s.wanted[live] < p.row+p.n {
			s.positions = append(s.positions, p.start+s.wanted[live]-p.row)
			live, p.nLiv = live+1, p.nLiv+1
		}
	}
	m.setRope(s.positions)
	return true
}

// resized gives t the shape [rows, H].
func (s *step) resized(t *backend.Tensor, rows int) *backend.Tensor {
	t.Resize(rows, s.m.cfg.HiddenSize)
	return t
}

// feedForward adds layer i's feed-forward block to x. A mixture layer chooses its
// experts first, so that those which are not in memory are read meanwhile.
func (s *step) feedForward(ctx context.Context, i int) error {
	m, l := s.m, &s.m.layers[i]
	scale := float32(1)
	if m.cfg.PLESize == 0 {
		scale = l.scalar // the layer's last step: the scalar goes with it
	}
	s.h.Resize(s.rows, m.cfg.HiddenSize)
	if m.cfg.NumExperts > 0 {
		if err := s.chooseExperts(ctx, i); err != nil {
			return err
		}
	}
	s.y.Resize(s.rows, m.cfg.HiddenSize)
	s.act.Resize(s.rows, l.ffn)
	m.back.Norm(&s.h, &s.x, l.ffnNorm, m.eps)
	if err := s.gated(ctx, i); err != nil {
		return err
	}
	if err := s.linear(ctx, &s.act, output{&s.y, &l.down}); err != nil {
		return err
	}
	if m.cfg.NumExperts > 0 {
		if err := s.mixExperts(ctx, i); err != nil {
			return err
		}
	}
	m.back.AddNorm(&s.x, &s.y, l.postFFNNorm, m.eps, scale)
	return nil
}

// perLayer adds layer i's per-layer embedding block to x and scales the layer's
// output.
func (s *step) perLayer(ctx context.Context, i int) error {
	m, l := s.m, &s.m.layers[i]
	if m.cfg.PLESize == 0 {
		return nil
	}
	by, col := s.ple.inputs(i)
	s.act.Resize(s.rows, m.cfg.PLESize)
	if len(l.pleGate.kept) > 0 {
		m.back.GateMul(&s.act, &s.x, l.pleGate.kept[0].matrix, by, col)
	} else {
		w, err := m.weights.stream.use(ctx, l.pleGate.blocks[0])
		if err != nil {
			return err
		}
		m.back.GateMul(&s.act, &s.x, w[0], by, col)
		m.weights.stream.done()
	}
	s.y.Resize(s.rows, m.cfg.HiddenSize)
	if err := s.linear(ctx, &s.act, output{&s.y, &l.pleProj}); err != nil {
		return err
	}
	m.back.AddNorm(&s.x, &s.y, l.postPLENorm, m.eps, l.scalar)
	return nil
}

// head turns x into logits [row, V].
func (s *step) head(ctx context.Context) ([]float32, error) {
	m := s.m
	s.h.Resize(s.rows, m.cfg.HiddenSize)
	m.back.Norm(&s.h, &s.x, m.outNorm, m.eps)
	if s.batch.Hidden != nil {
		s.batch.Hidden(len(m.layers), s.h.Rows, s.h.Data)
	}
	s.logits.Resize(s.rows, m.cfg.VocabSize)
	if err := m.weights.use(ctx, m.weights.groups.head); err != nil {
		return nil, err
	}
	if err := s.linear(ctx, &s.h, output{&s.logits, &m.embed}); err != nil {
		return nil, err
	}
	if c := float32(m.cfg.FinalSoftcap); c > 0 {
		m.back.Softcap(&s.logits, c)
	}
	return s.logits.Data, nil
}
