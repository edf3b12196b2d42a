package cpu_test

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/plume-run/plume/demo"
	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/backend/cpu"
	"github.com/plume-run/plume/internal/backend/ref"
	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/convert"
	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/quant"
	"github.com/plume-run/plume/internal/tokenizer"
)

// qualityText names a file with a text to score instead of the few sentences below, qualityTypes
// the types of weights then, with commas between; all where it is not set.
const (
	qualityText  = "PLUME_QUALITY_TEXT"
	qualityTypes = "PLUME_QUALITY_TYPES"
)

const fewSentences = `Once upon a time there lived a miller who had three sons and a grey donkey. "Father," said the youngest,
"let me go out into the world, and I will bring you back a bag of gold." The old man laughed.`

// TestQualityPerType compares the logits of this backend, which rounds activations to int8, with
// those of the reference on the same file, for the demo model in a few types of weights, or all
// when a text is given, and with rounded keys and values. For docs/measurements/cpu-quality.md:
//
//	PLUME_QUALITY_TEXT=heldout.txt go test -run TestQualityPerType -v -timeout 60m ./internal/backend/cpu
//
// The bounds hold for any text; the mean over a long one is much closer. Perplexity is bounded
// when a text is given, where its standard error is less than half of the bound.
//
// The reference takes minutes for a thousand tokens. After the first piece of a text, this backend
// takes its place, with the same weights as floats: in the first one both are compared.
func TestQualityPerType(t *testing.T) {
	if testing.Short() {
		t.Skip("evaluates a model many times")
	}
	t.Setenv(demo.CacheEnv, t.TempDir())
	path, _, err := demo.Path()
	if err != nil {
		t.Fatal(err)
	}
	src := openCatalog(t, path)
	pieces := qualityIDs(t, src)
	n := 0
	for _, ids := range pieces {
		n += len(ids)
	}
	t.Logf("%d tokens; reference, cpu, their difference, its standard error, KL in nats per token; cosine and differences of logits", n)
	t.Logf("%-8s %-4s %9s %9s %9s %9s %9s %12s %9s %9s", "weights", "K/V", "reference", "cpu", "cpu-ref", "error", "KL", "1-cos worst", "largest", "rms")
	for _, name := range qualityNames() {
		typ, mix, err := convert.ParseLayers(name)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), name+".gguf")
		if _, err := convert.Convert(context.Background(), src, file, convert.Options{Types: convert.Types{Type: typ, Mix: mix}}); err != nil {
			t.Fatal(err)
		}
		kinds := []quant.Type{quant.F32}
		if name == "q8_0" || name == "f32" {
			kinds = append(kinds, quant.F16, quant.I8)
		}
		cat := openCatalog(t, file)
		yard := func() evaluator { return newEvaluator(t, cat, ref.New(), quant.F32) }
		if len(pieces) > 1 {
			floats := asFloats(t, cat)
			q := compareLogits(t, yard, floats, pieces[:1], []quant.Type{quant.F32})[0]
			t.Logf("%-8s as floats, %d tokens: KL %.1e, 1-cos %.1e, largest %.1e", name, len(pieces[0]), q.mean(q.kl), 1-q.cosine, q.largest)
			q.check(t, "f32", quant.F32)
			yard = func() evaluator { return newEvaluator(t, floats, oneThread(t), quant.F32) }
		}
		for i, q := range compareLogits(t, yard, cat, pieces, kinds) {
			t.Logf("%-8s %-4v %9.4f %9.4f %+9.5f %9.5f %9.6f %12.2e %9.4f %9.4f", name, kinds[i],
				q.mean(q.refNLL), q.mean(q.nll), q.mean(q.nll-q.refNLL), q.error(), q.mean(q.kl), 1-q.cosine, q.largest, math.Sqrt(q.squares/float64(q.logits)))
			q.check(t, name, kinds[i])
		}
	}
}

// qualityNames is the types of weights that are compared.
func qualityNames() []string {
	if os.Getenv(qualityText) == "" {
		return []string{"f32", "q8_0", "q4_0"}
	}
	if names := os.Getenv(qualityTypes); names != "" {
		return strings.Split(names, ",")
	}
	return convert.LayerNames()
}

