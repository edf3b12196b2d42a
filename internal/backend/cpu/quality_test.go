package cpu_test

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"slices"
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

// qualityText names a file with a text to score instead of the few sentences below.
const qualityText = "PLUME_QUALITY_TEXT"

const fewSentences = `Once upon a time there lived a miller who had three sons and a grey donkey. "Father," said the youngest,
"let me go out into the world, and I will bring you back a bag of gold." The old man laughed.`

// TestQualityPerType compares the logits of this backend, which rounds activations to int8, with
// those of the reference on the same file, for the demo model in a few types of weights, or all
// when a text is given, and with rounded keys and values. For docs/measurements/cpu-quality.md:
//
//	PLUME_QUALITY_TEXT=heldout.txt go test -run TestQualityPerType -v -timeout 60m ./internal/backend/cpu
//
// The bounds hold for any text; the mean over a long one is much closer. Perplexity is bounded
// when a text is given, which should have 3,000 tokens: what few of them differ by is chance.
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
	ids := qualityIDs(t, src)
	n := 0
	for _, piece := range ids {
		n += len(piece)
	}
	t.Logf("%d tokens; reference, cpu, KL in nats per token; cosine and differences of logits", n)
	t.Logf("%-8s %-4s %9s %9s %9s %9s %12s %9s %9s", "weights", "K/V", "reference", "cpu", "cpu-ref", "KL", "1-cos worst", "largest", "rms")
	names := []string{"f32", "q8_0", "q4_0"}
	if os.Getenv(qualityText) != "" {
		names = convert.LayerNames()
	}
	for _, name := range names {
		typ, mix, err := convert.ParseLayers(name)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), name+".gguf")
		if _, err := convert.Convert(context.Background(), src, file, convert.Options{Types: convert.Types{Type: typ, Mix: mix}}); err != nil {
			t.Fatal(err)
		}
		cat := openCatalog(t, file)
		want := evaluator(t, cat, ref.New(), quant.F32)
		kinds := []quant.Type{quant.F32}
		if name == "q8_0" || name == "f32" {
			kinds = append(kinds, quant.F16, quant.I8)
		}
		var got []*evaluation
		for _, kv := range kinds {
			c, err := cpu.New(2)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
			got = append(got, evaluator(t, cat, c, kv))
		}
		all := compareLogits(t, ids, want, got)
		for i, q := range all {
			t.Logf("%-8s %-4v %9.4f %9.4f %+9.5f %9.6f %12.2e %9.4f %9.4f",
				name, kinds[i], q.refNLL, q.nll, q.nll-q.refNLL, q.kl, 1-q.cosine, q.largest, q.rms)
			q.check(t, name, kinds[i])
		}
	}
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

// evaluation is a model on a backend.
type evaluation struct {
	m     *gemma.Model
	vocab int
}

func evaluator(t *testing.T, cat *checkpoint.Catalog, b backend.Backend, kv quant.Type) *evaluation {
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
	return &evaluation{m, cfg.VocabSize}
}

// logits returns one row for each token; they are the model's until the next call.
func (e *evaluation) logits(t *testing.T, ids []int32) []float32 {
	t.Helper()
	cache, err := e.m.NewCache(len(ids), 0)
	if err != nil {
		t.Fatal(err)
	}
	out, _, err := e.m.Forward(context.Background(), &gemma.Batch{Parts: []gemma.Part{{Cache: cache, IDs: ids, Want: gemma.WantAll}}})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// quality is how far one evaluation lies from the reference.
type quality struct {
	refNLL, nll  float64 // means over the tokens that are predicted
	kl           float64 // mean divergence of the prediction from the reference's
	cosine       float64 // least of any row of logits
	largest, rms float64 // difference of a logit
	rows, scored int
}

func compareLogits(t *testing.T, pieces [][]int32, want *evaluation, got []*evaluation) []quality {
	t.Helper()
	all := make([]quality, len(got))
	for i := range all {
		all[i].cosine = 1
	}
	for _, ids := range pieces {
		a := want.logits(t, ids)
		for i, e := range got {
			b := e.logits(t, ids)
			for row := range ids {
				at := row * want.vocab
				next := int32(-1)
				if row+1 < len(ids) {
					next = ids[row+1]
				}
				all[i].add(a[at:at+want.vocab], b[at:at+want.vocab], next)
			}
		}
	}
	for i := range all {
		q := &all[i]
		q.refNLL /= float64(q.scored)
		q.nll /= float64(q.scored)
		q.kl /= float64(q.scored)
		q.rms = math.Sqrt(q.rms / float64(q.rows*want.vocab))
	}
	return all
}

// add takes in a row of the reference's logits, one of the other's, and the token that came next.
func (q *quality) add(a, b []float32, next int32) {
	var ab, aa, bb float64
	for i := range a {
		x, y := float64(a[i]), float64(b[i])
		ab, aa, bb = ab+x*y, aa+x*x, bb+y*y
		q.largest = max(q.largest, math.Abs(x-y))
		q.rms += (x - y) * (x - y)
	}
	q.rows++
	q.cosine = min(q.cosine, ab/math.Sqrt(aa*bb))
	if next < 0 {
		return
	}
	logA, logB := logSum(a), logSum(b)
	q.scored++
	q.refNLL += logA - float64(a[next])
	q.nll += logB - float64(b[next])
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
	if !(q.kl <= kl) || !(q.cosine >= cosine) {
		t.Errorf("%s weights, %v keys and values: KL %.2g, want at most %g; cosine %.8f, want at least %g", name, kv, q.kl, kl, q.cosine, cosine)
	}
	if os.Getenv(qualityText) == "" || kv == quant.I8 {
		return
	}
	most, ok := map[string]float64{"f32": 1e-3, "q8_0": 0.01, "q4_0": 0.02}[name]
	if diff := math.Exp(q.nll) - math.Exp(q.refNLL); ok && !(math.Abs(diff) <= most) {
		t.Errorf("%s weights, %v keys and values: perplexity %+.4f beside the reference, want at most %g", name, kv, diff, most)
	}
}
