package plume

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/backend/cpu"
	"github.com/plume-run/plume/internal/backend/ref"
	"github.com/plume-run/plume/internal/chat"
	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/engine"
	"github.com/plume-run/plume/internal/gemma"
)

// Model is an open model: its weights in memory, its per-layer embedding table
// in the file. It is safe for concurrent use; sessions of several goroutines
// take turns, one step at a time.
type Model struct {
	path   string
	opt    Options
	plan   *MemoryPlan
	cfg    *gemma.Config
	text   *Tokenizer // nil when the checkpoint has no vocabulary
	noText error      // why text is nil
	back   backend.Backend
	gm     *gemma.Model
	eng    *engine.Engine
	stop   []int32

	mu         sync.Mutex
	cacheBytes int64 // of the sessions and evaluations that are open
	stepBytes  int64 // most that their steps have been admitted for

	closeOnce sync.Once
	closeErr  error
	closers   []func() error
	left      bool                // reads of weights hang and were left behind
	place     string              // how the rows of the table are reached
	outside   *checkpoint.Outside // what the file tells of a table that is not here; nil where it is
	weights   string              // where the weights come from; guarded by mu
}

// Open reads a model. path is a GGUF file (any part of a split one), a
// .safetensors file, or a folder with config.json and safetensors as Gemma 4
// is released. Weights that need arithmetic are loaded; rows of the per-layer
// embedding table are read from path while the model runs, so the file must
// stay until Close.
//
// What is allocated follows a plan made from the headers, see [Options].RAM.
//
// Errors: fs.ErrNotExist, [ErrCorrupt], [ErrUnsupported], [ErrMemory],
// [ErrRequest] for options out of range.
func Open(path string, o Options) (*Model, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	m := &Model{path: path, opt: o}
	if err := m.open(); err != nil {
		m.Close()
		return nil, markUnsupported(err)
	}
	return m, nil
}

func (m *Model) open() error {
	cat, err := openModel(m.path, m.opt.PLETimeout)
	if err != nil {
		return err
	}
	m.closers = append(m.closers, cat.Close)
	if m.outside = cat.Outside(); m.outside != nil && !isURL(m.opt.PLE) {
		return tableAway(cat)
	}
	if m.cfg, err = gemma.ReadConfig(cat); err != nil {
		return markConfig(err)
	}
	b, err := m.opt.budget()
	if err != nil {
		return err
	}
	size, late, err := m.makePlan(cat, b)
	if err != nil {
		return err
	}
	if err := m.bind(cat, size, b, late); err != nil {
		return err
	}
	if late {
		if err := m.readText(cat); err != nil {
			return err
		}
		m.settle(b)
		m.gm.LoadRest()
	}
	m.stop = stopIDs(m.cfg, m.text)
	m.gm.Reserve(m.opt.Chunk, 1)
	m.gm.Reserve(1+engine.MaxDraft, 1+engine.MaxDraft)
	m.eng = engine.New(m.gm)
	return nil
}

// makePlan makes the plan. What takes longest begins first: the size of a GGUF file's vocabulary
// is in its header, so the tokenizer can wait until the weights are on their way. Building it
// takes more memory than it does: that of the last weights, which are read after it. It is built
// here, and late is false, where nothing else goes on meanwhile, where the size is not known
// before, and where a limit leaves fewer weights than building takes: then there is not
// enough to hold back.
func (m *Model) makePlan(cat *checkpoint.Catalog, b budget) (size vocabularySize, late bool, err error) {
	size, known := headerVocabulary(cat)
	if !known {
		if err := m.readText(cat); err != nil {
			return size, false, err
		}
		size = m.text.size()
	}
	if m.plan, err = makePlan(cat, m.cfg, size, b, m.opt); err != nil {
		return size, false, err
	}
	p := m.plan.p
	late = known && m.opt.Background && (!b.limited || p.Weights().KeptBytes(p.Residency()) >= size.building())
	if known && !late {
		err = m.readText(cat)
	}
	return size, late, err
}

