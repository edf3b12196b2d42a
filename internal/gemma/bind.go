package gemma

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

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

	// PLE sets the resources of the per-layer embedding table. Its Timeout is also how long
	// nothing at all may arrive of the weights.
	PLE ple.Options

	// PLESource, when set, opens the place that rows of rowBytes bytes are read
	// from, given where the checkpoint has them. Otherwise they are read through the
	// checkpoint.
	PLESource func(spec ple.Spec, rowBytes int) (ple.Source, error)

	// Residency says which weights stay in memory.
	Residency Residency

	// Background lets Bind return as soon as names and shapes are checked and the
	// vectors are read. The rest arrives in order of use while steps already run: each
	// waits for what it needs. See Model.Ready.
	Background bool

	// HoldBack is memory that is needed for something else until Model.LoadRest: as many bytes
	// of the weights that stay, or more, are not read before; of fewer, all, which then does
	// not make the room asked for (see Weights.KeptBytes). Only with Background.
	HoldBack int64

	// DropRead leaves nothing of what was read in the page cache, where it would count in a
	// memory cgroup and push other things out. Without it a slow disk's file is left there
	// for the next start.
	DropRead bool

	// Packed, when set, is where weights are read from. What turns out to be damaged in it
	// is read from the checkpoint instead, as is everything from then on, and
	// PackedFault, when set, is told why, once.
	Packed      *Packed
	PackedFault func(error)

	// Progress, when set, is told how many bytes have been loaded of the weights that
	// stay. It is called from several goroutines, one call at a time.
	Progress func(done, total int64)
}

// Model is a decoder with its weights on a backend. See the package comment for
// who may use it when.
type Model struct {
	cfg    *Config
	back   backend.Backend
	kvType quant.Type
	layers []layer

	weights    *supply // the matrices, as they come and go
	embed      weight  // [V, H]: input rows and output matrix
	embedScale float32 // √H
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
// Fields of blocks that the model does not have are nil or without rows.
type layer struct {
	sliding                       bool
	donor                         int // layer whose K/V this one attends, itself if it owns some
	heads, kvHeads, headDim, ffn  int
	attnNorm, postAttnNorm        []float32 // [H]
	qNorm, kNorm                  []float32 // [d]
	q, k, v, o                    weight
	ffnNorm, postFFNNorm          []float32 // [H]
	gate, up, down                weight
	pleGate, pleProj              weight
	postPLENorm                   []float32 // [H]
	scalar                        float32
	router                        weight    // [E, H]
	routerScale                   []float32 // [H], H^(−1/2) included
	expertScale                   []float32 // [E]
	expertNorm                    []float32 // [H] before the experts
	postDenseNorm, postExpertNorm []float32 // [H]
}

// Bind finds every tensor of cfg in cat, checks its shape, loads the weights into b
// and opens the PLE table on the file. cat must stay open as long as the Model;
// both it and b stay the caller's. Errors name the tensor; those of a broken file
// are checkpoint.ErrCorrupt, those of a device that does not answer ple.ErrSlow, and
// ErrLeft if b must not be closed.
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
	l := loader{cat: cat, cfg: cfg, groups: newGroups(cfg)}
	m.bindAll(&l)
	var table *Source
	if cfg.PLESize > 0 {
		table = m.bindPLE(&l)
	}
	err := l.err
	if err == nil {
		err = m.load(&l, table, o)
	}
	if err != nil {
		if left := m.Close(); errors.Is(left, ErrLeft) {
			err = fmt.Errorf("%w (%w)", err, left)
		}
		return nil, fmt.Errorf("bind %s: %w", cat.Path(), err)
	}
	return m, nil
}

