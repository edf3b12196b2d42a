package gemma

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/ple"
	"github.com/plume-run/plume/internal/quant"
)

// pleTable is the per-layer embedding table, on disk, and the weights that mix a
// token's row with the context:
//
//	tok = PLE[id]·√P               row of L·P values, slice l for layer l
//	ctx = (Wctx·h0)·H^(−1/2)       h0 the scaled embedding
//	ple = (norm(ctx) + tok)·2^(−1/2)
//
// Wctx is held in two parts. Tokens that nobody wants logits of stop inside layer
// m.lastOwner, so for them only the slices of the layers before it are computed.
type pleTable struct {
	rows        *ple.Table
	source      ple.Source // nil when the rows come through the checkpoint
	home        ple.Spec   // where the checkpoint has the table; zero when in several pieces
	typ         quant.Type
	vocab       int       // rows of the table
	early, late weight    // Wctx [lastOwner·P, H] and the rest
	norm        []float32 // [P]
	split       int       // values of a row that belong to the early part
	rowBytes    int       // of a whole row
	partBytes   int       // of the blocks that cover the early part
}

// leadingBytes is what the blocks that cover the first n values of a row take.
func leadingBytes(t quant.Type, n int) int64 {
	block := t.BlockLen()
	return int64((n + block - 1) / block * t.BlockBytes())
}

// open makes the rows of table readable. through, when set, opens the place they
// are read from: the stretch of a file where the checkpoint has them, or a copy of
// it elsewhere. Otherwise they are read through the checkpoint.
func (t *pleTable) open(table *Source, through func(ple.Spec, int) (ple.Source, error), o ple.Options) error {
	t.rowBytes = int(table.Bytes / int64(t.vocab))
	t.partBytes = int(leadingBytes(t.typ, t.split))
	if stored := table.Tensors(); len(stored) == 1 {
		path, off := stored[0].Location()
		t.home = ple.Spec{Path: path, Offset: off, Bytes: table.Bytes}
		if through != nil {
			return t.openIn(through, o)
		}
	}
	return t.openRows(table, o)
}

// openIn opens the table in the place that through finds for it.
func (t *pleTable) openIn(through func(ple.Spec, int) (ple.Source, error), o ple.Options) (err error) {
	if t.source, err = through(t.home, t.rowBytes); err != nil {
		t.source = nil
		return err
	}
	return t.openRows(t.source, o)
}

// openRows opens the rows that from has. When it fails, everything is closed.
func (t *pleTable) openRows(from io.ReaderAt, o ple.Options) error {
	rows, err := ple.Open(from, t.vocab, t.rowBytes, o)
	if err != nil {
		return errors.Join(err, t.close())
	}
	t.rows = rows
	return nil
}

// close ends the reads and closes what open opened.
func (t *pleTable) close() error {
	var err error
	if t.rows != nil {
		err = t.rows.Close()
	}
	if t.source != nil {
		err = errors.Join(err, t.source.Close())
	}
	return err
}

// pleStep is one Forward's use of the table.
type pleStep struct {
	s           *step
	fetch       *ple.Fetch
	ids         []int32
	expected    [1]int32
	bytes       []int          // of each row that will be decoded
	values      []float32      // one decoded row
	early, late backend.Tensor // ctx, then the mixed inputs [row, slices·P]
	tok         backend.Tensor // token part of early or late
	h0          backend.Tensor // scaled embedding of the wanted rows
	mixed       bool
	counts      []PLECounts  // of each part
	failed      *PartError   // parts without their rows, while others have theirs
	ahead       []*ple.Fetch // of tokens expected
}

// maxExpected bounds the rows held for tokens that are expected and do not come.
const maxExpected = 64

// Expect begins to read what the next Forward needs of a token: it is called as
// soon as the token is drawn, by the goroutine that calls Forward. A token that
// does not come costs its read and nothing else.
func (m *Model) Expect(id int32) {
	t, p := m.ple, &m.step.ple
	if t == nil || id < 0 || int(id) >= m.cfg.VocabSize || len(p.ahead) == maxExpected {
		return
	}
	if slices.Contains(m.cfg.SoftTokens, id) {
		id = max(m.cfg.Pad, 0)
	}
	p.expected[0] = t.row(id)
	p.ahead = append(p.ahead, t.rows.Ahead(p.expected[:]))
}

// row is where the table has a token: the padding row stands for ids that it does
// not have.
func (t *pleTable) row(id int32) int32 {
	if int(id) >= t.vocab {
		return 0
	}
	return id
}

// PLECounts say where rows of the per-layer table came from.
type PLECounts = ple.Counts

// PLEWaits counts how long steps have waited for rows.
type PLEWaits = ple.Histogram

// PLECounts returns where the rows of part i came from, after a Forward without
// an error for that part; zero for a model without a table. Wait and Latency are those
// of the whole step. Like the logits, it is for the goroutine that calls Forward, until
// its next call.
func (m *Model) PLECounts(i int) PLECounts {
	if i >= len(m.step.ple.counts) {
		return PLECounts{}
	}
	return m.step.ple.counts[i]
}

