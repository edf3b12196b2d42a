package gemma

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/ple"
	"github.com/plume-run/plume/internal/quant"
)

// BindOptions are the choices Bind leaves to its caller.
type BindOptions struct {
	// KVType is the element type of keys and values: quant.F32 (the zero value),
	// quant.F16, or quant.I8 with a scale per head and position. The reference
	// backend always keeps float32.
	KVType quant.Type

	// PLE sets the resources of the per-layer embedding table.
	PLE ple.Options

	// PLESource, when set, opens the place that rows of rowBytes bytes are read
	// from, given where the checkpoint has them. Otherwise they are read through the
	// checkpoint.
	PLESource func(spec ple.Spec, rowBytes int) (ple.Source, error)

	// DropRead tells the system to forget pages of the file once their weights have been
	// read, so that they do not count in a memory cgroup, nor push other things out.
	// Without it a later start finds them in memory.
	DropRead bool

	// Progress, when set, is told how many bytes of weights have been loaded.
	// It is called from several goroutines, one call at a time.
	Progress func(done, total int64)
}

// Model is a decoder with its weights on a backend. See the package comment for
// who may use it when.
type Model struct {
	cfg    *Config
	back   backend.Backend
	kvType quant.Type
	layers []layer

	embed      backend.Matrix // [V, H]: input rows and output matrix
	embedScale float32        // √H
	outNorm    []float32
	eps        float32

	ple         *pleTable // nil in models without one
	pleCtxScale float32   // H^(−1/2)
	pleTokScale float32   // √P

	ropeSliding, ropeFull *ropeTable

	lastOwner    int // last layer with keys and values of its own
	slidingDonor int // sliding layer whose keys and values later layers share; −1: none

	resident int64
	step     step
}

// layer holds one layer's weights; see the package comment for what they do.
// Fields of blocks that the model does not have are nil.
type layer struct {
	sliding                       bool
	donor                         int // layer whose K/V this one attends, itself if it owns some
	heads, kvHeads, headDim, ffn  int
	attnNorm, postAttnNorm        []float32 // [H]
	qNorm, kNorm                  []float32 // [d]
	q, k, v, o                    backend.Matrix
	ffnNorm, postFFNNorm          []float32 // [H]
	gate, up, down                backend.Matrix
	pleGate, pleProj              backend.Matrix
	postPLENorm                   []float32 // [H]
	scalar                        float32
	router                        backend.Matrix // [E, H]
	routerScale                   []float32      // [H], H^(−1/2) included
	expertScale                   []float32      // [E]
	experts                       backend.Experts
	expertNorm                    []float32 // [H] before the experts
	postDenseNorm, postExpertNorm []float32 // [H]
}

// Bind finds every tensor of cfg in cat, checks its shape, loads the weights into b
// and opens the PLE table on the file. cat must stay open as long as the Model;
// both it and b stay the caller's. Errors name the tensor; those of a broken file
// are checkpoint.ErrCorrupt.
func Bind(cat *checkpoint.Catalog, cfg *Config, b backend.Backend, o BindOptions) (*Model, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	m := &Model{
		cfg: cfg, back: b, kvType: o.KVType,
		layers:      make([]layer, cfg.NumLayers),
		embedScale:  float32(math.Sqrt(float64(cfg.HiddenSize))),
		eps:         float32(cfg.RMSNormEps),
		pleCtxScale: float32(1 / math.Sqrt(float64(cfg.HiddenSize))),
		pleTokScale: float32(math.Sqrt(float64(cfg.PLESize))),
		ropeSliding: newRopeTable(cfg.HeadDim, cfg.HeadDim/2, cfg.RopeTheta),
		ropeFull:    newRopeTable(cfg.GlobalHeadDim, cfg.RotaryPairs(), cfg.RopeThetaGlobal),
		lastOwner:   cfg.FirstShared() - 1,
	}
	l := loader{cat: cat, cfg: cfg, back: b, progress: o.Progress, drop: o.DropRead}
	m.bindAll(&l)
	if cfg.PLESize > 0 {
		m.openPLE(&l, o)
	}
	if l.err == nil {
		if o.DropRead {
			cat.ReadExactly()
		}
		l.run()
	}
	if l.err != nil {
		m.Close()
		return nil, fmt.Errorf("bind %s: %w", cat.Path(), l.err)
	}
	m.resident = l.resident.Load()
	return m, nil
}

// bindAll binds everything but the per-layer embeddings.
func (m *Model) bindAll(l *loader) {
	m.bindShared(l)
	for i := range m.layers {
		m.bindLayer(l, i)
	}
}

// bindShared binds what belongs to no layer.
func (m *Model) bindShared(l *loader) {
	l.matrix(&m.embed, KeyEmbed, -1)
	m.outNorm = l.vector(KeyNorm, -1)
	for i := range m.layers {
		m.layers[i].donor = m.cfg.Donor(i)
	}
	m.slidingDonor = m.cfg.freshLayers()[1]
}