// load opens the per-layer table, if there is one, takes memory for the weights and reads
// those that stay, or begins to.
func (m *Model) load(l *loader, table *Source, o BindOptions) error {
	var packed *checkpoint.Catalog
	if o.Packed != nil {
		o.Packed.attach(l.groups)
		packed = o.Packed.cat
	}
	if o.DropRead {
		l.cat.ReadExactly()
		if packed != nil {
			packed.ReadExactly()
		}
	}
	// The vectors are few kilobytes each and the table's storage may want to be measured:
	// both before the disk has a queue of megabytes, and at the same time, since each mostly waits.
	patience := ple.Patience(o.PLE.Timeout)
	vectors := make(chan error, 1)
	go func() { vectors <- l.readVectors(patience) }()
	err := m.openPLE(table, o)
	if err = errors.Join(<-vectors, err); err != nil {
		return err
	}
	for _, f := range l.after {
		f()
	}
	size := sizeOn(m.back)
	pieceBytes := l.groups.cut(size)
	l.groups.makeUnits(size)
	a := l.groups.arrange(o.Residency, size)
	r := &reader{
		back: m.back, cat: l.cat, packed: packed, drop: o.DropRead, readers: o.Residency.readers(), pieceBytes: pieceBytes,
		progress: a.progress(o.Progress), fault: o.PackedFault, patience: patience,
	}
	r.work.L = &r.mu
	if m.weights, err = newSupply(r, l.groups, a, &m.embed, o.Background); err != nil {
		return err
	}
	m.resident = l.vectors + a.keptBytes(size) + a.sharedBytes()
	if !o.Background {
		o.HoldBack = 0
	}
	m.weights.load(o.HoldBack)
	m.weights.begin(true)
	if o.Background {
		return nil
	}
	return m.weights.ready(context.Background())
}

// progress returns what tells of bytes of the kept groups.
func (a *arrangement) progress(told func(done, total int64)) func(int64) {
	if told == nil {
		return nil
	}
	var total, done int64
	for _, k := range a.kept {
		total += storedBytes(k.loads)
	}
	var mu sync.Mutex
	return func(n int64) {
		mu.Lock()
		defer mu.Unlock()
		if done < total {
			done = min(total, done+n)
			told(done, total)
		}
	}
}

// LoadRest starts reading what BindOptions.HoldBack has held back, and must come before a
// Forward.
func (m *Model) LoadRest() { m.weights.load(0) }

// Ready waits until all weights that stay have been read, see BindOptions.Background.
// Its error is that of a read, also returned by the Forward that needed it; whoever asks
// after that has it read again. For any goroutine.
func (m *Model) Ready(ctx context.Context) error { return m.weights.ready(ctx) }

// bindAll binds everything but the per-layer embeddings.
func (m *Model) bindAll(l *loader) {
	m.bindShared(l)
	for i := range m.layers {
		m.bindLayer(l, i)
	}
}

// bindShared binds what belongs to no layer.
func (m *Model) bindShared(l *loader) {
	l.group = l.groups.head
	l.matrix(&m.embed, KeyEmbed, -1)
	m.outNorm = l.vector(KeyNorm, -1)
	for i := range m.layers {
		m.layers[i].donor = m.cfg.Donor(i)
	}
	m.slidingDonor = m.cfg.freshLayers()[1]
}