// begin asks for the rows of the whole batch; the reads go on while layer 0 runs.
// Of a token that nobody wants logits of, only the slices of the layers that it
// goes through are asked for.
func (p *pleStep) begin(s *step) {
	t := s.m.ple
	p.s, p.mixed, p.counts, p.failed = s, false, p.counts[:0], nil
	if t == nil {
		return
	}
	p.ids, p.bytes = p.ids[:0], p.bytes[:0]
	wanted := s.wanted
	for i, id := range s.ids {
		n := t.partBytes
		if len(wanted) > 0 && wanted[0] == i {
			n, wanted = t.rowBytes, wanted[1:]
		}
		p.ids, p.bytes = append(p.ids, t.row(id)), append(p.bytes, n)
	}
	p.fetch = t.rows.FetchPart(p.ids, p.bytes)
	for _, f := range p.ahead {
		f.Release()
	}
	clear(p.ahead)
	p.ahead = p.ahead[:0]
}

// end gives the rows back.
func (p *pleStep) end() {
	if p.fetch != nil {
		p.fetch.Release()
		p.fetch = nil
	}
}

// projectPLE computes the context part from the embedding, which x still is.
func (s *step) projectPLE(ctx context.Context) error {
	m, p := s.m, &s.ple
	if m.ple == nil {
		return nil
	}
	if err := m.weights.use(ctx, m.weights.groups.start); err != nil {
		return err
	}
	if m.ple.split > 0 {
		p.early.Resize(s.rows, m.ple.split)
		if err := s.linear(ctx, &s.x, output{&p.early, &m.ple.early}); err != nil {
			return err
		}
	}
	if len(s.wanted) > 0 {
		m.back.Gather(s.resized(&p.h0, len(s.wanted)), &s.x, s.wanted)
		p.late.Resize(len(s.wanted), m.cfg.RowValues()-m.ple.split)
		return s.linear(ctx, &p.h0, output{&p.late, &m.ple.late})
	}
	return nil
}

// mixPLE waits for the rows, once, and mixes them in.
func (s *step) mixPLE(ctx context.Context) error {
	m, p := s.m, &s.ple
	if m.ple == nil || p.mixed {
		return nil
	}
	if err := p.fetch.Wait(ctx); err != nil {
		if err = p.tellApart(err); err != nil {
			return err
		}
	}
	p.mixed = true
	for i, part := range s.parts {
		var c PLECounts
		if PartErr(p.partError(), i) == nil {
			c = p.fetch.Counts(part.row, part.row+part.n)
		}
		p.counts = append(p.counts, c)
	}
	if m.ple.split > 0 {
		p.tok.Resize(p.early.Rows, p.early.Cols)
		for i := range p.tok.Rows {
			if err := p.decode(p.tok.Row(i), i, 0); err != nil {
				return err
			}
		}
		p.mix(&p.early)
	}
	if len(s.wanted) > 0 {
		p.tok.Resize(p.late.Rows, p.late.Cols)
		for i, row := range s.wanted {
			if err := p.decode(p.tok.Row(i), row, m.ple.split); err != nil {
				return err
			}
		}
		p.mix(&p.late)
	}
	return nil
}

// mix combines ctx with the token part in p.tok.
func (p *pleStep) mix(ctx *backend.Tensor) {
	m := p.s.m
	m.back.MixPLE(ctx, &p.tok, m.ple.norm, m.eps, m.pleCtxScale, m.pleTokScale)
}

// decode sets dst to the values of the batch's row i from value number from on.
// Blocks of a quantised row need not end where a slice does, so the blocks that
// cover the values are decoded aside.
func (p *pleStep) decode(dst []float32, i, from int) error {
	t := p.s.m.ple
	block := t.typ.BlockLen()
	if p.failed != nil && p.fetch.Err(i) != nil {
		clear(dst) // whatever comes of it, nobody sees it
		return nil
	}
	first, last := from/block, (from+len(dst)+block-1)/block
	n := (last - first) * block
	p.values = slices.Grow(p.values[:0], n)[:n]
	src := p.fetch.Row(i)[first*t.typ.BlockBytes() : last*t.typ.BlockBytes()]
	if err := quant.Decode(t.typ, p.values, src); err != nil {
		return fmt.Errorf("decode per-layer embedding of token %d: %w", p.ids[i], err)
	}
	copy(dst, p.values[from-first*block:])
	return nil
}

// inputs returns the tensor and the column at which layer i's slice starts.
func (p *pleStep) inputs(i int) (by *backend.Tensor, col int) {
	m := p.s.m
	if at := i * m.cfg.PLESize; at < m.ple.split {
		return &p.early, at
	}
	return &p.late, i*m.cfg.PLESize - m.ple.split
}