func openCatalog(t *testing.T, path string) *checkpoint.Catalog {
	t.Helper()
	cat, err := checkpoint.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cat.Close() })
	return cat
}

// qualityIDs is the text in pieces of 512 tokens, each with its BOS.
func qualityIDs(t *testing.T, cat *checkpoint.Catalog) [][]int32 {
	t.Helper()
	spec, err := tokenizer.SpecFromKeys(cat.Meta())
	if err != nil {
		t.Fatal(err)
	}
	tok, err := tokenizer.New(spec)
	if err != nil {
		t.Fatal(err)
	}
	text := fewSentences
	if file := os.Getenv(qualityText); file != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text = string(data)
	}
	var pieces [][]int32
	bos, _ := tok.BOS()
	for part := range slices.Chunk(tok.Encode(nil, text, false), 511) {
		pieces = append(pieces, append([]int32{bos}, part...))
	}
	return pieces
}

// asFloats is a copy of a file with the same weights in f32.
func asFloats(t *testing.T, cat *checkpoint.Catalog) *checkpoint.Catalog {
	t.Helper()
	file := filepath.Join(t.TempDir(), "floats.gguf")
	if _, err := convert.Convert(context.Background(), cat, file, convert.Options{Types: convert.Types{Type: quant.F32}}); err != nil {
		t.Fatal(err)
	}
	return openCatalog(t, file)
}

// evaluator computes a row of logits for each token of a piece; they are its own until the next call.
type evaluator func(ids []int32) ([]float32, error)

func newEvaluator(t *testing.T, cat *checkpoint.Catalog, b backend.Backend, kv quant.Type) evaluator {
	t.Helper()
	cfg, err := gemma.ReadConfig(cat)
	if err != nil {
		t.Fatal(err)
	}
	m, err := gemma.Bind(cat, cfg, b, gemma.BindOptions{KVType: kv})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return func(ids []int32) ([]float32, error) {
		cache, err := m.NewCache(len(ids), 0)
		if err != nil {
			return nil, err
		}
		out, _, err := m.Forward(context.Background(), &gemma.Batch{Parts: []gemma.Part{{Cache: cache, IDs: ids, Want: gemma.WantAll}}})
		return out, err
	}
}

// quality is how far one evaluation lies from the reference: sums over the tokens that are
// predicted, but for what says otherwise.
type quality struct {
	refNLL, nll float64
	apart       float64 // squares of the difference of the two
	kl          float64 // divergence of the prediction from the reference's
	scored      int

	cosine  float64 // least of any row of logits
	largest float64 // difference of a logit
	squares float64 // of the differences of all logits
	logits  int
}

func (q *quality) mean(sum float64) float64 { return sum / float64(q.scored) }

// error is the standard error of the mean difference.
func (q *quality) error() float64 {
	d := q.mean(q.nll - q.refNLL)
	return math.Sqrt(max(0, q.mean(q.apart)-d*d) / float64(q.scored))
}

// compareLogits evaluates all pieces with the weights of cat and each type of keys and values, and
// compares with what yard makes. The reference computes on one thread, so pieces are computed beside
// each other; the sums are in the pieces' order.
func compareLogits(t *testing.T, yard func() evaluator, cat *checkpoint.Catalog, pieces [][]int32, kinds []quant.Type) []quality {
	t.Helper()
	parts := make([][]quality, len(pieces))
	errs := make([]error, len(pieces))
	work := make(chan int)
	var wait sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(pieces)) {
		want := yard()
		var got []evaluator
		for _, kv := range kinds {
			got = append(got, newEvaluator(t, cat, oneThread(t), kv))
		}
		wait.Go(func() {
			for i := range work {
				parts[i], errs[i] = comparePiece(pieces[i], want, got)
			}
		})
	}
	for i := range pieces {
		work <- i
	}
	close(work)
	wait.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	all := parts[0]
	for _, part := range parts[1:] {
		for i := range all {
			all[i].join(part[i])
		}
	}
	return all
}