// bindLayer binds layer i.
func (m *Model) bindLayer(l *loader, i int) {
	c, y := m.cfg, &m.layers[i]
	y.sliding, y.heads, y.kvHeads, y.headDim = c.Sliding[i], c.NumHeads, c.LayerKVHeads(i), c.LayerHeadDim(i)
	y.ffn = c.IntermediateSize[i]
	y.attnNorm, y.postAttnNorm = l.vector(KeyAttnNorm, i), l.vector(KeyPostAttnNorm, i)
	y.ffnNorm, y.postFFNNorm = l.vector(KeyFFNNorm, i), l.vector(KeyPostFFNNorm, i)
	y.qNorm = l.vector(KeyQNorm, i)
	l.matrix(&y.q, KeyQ, i)
	if y.donor == i {
		l.matrix(&y.k, KeyK, i)
		y.kNorm = l.vector(KeyKNorm, i)
		if c.HasV(i) {
			l.matrix(&y.v, KeyV, i)
		}
	}
	l.matrix(&y.o, KeyO, i)
	l.matrix(&y.gate, KeyGate, i)
	l.matrix(&y.up, KeyUp, i)
	l.matrix(&y.down, KeyDown, i)
	y.scalar = 1
	if s := l.vector(KeyLayerScalar, i); s != nil { // nil after an error, or while only weighing
		y.scalar = s[0]
	}
	if c.PLESize > 0 {
		l.matrix(&y.pleGate, KeyPLEGate, i)
		l.matrix(&y.pleProj, KeyPLEOut, i)
		y.postPLENorm = l.vector(KeyPostPLENorm, i)
	}
	if c.NumExperts > 0 {
		m.bindExperts(l, i)
	}
}

// bindExperts binds layer i's router and experts.
func (m *Model) bindExperts(l *loader, i int) {
	y := &m.layers[i]
	l.matrix(&y.router, KeyRouter, i)
	y.routerScale = l.vector(KeyRouterScale, i)
	for k := range y.routerScale {
		y.routerScale[k] *= float32(1 / math.Sqrt(float64(m.cfg.HiddenSize)))
	}
	y.expertScale = l.vector(KeyExpertScale, i)
	y.expertNorm = l.vector(KeyFFNNorm2, i)
	y.postDenseNorm, y.postExpertNorm = l.vector(KeyPostFFNNorm1, i), l.vector(KeyPostFFNNorm2, i)
	n, ffn := m.cfg.NumExperts, m.cfg.ExpertSize
	y.experts = backend.Experts{
		Gate: make([]backend.Matrix, n), Up: make([]backend.Matrix, n), Down: make([]backend.Matrix, n),
	}
	gateUp, down := l.find(KeyExpertsGateUp, i), l.find(KeyExpertsDown, i)
	for e := range n {
		l.expert(&y.experts.Gate[e], gateUp, e, 0, ffn)
		l.expert(&y.experts.Up[e], gateUp, e, ffn, 2*ffn)
		l.expert(&y.experts.Down[e], down, e, 0, m.cfg.HiddenSize)
	}
}

// bindPLE binds the projections of the per-layer embeddings and finds the table.
func (m *Model) bindPLE(l *loader) *Source {
	c := m.cfg
	t := &pleTable{vocab: c.PLEVocabSize, split: m.lastOwner * c.PLESize, norm: l.vector(KeyPLEProjNorm, -1)}
	l.rows(&t.early, KeyPLEProj, 0, t.split)
	l.rows(&t.late, KeyPLEProj, t.split, c.RowValues())
	table := l.find(KeyPLETable, -1)
	if table != nil {
		t.typ, m.ple = table.Type, t
	}
	return table
}

// openPLE binds the per-layer embeddings and opens the table.
func (m *Model) openPLE(l *loader, o BindOptions) {
	table := m.bindPLE(l)
	if table == nil {
		return
	}
	if err := m.ple.open(table, o.PLESource, o.PLE); err != nil {
		l.fail(fmt.Errorf("%s: %w", table.Spec, err))
		m.ple = nil
	}
}

// Close stops reading the PLE table. The backend frees the weights.
func (m *Model) Close() error {
	if m.ple == nil {
		return nil
	}
	return m.ple.close()
}

// Config returns what the model is; it must not be changed.
func (m *Model) Config() *Config { return m.cfg }

// PLEStats counts the table's look-ups; zero for a model without a table.
func (m *Model) PLEStats() ple.Stats {
	if m.ple == nil {
		return ple.Stats{}
	}
	return m.ple.rows.Stats()
}

// ResidentBytes is the memory that the weights take, the table left out.
func (m *Model) ResidentBytes() int64 { return m.resident }

// rope returns the angles of a layer type for the rows that are being computed.
func (m *Model) rope(sliding bool) *backend.Rope {
	if sliding {
		return &m.ropeSliding.rope
	}
	return &m.ropeFull.rope
}

// setRope computes the angles for rows at these positions.
func (m *Model) setRope(positions []int) {
	m.ropeSliding.set(positions)
	m.ropeFull.set(positions)
}