// readText builds the tokenizer, if there is a vocabulary.
func (m *Model) readText(cat *checkpoint.Catalog) (err error) {
	m.text, err = readTokenizer(cat, m.cfg)
	cat.ForgetMeta() // the vocabulary in it; config and tokenizer have what they need
	switch {
	case errors.Is(err, ErrNoTokenizer):
		m.noText = err
	case err != nil:
		return err
	case m.text.Len() > m.cfg.VocabSize:
		return unsupportedError{fmt.Errorf("open %s: tokenizer has %d tokens, model %d", m.path, m.text.Len(), m.cfg.VocabSize)}
	}
	return nil
}

// headerVocabulary is the size of the vocabulary in a GGUF file's header; not known for
// other files.
func headerVocabulary(cat *checkpoint.Catalog) (size vocabularySize, known bool) {
	tokens, known := cat.Meta().Strings("tokenizer.ggml.tokens")
	merges, _ := cat.Meta().Strings("tokenizer.ggml.merges")
	return vocabularySize{len(tokens), len(merges)}, known || cat.Format() == "gguf"
}

// settle tells Go its share of the memory, and gives back what parsing the header and the
// vocabulary has left.
func (m *Model) settle(b budget) {
	m.limitGo()
	if m.opt.LimitGo && b.limited {
		debug.FreeOSMemory()
	}
}

// building is what building a tokenizer of that size takes at most beside what it keeps: the
// header's strings and, until a collection, garbage. 262,144 tokens and 514,906 merges, of which
// 22 MiB are strings and 20 are kept, have 105 MiB.
func (s vocabularySize) building() int64 { return 192*int64(s.tokens) + 112*int64(s.merges) }

// bind has the weights loaded by the plan. late is whether a tokenizer of that size is built
// after that; the last weights are then held back.
func (m *Model) bind(cat *checkpoint.Catalog, size vocabularySize, b budget, late bool) (err error) {
	p := m.plan.p
	m.opt.Context, m.opt.Chunk, m.opt.KVType, m.opt.PLECacheBytes = p.Context, p.Chunk, p.KVType, p.PLE
	if !late {
		m.settle(b)
	}
	if m.back, err = newBackend(m.opt); err != nil {
		return err
	}
	m.closers = append(m.closers, m.closeBack)
	o := m.bindOptions(b)
	if o.Packed, err = m.findPacked(cat); err != nil {
		return err
	}
	if late && b.limited {
		o.HoldBack = size.building()
	}
	m.gm, err = gemma.Bind(cat, m.cfg, m.back, o)
	if err != nil {
		m.left = errors.Is(err, gemma.ErrLeft)
		return err
	}
	m.closers = append(m.closers, m.closeWeights)
	m.countReads()
	if !late {
		m.limitGo()
	}
	return nil
}

func (m *Model) closeWeights() error {
	err := m.gm.Close()
	m.left = errors.Is(err, gemma.ErrLeft)
	return err
}

// closeBack frees the weights, but not while reads that hang may still write them.
func (m *Model) closeBack() error {
	if m.left {
		return nil
	}
	return m.back.Close()
}

// bindOptions passes on what the plan has settled.
func (m *Model) bindOptions(b budget) gemma.BindOptions {
	return gemma.BindOptions{
		PLE: m.rowOptions(m.opt.PLECacheBytes), PLESource: m.openPLE,
		KVType: kvTypes[m.opt.KVType], Residency: m.plan.p.Residency(), DropRead: b.limited,
		Background: m.opt.Background, Progress: m.opt.Progress, PackedFault: m.copyFault,
	}
}

// newBackend wires the concrete devices; nothing else in the program names them.
func newBackend(o Options) (backend.Backend, error) {
	if o.Backend == "ref" {
		return ref.New(), nil
	}
	return cpu.New(o.Threads)
}

// stopIDs lists the tokens that end an answer: what the configuration names and
// what the vocabulary has under the names that end a turn.
func stopIDs(cfg *gemma.Config, text *Tokenizer) []int32 {
	ids := append([]int32(nil), cfg.EOS...)
	if text != nil {
		ids = append(ids, chat.StopIDs(text.tok)...)
	}
	return ids
}