// bindLayer binds layer i, its matrices in order of use.
func (m *Model) bindLayer(l *loader, i int) {
	c, y := m.cfg, &m.layers[i]
	l.group = l.groups.layers[i]
	y.sliding, y.heads, y.kvHeads, y.headDim = c.Sliding[i], c.NumHeads, c.LayerKVHeads(i), c.LayerHeadDim(i)
	y.ffn = c.IntermediateSize[i]
	y.attnNorm, y.postAttnNorm = l.vector(KeyAttnNorm, i), l.vector(KeyPostAttnNorm, i)
	y.ffnNorm, y.postFFNNorm = l.vector(KeyFFNNorm, i), l.vector(KeyPostFFNNorm, i)
	y.qNorm = l.vector(KeyQNorm, i)
	if y.donor == i {
		l.matrix(&y.k, KeyK, i)
		y.kNorm = l.vector(KeyKNorm, i)
		if c.HasV(i) {
			l.matrix(&y.v, KeyV, i)
		}
	}
	l.matrix(&y.q, KeyQ, i)
	l.matrix(&y.o, KeyO, i)
	if c.NumExperts > 0 {
		m.bindRouter(l, i)
	}
	l.matrix(&y.gate, KeyGate, i)
	l.matrix(&y.up, KeyUp, i)
	l.matrix(&y.down, KeyDown, i)
	y.scalar = 1
	if s := l.vector(KeyLayerScalar, i); s != nil { // nil after an error, or while only weighing
		l.then(func() { y.scalar = s[0] })
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

// bindRouter binds layer i's router and what belongs to a mixture beside the experts.
func (m *Model) bindRouter(l *loader, i int) {
	y := &m.layers[i]
	l.matrix(&y.router, KeyRouter, i)
	y.routerScale = l.vector(KeyRouterScale, i)
	l.then(func() {
		for k := range y.routerScale {
			y.routerScale[k] *= float32(1 / math.Sqrt(float64(m.cfg.HiddenSize)))
		}
	})
	y.expertScale = l.vector(KeyExpertScale, i)
	y.expertNorm = l.vector(KeyFFNNorm2, i)
	y.postDenseNorm, y.postExpertNorm = l.vector(KeyPostFFNNorm1, i), l.vector(KeyPostFFNNorm2, i)
}

// bindExperts binds layer i's experts.
func (m *Model) bindExperts(l *loader, i int) {
	l.group = l.groups.experts[i]
	gateUp, down, ffn := l.find(KeyExpertsGateUp, i), l.find(KeyExpertsDown, i), m.cfg.ExpertSize
	for e := range m.cfg.NumExperts {
		l.expert(gateUp, e, 0, ffn)
		l.expert(gateUp, e, ffn, 2*ffn)
		l.expert(down, e, 0, m.cfg.HiddenSize)
	}
}

// bindPLE binds the projections of the per-layer embeddings and finds the table.
func (m *Model) bindPLE(l *loader) *Source {
	c := m.cfg
	t := &pleTable{vocab: c.PLEVocabSize, split: m.lastOwner * c.PLESize, norm: l.vector(KeyPLEProjNorm, -1)}
	l.group = l.groups.start
	l.rows(&t.early, KeyPLEProj, 0, t.split)
	l.rows(&t.late, KeyPLEProj, t.split, c.RowValues())
	table := l.find(KeyPLETable, -1)
	if table != nil {
		t.typ, m.ple = table.Type, t
	}
	return table
}

// openPLE opens the per-layer table; nil is none.
func (m *Model) openPLE(table *Source, o BindOptions) error {
	if table == nil {
		return nil
	}
	if err := m.ple.open(table, o.PLESource, o.PLE); err != nil {
		m.ple = nil
		return fmt.Errorf("%s: %w", table.Spec, err)
	}
	return nil
}

// Close stops all reading. The backend frees the weights, which it must not do after ErrLeft.
func (m *Model) Close() error {
	var err error
	if m.weights != nil {
		err = m.weights.reader.close()
	}
	if m.ple == nil {
		return err
	}
	return errors.Join(err, m.ple.close())
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

// ResidentBytes is the memory that the weights take, ring and slots included, the
// table left out.
func (m *Model) ResidentBytes() int64 { return m.resident }

// WeightStats says what reading weights has cost so far. For any goroutine.
func (m *Model) WeightStats() WeightStats {
	s := m.weights.stats()
	s.Resident = m.resident
	return s
}

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
	cat     *checkpoint.Catalog
	cfg     *Config
	groups  *groups
	group   *group // that matrices are added to
	vectors int64  // bytes
	small   []vector
	after   []func() // what is to be done when they are there
	dry     bool     // only weigh: nothing is read, vectors are nil
	table   *Source  // of the per-layer embeddings, when dry
	err     error
}

// load is one matrix to be read: rows of a tensor.
type load struct {
	dst      *weight // that it is rows of; nil for an expert's
	row      int     // its first row in dst
	src      *Source
	off      int64 // of the first row, in src
	rowBytes int   // of a row, as stored
	matrix   backend.MatrixSpec
	from     int // first row, all leading axes of the tensor taken as one

	packed    packedRows // the same rows in a packed copy, if there is one
	pieceRows int        // that are read at once, see groups.cut
}

// rows returns rows [from, to) of ld, multiples of backend.FillRows but for its end.
func (ld *load) rows(from, to int) load {
	part := *ld
	part.row += from
	part.off += int64(from) * int64(ld.rowBytes)
	part.from += from
	part.packed = ld.packed.from(from)
	part.matrix.Out = to - from
	return part
}

// storedBytes is what is read for these matrices.
func storedBytes(loads []load) int64 {
	var n int64
	for i := range loads {
		n += int64(loads[i].matrix.Out) * int64(loads[i].rowBytes)
	}
	return n
}

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

// vector is a 1-D tensor to be read as float32.
type vector struct {
	src *Source
	dst []float32
}

// vector notes a 1-D tensor; its values are there after readVectors.
func (l *loader) vector(key Key, layer int) []float32 {
	t := l.find(key, layer)
	if t == nil {
		return nil
	}
	l.vectors += t.Spec.Values() * 4
	if l.dry {
		return nil
	}
	v := vector{t, make([]float32, t.Spec.Values())}
	l.small = append(l.small, v)
	return v.dst
}

// then has f called when the vectors are there.
func (l *loader) then(f func()) { l.after = append(l.after, f) }

// readVectors reads the vectors, several at once, as they lie scattered over the file: one
// after the other took 40 to 60 ms of a start. They are left behind when none has arrived for
// patience.
func (l *loader) readVectors(patience time.Duration) error {
	var read atomic.Int64
	_, err := ple.Within(patience, read.Load, func() (struct{}, error) { return struct{}{}, l.readAll(&read) }, func(struct{}) {})
	if errors.Is(err, ple.ErrSlow) {
		return fmt.Errorf("read the %d vectors of %s: %w", len(l.small), l.cat.Path(), err)
	}
	return err
}

// vectorReaders is how many vectors are read at once.
const vectorReaders = 16

// readAll reads the vectors and counts them.
func (l *loader) readAll(read *atomic.Int64) error {
	errs := make([]error, len(l.small))
	var next atomic.Int64
	var wg sync.WaitGroup
	for range vectorReaders {
		wg.Go(func() {
			for i := next.Add(1) - 1; int(i) < len(l.small); i = next.Add(1) - 1 {
				errs[i] = l.small[i].read()
				read.Add(1)
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (v vector) read() error {
	raw := make([]byte, v.src.Bytes)
	_, err := v.src.ReadAt(raw, 0)
	if err == nil {
		err = quant.Decode(v.src.Type, v.dst, raw)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", v.src.Spec, err)
	}
	return nil
}

// matrix notes that the whole tensor [out, in] is to be loaded into dst.
func (l *loader) matrix(dst *weight, key Key, layer int) {
	if t := l.find(key, layer); t != nil {
		l.add(dst, t, 0, t.Spec.Shape[0])
	}
}

// rows notes rows [from, to) of a tensor of the whole model; none is no matrix.
func (l *loader) rows(dst *weight, key Key, from, to int) {
	if t := l.find(key, -1); t != nil && to > from {
		l.add(dst, t, from, to)
	}
}

// expert notes rows [from, to) of expert e of a tensor [expert, out, in].
func (l *loader) expert(t *Source, e, from, to int) {
	if t != nil {
		l.add(nil, t, e*t.Spec.Shape[1]+from, e*t.Spec.Shape[1]+to)
	}
}

// add notes rows [from, to) of t, all leading axes taken as one.
func (l *loader) add(dst *weight, t *Source, from, to int) {
	in := t.Spec.RowLen()
	rowBytes, err := t.Type.Bytes(int64(in))
	if err != nil {
		l.fail(fmt.Errorf("%s: %w", t.Spec, err))
		return
	}
	l.group.loads = append(l.group.loads, load{
		dst: dst, src: t, off: int64(from) * rowBytes, rowBytes: int(rowBytes),
		matrix: backend.MatrixSpec{Type: t.Type, Out: to - from, In: in}, from: from,
	})
}