// window returns how many positions a layer type sees; 0 means all.
func (m *Model) window(sliding bool) int {
	if sliding {
		return m.cfg.SlidingWindow
	}
	return 0
}

// loader collects what is to be loaded, so that all names and shapes are checked
// before the first large read. After an error its methods do nothing.
type loader struct {
	cat      *checkpoint.Catalog
	cfg      *Config
	back     backend.Backend
	progress func(done, total int64)
	loads    []load
	resident atomic.Int64
	drop     bool // have the system forget what was read
	dry      bool // only weigh: nothing is read, vectors are nil
	err      error
}

// load is one matrix to be read.
type load struct {
	dst   *backend.Matrix
	src   backend.Source
	bytes int64
	spec  TensorSpec // of the tensor that it is a part of
	from  int        // its first row there
}

// loaders is how many matrices are read at once: enough to keep a disk's queue
// filled while others are copied.
const loaders = 4

func (l *loader) fail(err error) {
	if l.err == nil {
		l.err = err
	}
}

// find locates a tensor and checks its shape; nil after an error.
func (l *loader) find(key Key, layer int) *Source {
	if l.err != nil {
		return nil
	}
	src, err := Locate(l.cat, l.cfg.Spec(key, layer))
	if err != nil {
		l.fail(err)
		return nil
	}
	return src
}

// vector reads a 1-D tensor as float32.
func (l *loader) vector(key Key, layer int) []float32 {
	t := l.find(key, layer)
	if t == nil {
		return nil
	}
	l.resident.Add(t.Spec.Values() * 4)
	if l.dry {
		return nil
	}
	raw := make([]byte, t.Bytes)
	dst := make([]float32, t.Spec.Values())
	_, err := t.ReadAt(raw, 0)
	if err == nil {
		err = quant.Decode(t.Type, dst, raw)
	}
	if err != nil {
		l.fail(fmt.Errorf("%s: %w", t.Spec, err))
		return nil
	}
	return dst
}

// matrix notes that the whole tensor [out, in] is to be loaded into dst.
func (l *loader) matrix(dst *backend.Matrix, key Key, layer int) {
	if t := l.find(key, layer); t != nil {
		l.add(dst, t, 0, t.Spec.Shape[0])
	}
}

// rows notes rows [from, to) of a tensor of the whole model; none is no matrix.
func (l *loader) rows(dst *backend.Matrix, key Key, from, to int) {
	if t := l.find(key, -1); t != nil && to > from {
		l.add(dst, t, from, to)
	}
}

// expert notes rows [from, to) of expert e of a tensor [expert, out, in].
func (l *loader) expert(dst *backend.Matrix, t *Source, e, from, to int) {
	if t != nil {
		l.add(dst, t, e*t.Spec.Shape[1]+from, e*t.Spec.Shape[1]+to)
	}
}

// add notes rows [from, to) of t, all leading axes taken as one.
func (l *loader) add(dst *backend.Matrix, t *Source, from, to int) {
	in := t.Spec.RowLen()
	rowBytes, err := t.Type.Bytes(int64(in))
	if err != nil {
		l.fail(fmt.Errorf("%s: %w", t.Spec, err))
		return
	}
	bytes := rowBytes * int64(to-from)
	l.loads = append(l.loads, load{dst, backend.Source{
		Name: t.Spec.String(), Type: t.Type, Out: to - from, In: in,
		R: &weightReader{t, int64(from) * rowBytes, l.drop},
	}, bytes, t.Spec, from})
}

// weightReader reads a part of a tensor, from byte off on.
type weightReader struct {
	src  *Source
	off  int64
	drop bool
}

func (r *weightReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.src.ReadAt(p, r.off+off)
	if r.drop {
		// From the start: the system keeps its larger units while any part of them is
		// outside, and those at the end of the last piece were.
		r.src.Drop(r.off, off+int64(n))
	}
	return n, err
}

// sweepBytes is how much is loaded between two sweeps of the file's pages.
const sweepBytes = 16 << 20

// sweep drops what single drops have left.
func (l *loader) sweep() {
	if l.drop {
		l.cat.DropAll()
	}
}

// run loads everything noted, several matrices at a time.
func (l *loader) run() {
	var total, done int64
	for _, w := range l.loads {
		total += w.bytes
	}
	var (
		mu   sync.Mutex
		next atomic.Int64
		wg   sync.WaitGroup
		errs error
	)
	for range min(loaders, len(l.loads)) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(l.loads)); i = next.Add(1) - 1 {
				w := l.loads[i]
				mat, err := l.back.Load(w.src)
				mu.Lock()
				if err != nil {
					errs = errors.Join(errs, err)
					next.Store(int64(len(l.loads)))
				} else {
					*w.dst = mat
					l.resident.Add(mat.Bytes())
					if before := done; (before+w.bytes)/sweepBytes > before/sweepBytes || before+w.bytes == total {
						l.sweep()
					}
					done += w.bytes
					if l.progress != nil {
						l.progress(done, total)
					}
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if errs != nil {
		l.fail(errs)
	}
}