func oneThread(t *testing.T) backend.Backend {
	t.Helper()
	c, err := cpu.New(1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// comparePiece compares each of got with want.
func comparePiece(ids []int32, want evaluator, got []evaluator) ([]quality, error) {
	a, err := want(ids)
	if err != nil {
		return nil, err
	}
	all, vocab := make([]quality, len(got)), len(a)/len(ids)
	for i, evaluate := range got {
		b, err := evaluate(ids)
		if err != nil {
			return nil, err
		}
		all[i].cosine = 1
		for row := range ids {
			next := int32(-1)
			if row+1 < len(ids) {
				next = ids[row+1]
			}
			all[i].add(a[row*vocab:][:vocab], b[row*vocab:][:vocab], next)
		}
	}
	return all, nil
}

// join takes in another piece's.
func (q *quality) join(p quality) {
	q.refNLL, q.nll, q.apart, q.kl, q.scored = q.refNLL+p.refNLL, q.nll+p.nll, q.apart+p.apart, q.kl+p.kl, q.scored+p.scored
	q.cosine, q.largest = min(q.cosine, p.cosine), max(q.largest, p.largest)
	q.squares, q.logits = q.squares+p.squares, q.logits+p.logits
}

// add takes in a row of the reference's logits, one of the other's, and the token that came next.
func (q *quality) add(a, b []float32, next int32) {
	var ab, aa, bb float64
	for i := range a {
		x, y := float64(a[i]), float64(b[i])
		ab, aa, bb = ab+x*y, aa+x*x, bb+y*y
		q.largest = max(q.largest, math.Abs(x-y))
		q.squares += (x - y) * (x - y)
	}
	q.logits += len(a)
	q.cosine = min(q.cosine, ab/math.Sqrt(aa*bb))
	if next < 0 {
		return
	}
	logA, logB := logSum(a), logSum(b)
	nllA, nllB := logA-float64(a[next]), logB-float64(b[next])
	q.scored++
	q.refNLL, q.nll, q.apart = q.refNLL+nllA, q.nll+nllB, q.apart+(nllB-nllA)*(nllB-nllA)
	for i := range a {
		p := float64(a[i]) - logA
		q.kl += math.Exp(p) * (p - (float64(b[i]) - logB))
	}
}

// logSum is log Σ exp.
func logSum(x []float32) float64 {
	top, sum := float64(slices.Max(x)), 0.0
	for _, v := range x {
		sum += math.Exp(float64(v) - top)
	}
	return top + math.Log(sum)
}

// check holds a file's logits to what rounding activations (quantised weights) and keys and
// values may cost.
func (q *quality) check(t *testing.T, name string, kv quant.Type) {
	t.Helper()
	kl, cosine := 0.002, 0.999
	if float := name == "f32" || name == "f16" || name == "bf16"; float && kv != quant.I8 {
		kl, cosine = 1e-6, 1-1e-6
	}
	if got := q.mean(q.kl); !(got <= kl) || !(q.cosine >= cosine) {
		t.Errorf("%s weights, %v keys and values: KL %.2g, want at most %g; cosine %.8f, want at least %g", name, kv, got, kl, q.cosine, cosine)
	}
	most, ok := map[string]float64{"f32": 1e-3, "q8_0": 0.01, "q4_0": 0.02}[name]
	if os.Getenv(qualityText) == "" || kv == quant.I8 || !ok {
		return
	}
	ours, theirs := math.Exp(q.mean(q.nll)), math.Exp(q.mean(q.refNLL))
	spread := ours * q.error()
	t.Logf("%s weights, %v keys and values: perplexity %.4f, the reference's %.4f, %+.4f ± %.4f", name, kv, ours, theirs, ours-theirs, spread)
	switch {
	case spread > most/2:
		t.Logf("%s weights, %v keys and values: the text is too short to hold that to %g", name, kv, most)
	case !(math.Abs(ours-theirs) <= most):
		t.Errorf("%s weights, %v keys and values: perplexity %+.4f beside the reference, want at most %g", name, kv, ours-theirs, most)
	}
}