// markUnsupported gives checkpoint's class of foreign files the public mark.
func markUnsupported(err error) error {
	if errors.Is(err, checkpoint.ErrUnsupported) && !errors.Is(err, ErrUnsupported) {
		return unsupportedError{err}
	}
	return err
}

// Close waits for the step that runs, if one does, and frees the model. Work
// that goes on, and all that begins later, is refused with ErrClosed. It must
// not be called from a callback of EvalOptions. Where a device has given nothing
// for 30 s, its error says so and the weights' memory is not freed.
func (m *Model) Close() error {
	m.closeOnce.Do(func() {
		if m.eng != nil {
			m.eng.Close()
		}
		for i := len(m.closers) - 1; i >= 0; i-- {
			m.closeErr = errors.Join(m.closeErr, m.closers[i]())
		}
	})
	return m.closeErr
}

// Path returns what Open was given.
func (m *Model) Path() string { return m.path }

// Options returns the options in force, defaults filled in.
func (m *Model) Options() Options { return m.opt }

// Name returns the published name of the model's shape ("E2B"), "" when it has none.
func (m *Model) Name() string { return m.cfg.Name }

// MaxContext returns the number of tokens that the model was made for.
func (m *Model) MaxContext() int { return m.cfg.MaxPositions }

// VocabSize returns the length of a row of logits.
func (m *Model) VocabSize() int { return m.cfg.VocabSize }

// HiddenSize returns the width of the residual stream.
func (m *Model) HiddenSize() int { return m.cfg.HiddenSize }

// Layers returns the number of decoder layers.
func (m *Model) Layers() int { return m.cfg.NumLayers }

// Ready waits until the weights that stay in memory have been read, which takes time
// only with Options.Background. Its error is that of reading them, or ctx's.
func (m *Model) Ready(ctx context.Context) error { return m.gm.Ready(ctx) }

// ResidentBytes returns the memory that the weights take.
func (m *Model) ResidentBytes() int64 { return m.gm.ResidentBytes() }

// PLEStats returns what the per-layer table has cost since Open.
func (m *Model) PLEStats() PLEStats { return pleStats(m.gm.PLEStats()) }

// Sampling returns the settings that the model's authors recommend.
func (m *Model) Sampling() Sampling {
	return Sampling{
		Temperature: float32(m.cfg.Temperature),
		TopK:        m.cfg.TopK,
		TopP:        float32(m.cfg.TopP),
	}
}

// Tokenizer returns the text side of the model, or ErrNoTokenizer.
func (m *Model) Tokenizer() (*Tokenizer, error) { return m.text, m.noText }

// Tokenize returns the ids of text, without BOS and with special tokens' texts
// as special tokens; see [Tokenizer.Encode].
func (m *Model) Tokenize(text string) ([]int32, error) {
	if m.noText != nil {
		return nil, m.noText
	}
	return m.text.Encode(text, true), nil
}

// Detokenize returns the text of ids; see [Tokenizer.Decode].
func (m *Model) Detokenize(ids []int32) (string, error) {
	if m.noText != nil {
		return "", m.noText
	}
	return m.text.Decode(ids)
}

// Render returns the exact prompt of a conversation; see [Tokenizer.Render].
func (m *Model) Render(messages []Message, o RenderOptions) (string, error) {
	if m.noText != nil {
		return "", m.noText
	}
	return m.text.Render(messages, o)
}

// NewSession starts a conversation or text with a KV cache of its own. A session of
// the planned size always fits once; more or larger ones are refused with ErrMemory
// where the budget has no room for them.
func (m *Model) NewSession(o SessionOptions) (*Session, error) {
	if o.Context == 0 {
		o.Context = m.opt.Context
	}
	if o.Chunk == 0 {
		o.Chunk = m.opt.Chunk
	}
	if o.Context < 1 || o.Context > m.cfg.MaxPositions || o.Chunk < 1 {
		return nil, requestError{fmt.Errorf("size session: context %d, want 1 to %d, chunk %d, want at least 1", o.Context, m.cfg.MaxPositions, o.Chunk)}
	}
	cache, step := m.plan.p.Session(o.Context, min(o.Chunk, o.Context))
	if err := m.admit(fmt.Sprintf("open session of %d tokens", o.Context), cache, step); err != nil {
		return nil, err
	}
	es, err := m.eng.NewSession(engine.SessionOptions{Context: o.Context, Chunk: o.Chunk, NoDraft: o.NoDraft})
	if err != nil {
		m.leave(cache)
	}
	if errors.Is(err, ErrClosed) {
		return nil, err
	} else if err != nil {
		return nil, requestError{err}
	}
	return &Session{m: m, es: es, reserved: cache}, nil
}

// EvalOptions say what Evaluate hands out beside the mean.
type EvalOptions struct {
	Chunk  int // tokens per step; 0: a default. It never changes a result
	Greedy int // tokens to continue with, the most likely one each time, past stop tokens
	// Logits, when set, gets row i of the logits [V] in order of i, to be copied
	// or used at once. An error ends the evaluation.
	Logits func(i int, logits []float32) error
	// Hidden, when set, gets hidden state index of token i, [H]: index 0 is the
	// scaled embedding, index l the output of layer l−1, and the last, Layers(),
	// is after the final norm. An error ends the evaluation.
	Hidden func(index, i int, hidden []float32) error
}

// Evaluation is what a text is worth under the model.
type Evaluation struct {
	MeanNLL float64 // mean of −log p(ids[i] | ids[:i]) over i ≥ 1, in nats
	Scored  int     // number of tokens in that mean
	Greedy  []int32 // the continuation, as many as were asked for
}

// Evaluate computes every position of ids, to which nothing is added.
func (m *Model) Evaluate(ctx context.Context, ids []int32, o EvalOptions) (Evaluation, error) {
	context := len(ids) + max(0, o.Greedy-1)
	if len(ids) == 0 || o.Chunk < 0 || context > m.cfg.MaxPositions {
		return m.evaluate(ctx, ids, o) // which says what is wrong
	}
	cache, err := m.admitEvaluation(context, len(ids), &o.Chunk)
	if err != nil {
		return Evaluation{}, err
	}
	defer m.leave(cache)
	return m.evaluate(ctx, ids, o)
}

func (m *Model) evaluate(ctx context.Context, ids []int32, o EvalOptions) (Evaluation, error) {
	ev, err := m.eng.Evaluate(ctx, ids, engine.EvalOptions{
		Chunk: o.Chunk, Greedy: o.Greedy, Logits: o.Logits, Hidden: o.Hidden,
	})
	return Evaluation(ev), err
}

// PerplexityOptions say how a long text is cut. The zero value is the usual.
type PerplexityOptions struct {
	Window   int // tokens per piece; 0: 512
	Chunk    int // tokens per step; 0: a default
	Progress func(done, total int)
}

// Perplexity returns the mean negative log-likelihood of ids, in nats. The text,
// with BOS in front, is cut into pieces of Window tokens; each piece after the
// first gets a BOS of its own. So the first window is BOS and Window−1 ids,
// the others are BOS and Window ids (the last one fewer), and every id is
// scored once. These are the windows of the published figures of the demo model.
func (m *Model) Perplexity(ctx context.Context, ids []int32, o PerplexityOptions) (Evaluation, error) {
	windows, err := m.windows(ids, o)
	if err != nil {
		return Evaluation{}, err
	}
	var sum float64
	var out Evaluation
	for at, window := range windows {
		ev, err := m.Evaluate(ctx, window, EvalOptions{Chunk: o.Chunk})
		if err != nil {
			return out, fmt.Errorf("score tokens from %d: %w", at, err)
		}
		sum += ev.MeanNLL * float64(ev.Scored)
		out.Scored += ev.Scored
		out.MeanNLL = sum / float64(out.Scored)
		if o.Progress != nil {
			o.Progress(out.Scored, len(ids))
		}
	}
	return out, nil
}
