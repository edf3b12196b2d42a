package convert

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/plume-run/plume/internal/backend/ref"
	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/quant"
)

// tinyModels are in package gemma's testdata, as the reference saved them.
var tinyModels = []string{"e-tiny", "moe-tiny", "dense-tiny"}

func tiny(t *testing.T, name string) *checkpoint.Catalog {
	t.Helper()
	return open(t, filepath.Join("..", "gemma", "testdata", name))
}

func open(t *testing.T, path string) *checkpoint.Catalog {
	t.Helper()
	cat, err := checkpoint.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cat.Close() })
	return cat
}

func readConfig(t *testing.T, cat *checkpoint.Catalog) *gemma.Config {
	t.Helper()
	c, err := gemma.ReadConfig(cat)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// mustConvert converts to a new file and opens it.
func mustConvert(t *testing.T, src *checkpoint.Catalog, o Options) (*checkpoint.Catalog, *Report) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "out.gguf")
	r, err := Convert(context.Background(), src, path, o)
	if err != nil {
		t.Fatal(err)
	}
	return open(t, path), r
}

func bytesOf(t *testing.T, r io.ReaderAt, n int64) []byte {
	t.Helper()
	data := make([]byte, n)
	if _, err := r.ReadAt(data, 0); err != nil {
		t.Fatal(err)
	}
	return data
}

// values decodes a whole tensor.
func values(t *testing.T, cat *checkpoint.Catalog, spec gemma.TensorSpec) []float32 {
	t.Helper()
	src, err := gemma.Locate(cat, spec)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]float32, spec.Values())
	if err := quant.Decode(src.Type, out, bytesOf(t, src, src.Bytes)); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestConvertBF16: nothing is lost. The config comes back as it was, matrices
// are the same bytes, norms the same values in F32, and there is nothing else.
func TestConvertBF16(t *testing.T) {
	for _, name := range tinyModels {
		t.Run(name, func(t *testing.T) {
			src := tiny(t, name)
			cfg := readConfig(t, src)
			out, r := mustConvert(t, src, Options{Types: Types{Type: quant.BF16}})
			if got := readConfig(t, out); !reflect.DeepEqual(got, cfg) {
				t.Errorf("config %+v\nwant   %+v", got, cfg)
			}
			present := 1 // rope_freqs
			for _, spec := range cfg.Tensors() {
				from, err := gemma.Locate(src, spec)
				if err != nil {
					t.Fatal(err)
				}
				if from == nil {
					continue
				}
				present++
				to := out.Lookup(spec.GGUF)
				if to == nil || !slices.Equal(to.Shape, spec.Shape) {
					t.Fatalf("%s: %+v, want shape %v", spec.GGUF, to, spec.Shape)
				}
				if want := wantBF16(spec); to.Type != want {
					t.Errorf("%s is %s, want %s", spec.GGUF, to.Type, want)
				}
				if to.Type == quant.BF16 && !bytes.Equal(bytesOf(t, from, from.Bytes), bytesOf(t, to, to.Bytes)) {
					t.Errorf("%s: bytes differ from the source's", spec.GGUF)
				}
				if !slices.Equal(values(t, src, spec), values(t, out, spec)) {
					t.Errorf("%s: values differ from the source's", spec.GGUF)
				}
			}
			if n := len(out.Tensors()); n != present || r.Tensors != n || len(r.Fallbacks) != 0 {
				t.Errorf("%d tensors, want %d; report %+v", n, present, r)
			}
			if out.Lookup(gemma.RopeFreqs) == nil {
				t.Error("no rope_freqs.weight")
			}
		})
	}
}

// wantBF16 is the type a tensor must have in a BF16 file.
func wantBF16(spec gemma.TensorSpec) quant.Type {
	if spec.Role == gemma.RoleNorm || spec.Role == gemma.RoleRouter {
		return quant.F32
	}
	return quant.BF16
}

// TestUnusedAndUnknown: k and v of KV-shared layers are kept where the source
// has them, and what does not belong to the model is left out and reported.
func TestUnusedAndUnknown(t *testing.T) {
	src := tiny(t, "e-tiny")
	cfg := readConfig(t, src)
	dir := t.TempDir()
	config, err := src.File("config.json")
	if err != nil {
		t.Fatal(err)
	}
	addFile(t, dir, "config.json", string(config))
	w, err := checkpoint.CreateSafetensors(filepath.Join(dir, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	var parts []part
	zeros := func(name string, shape ...int) {
		p, err := newPart(name, quant.BF16, shape)
		if err != nil {
			t.Fatal(err)
		}
		p.fill = func(dst []byte, _ *scratch, _, _ int) error { clear(dst); return nil }
		parts = append(parts, p)
	}
	for _, spec := range cfg.Tensors() {
		if spec.Key != gemma.KeyV || spec.Layer != 9 {
			zeros(hfPrefix+spec.HF, spec.Shape...)
		}
	}
	zeros(hfPrefix+"layers.9.self_attn.v_proj.weight", 5, 5) // unused and of a wrong shape
	zeros("lm_head.weight", cfg.VocabSize, cfg.HiddenSize)
	zeros("model.vision_tower.std_bias", 4)
	zeros("model.language_model.layers.0.extra.weight", 4)
	if err := errors.Join(writeParts(context.Background(), w, parts, 1, nil), w.Close()); err != nil {
		t.Fatal(err)
	}
	out, r := mustConvert(t, open(t, dir), Options{Types: Types{Type: quant.BF16}})
	for name, want := range map[string]bool{"blk.9.attn_k.weight": true, "blk.9.attn_k_norm.weight": true,
		"blk.8.attn_v.weight": true, "blk.9.attn_v.weight": false, "output.weight": false} {
		if got := out.Lookup(name) != nil; got != want {
			t.Errorf("%s present: %v, want %v", name, got, want)
		}
	}
	notes := strings.Join(r.Notes, "\n")
	for _, want := range []string{"layers.9.attn_v: shape [5 5], want [32 64]", "lm_head.weight left out",
		"vision and audio parts left out: 1", "unknown tensors left out: 1, model.language_model.layers.0.extra.weight"} {
		if !strings.Contains(notes, want) {
			t.Errorf("no note with %q in\n%s", want, notes)
		}
	}
	if got := readConfig(t, out); !reflect.DeepEqual(got, cfg) {
		t.Errorf("config %+v\nwant   %+v", got, cfg)
	}
}

// TestSameLogits: a model and its conversion compute the same, to the bit.
func TestSameLogits(t *testing.T) {
	ids := []int32{2, 142, 119, 53, 221, 14, 263, 103, 105, 129, 131, 127, 91, 32, 133, 160, 5, 186, 5, 246}
	for _, name := range tinyModels {
		src := tiny(t, name)
		out, _ := mustConvert(t, src, Options{Types: Types{Type: quant.BF16}})
		if a, b := logits(t, src, ids), logits(t, out, ids); len(a) == 0 || !slices.Equal(a, b) {
			t.Errorf("%s: %d and %d logits differ", name, len(a), len(b))
		}
	}
}

func logits(t *testing.T, cat *checkpoint.Catalog, ids []int32) []float32 {
	t.Helper()
	m, err := gemma.Bind(cat, readConfig(t, cat), ref.New(), gemma.BindOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	cache, err := m.NewCache(len(ids), 0)
	if err != nil {
		t.Fatal(err)
	}
	out, _, err := m.Forward(context.Background(), &gemma.Batch{Parts: []gemma.Part{{Cache: cache, IDs: ids, Want: gemma.WantAll}}})
	if err != nil {
		t.Fatal(err)
	}
	return slices.Clone(out)
}

func TestThreadsAndTypes(t *testing.T) {
	for _, typ := range []quant.Type{quant.F32, quant.F16, quant.BF16, quant.Q8_0, quant.Q4_0, quant.Q4_K} {
		var first []byte
		for _, threads := range []int{1, 2, 5} {
			path := filepath.Join(t.TempDir(), "out.gguf")
			var last, total int64
			_, err := Convert(context.Background(), tiny(t, "e-tiny"), path, Options{
				Types: Types{Type: typ}, Threads: threads,
				Progress: func(d, n int64) {
					if d <= last || d > n {
						t.Errorf("progress %d of %d after %d", d, n, last)
					}
					last, total = d, n
				}})
			if err != nil {
				t.Fatal(err)
			}
			if last != total || total == 0 {
				t.Errorf("progress ends at %d of %d", last, total)
			}
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if first == nil {
				first = data
			} else if !bytes.Equal(first, data) {
				t.Errorf("%s: bytes depend on the number of threads", typ)
			}
		}
	}
}

// TestQuantised: the error of every requantised matrix is what its format
// allows, so rows have not been mixed up.
func TestQuantised(t *testing.T) {
	src := tiny(t, "moe-tiny")
	cfg := readConfig(t, src)
	for typ, limit := range map[quant.Type]float64{quant.Q8_0: 0.01, quant.Q4_0: 0.12} {
		embed := quant.Q8_0 // 64 values a row are too few for Q6_K
		out, _ := mustConvert(t, src, Options{Types: Types{Type: typ, Embed: &embed}})
		for _, spec := range cfg.Tensors() {
			a, b := values(t, src, spec), values(t, out, spec)
			diff, norm := 0.0, 0.0
			for i := range a {
				diff += float64(a[i]-b[i]) * float64(a[i]-b[i])
				norm += float64(a[i]) * float64(a[i])
			}
			if e := math.Sqrt(diff / norm); e > limit {
				t.Errorf("%s, %s: relative error %.3f, want at most %.3f", typ, spec, e, limit)
			}
		}
		// Again, from the GGUF: what has its type already is copied.
		again, _ := mustConvert(t, out, Options{Types: Types{Type: typ, Embed: &embed}})
		for _, t1 := range out.Tensors() {
			t2 := again.Lookup(t1.Name)
			if t2 == nil || t2.Type != t1.Type || !bytes.Equal(bytesOf(t, t1, t1.Bytes), bytesOf(t, t2, t2.Bytes)) {
				t.Errorf("%s changes when converted again", t1.Name)
			}
		}
		if !reflect.DeepEqual(readConfig(t, again), readConfig(t, out)) {
			t.Error("the config changes when converted again")
		}
	}
}

func TestTypeRules(t *testing.T) {
	e2b, err := gemma.ShapeConfig("e2b", 0)
	if err != nil {
		t.Fatal(err)
	}
	moe, err := gemma.ShapeConfig("26b-a4b", 6)
	if err != nil {
		t.Fatal(err)
	}
	odd := *e2b
	odd.HiddenSize = 100
	q8, q2 := quant.Q8_0, quant.Q2_0
	for _, tc := range []struct {
		cfg   *gemma.Config
		key   gemma.Key
		types Types
		src   quant.Type
		want  quant.Type
	}{
		{e2b, gemma.KeyQ, Types{Type: quant.Q4_0}, quant.BF16, quant.Q4_0},
		{e2b, gemma.KeyEmbed, Types{Type: quant.Q4_0}, quant.BF16, quant.Q6_K},
		{e2b, gemma.KeyPLETable, Types{Type: quant.Q4_K}, quant.BF16, quant.Q6_K},
		{e2b, gemma.KeyPLETable, Types{Type: quant.Q8_0}, quant.BF16, quant.Q8_0},
		{e2b, gemma.KeyEmbed, Types{Type: quant.IQ4_NL}, quant.BF16, quant.Q6_K},
		{e2b, gemma.KeyPLETable, Types{Type: quant.Q4_0, PLE: &q2}, quant.BF16, quant.Q2_0},
		{e2b, gemma.KeyEmbed, Types{Type: quant.BF16}, quant.F32, quant.BF16},
		{e2b, gemma.KeyPLETable, Types{Type: quant.Q4_0, PLE: &q8}, quant.BF16, quant.Q8_0},
		{e2b, gemma.KeyEmbed, Types{Type: quant.Q4_0, PLE: &q8}, quant.BF16, quant.Q6_K},
		{e2b, gemma.KeyEmbed, Types{Type: quant.Q4_0, Embed: &q8}, quant.BF16, quant.Q8_0},
		{e2b, gemma.KeyPLEProj, Types{Type: quant.Q4_0}, quant.BF16, quant.BF16},
		{e2b, gemma.KeyPLEProj, Types{Type: quant.Q4_0}, quant.F16, quant.F16},
		{e2b, gemma.KeyPLEProj, Types{Type: quant.Q4_0}, quant.F32, quant.BF16},
		{e2b, gemma.KeyPLEProj, Types{Type: quant.F32}, quant.F32, quant.F32},
		{e2b, gemma.KeyLayerScalar, Types{Type: quant.Q4_0}, quant.BF16, quant.F32},
		{e2b, gemma.KeyKNorm, Types{Type: quant.BF16}, quant.BF16, quant.F32},
		{e2b, gemma.KeyPLEGate, Types{Type: quant.Q4_0}, quant.BF16, quant.Q4_0},
		{moe, gemma.KeyRouter, Types{Type: quant.Q4_K}, quant.BF16, quant.F32},
		{moe, gemma.KeyExpertScale, Types{Type: quant.Q4_K}, quant.BF16, quant.F32},
		{moe, gemma.KeyExpertsGateUp, Types{Type: quant.Q4_K}, quant.BF16, quant.Q4_K},
		{moe, gemma.KeyExpertsDown, Types{Type: quant.Q4_K}, quant.BF16, quant.Q5_0}, // rows of 704
		{moe, gemma.KeyExpertsDown, Types{Type: quant.Q5_K}, quant.BF16, quant.Q5_1},
		{moe, gemma.KeyExpertsDown, Types{Type: quant.Q3_K}, quant.BF16, quant.Q4_0},
		{moe, gemma.KeyExpertsDown, Types{Type: quant.Q2_K}, quant.BF16, quant.Q4_0},
		{moe, gemma.KeyExpertsDown, Types{Type: quant.IQ4_XS}, quant.BF16, quant.IQ4_NL},
		{moe, gemma.KeyDown, Types{Type: quant.Q6_K}, quant.BF16, quant.Q8_0}, // rows of 2112
		{moe, gemma.KeyExpertsDown, Types{Type: quant.Q4_0}, quant.BF16, quant.Q4_0},
		{&odd, gemma.KeyQ, Types{Type: quant.Q8_0}, quant.BF16, quant.BF16}, // rows of 100
		{&odd, gemma.KeyQ, Types{Type: quant.Q8_0}, quant.F32, quant.F32},
		{&odd, gemma.KeyQ, Types{Type: quant.Q4_K}, quant.F16, quant.F16},
	} {
		if got, _ := newChooser(tc.types, tc.cfg.NumLayers, tc.cfg.Tensors()).of(tc.cfg.Spec(tc.key, 0), tc.src); got != tc.want {
			t.Errorf("%s of %+v from %s: %s, want %s", tc.key, tc.types, tc.src, got, tc.want)
		}
	}
	r := Report{}
	c := newChooser(Types{Type: quant.Q4_K}, moe.NumLayers, moe.Tensors())
	if got := r.choose(c, moe.Spec(gemma.KeyExpertsDown, 3), quant.BF16); got != quant.Q5_0 ||
		!slices.Equal(r.Fallbacks, []Fallback{{"blk.3.ffn_down_exps.weight", quant.Q4_K, quant.Q5_0}}) {
		t.Errorf("%s, fallbacks %v", got, r.Fallbacks)
	}
	for _, types := range []Types{
		{Type: quant.I32}, {Type: 999}, {Type: q2}, {Type: quant.Q4_0, Embed: &q2}, {Type: quant.Q4_0, Mix: true},
	} {
		if _, err := Convert(context.Background(), tiny(t, "e-tiny"), filepath.Join(t.TempDir(), "x"), Options{Types: types}); err == nil {
			t.Errorf("%+v is accepted", types)
		}
	}
}

// TestOtherDialect converts a GGUF as ollama writes it, with encoders inside.
func TestOtherDialect(t *testing.T) {
	src := tiny(t, "moe-tiny")
	cfg := readConfig(t, src)
	path := filepath.Join(t.TempDir(), "in.gguf")
	w, err := checkpoint.CreateGGUF(path, checkpoint.WriterOptions{Alignment: 64})
	if err != nil {
		t.Fatal(err)
	}
	set := func(key string, value any) {
		if err := w.Set(key, value); err != nil {
			t.Fatal(err)
		}
	}
	set("general.architecture", "gemma4")
	set("general.name", "from elsewhere")
	set("general.license", "apache-2.0")
	for _, kv := range modelMetadata(cfg) {
		if strings.HasPrefix(kv.key, modelKeys) && kv.key != modelKeys+"final_logit_softcapping" {
			set(kv.key, kv.value)
		}
	}
	set("gemma4.vision.block_count", uint32(16))
	set("tokenizer.ggml.model", "llama")
	set("tokenizer.ggml.pre", "gemma4")
	set("tokenizer.ggml.bos_token_id", uint32(2))
	set("tokenizer.ggml.padding_token_id", uint32(0))
	set("tokenizer.ggml.eos_token_ids", []int32{1})
	set("tokenizer.ggml.add_bos_token", false)
	set("tokenizer.chat_template", "{{ messages }}")
	var parts []part
	half := func(name string, spec gemma.TensorSpec, from, rows int) {
		source, err := gemma.Locate(src, spec)
		if err != nil {
			t.Fatal(err)
		}
		p, err := newPart(name, quant.BF16, []int{spec.Shape[0], rows, spec.Shape[2]})
		if err != nil {
			t.Fatal(err)
		}
		p.fill = func(dst []byte, _ *scratch, row, n int) error {
			for i := range n {
				e, r := (row+i)/rows, (row+i)%rows
				off := int64(e*spec.Shape[1]+from+r) * p.rowBytes
				if _, err := source.ReadAt(dst[int64(i)*p.rowBytes:int64(i+1)*p.rowBytes], off); err != nil {
					return err
				}
			}
			return nil
		}
		parts = append(parts, p)
	}
	for _, spec := range cfg.Tensors() {
		if spec.Key == gemma.KeyExpertsGateUp {
			rows := spec.Shape[1] / 2
			half(fmt.Sprintf("blk.%d.ffn_gate_exps.weight", spec.Layer), spec, 0, rows)
			half(fmt.Sprintf("blk.%d.ffn_up_exps.weight", spec.Layer), spec, rows, rows)
			continue
		}
		source, err := gemma.Locate(src, spec)
		if err != nil {
			t.Fatal(err)
		}
		p, err := sourcePart(source, source.Type)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, p)
	}
	vision := part{name: "v.patch_embd.weight", typ: quant.F32, shape: []int{4}, rows: 1, rowLen: 4, rowBytes: 16}
	vision.fill = func([]byte, *scratch, int, int) error { return nil }
	if err := errors.Join(writeParts(context.Background(), w, append(parts, vision), 1, nil), w.Close()); err != nil {
		t.Fatal(err)
	}
	out, r := mustConvert(t, open(t, path), Options{Types: Types{Type: quant.BF16}})
	if r.Skipped != 1 || out.Lookup("v.patch_embd.weight") != nil {
		t.Errorf("report %+v", r)
	}
	got := readConfig(t, out)
	got.SoftTokens = cfg.SoftTokens // the file had no key for them
	if !reflect.DeepEqual(got, cfg) {
		t.Errorf("config %+v\nwant   %+v", got, cfg)
	}
	for _, spec := range cfg.Tensors() {
		if !slices.Equal(values(t, out, spec), values(t, src, spec)) {
			t.Errorf("%s differs", spec)
		}
	}
	m := out.Meta()
	for key, want := range map[string]any{
		"general.name": "from elsewhere", "general.license": "apache-2.0", "general.file_type": uint32(32),
		"tokenizer.ggml.model": "gemma4", "tokenizer.ggml.add_bos_token": true, "tokenizer.ggml.pre": nil,
		"gemma4.vision.block_count": nil, "tokenizer.chat_template": "{{ messages }}",
		"gemma4.final_logit_softcapping": float32(30), "general.alignment": nil,
	} {
		if got := m.Raw(key); got != want {
			t.Errorf("%s is %v, want %v", key, got, want)
		}
	}
	if m.Keys()[0] != "general.architecture" {
		t.Errorf("first key is %s", m.Keys()[0])
	}
}

// withWeights writes a copy of e-tiny's folder whose tensors went through edit.
func withWeights(t *testing.T, edit func(name string, data []byte)) string {
	t.Helper()
	src := tiny(t, "e-tiny")
	dir := t.TempDir()
	config, err := src.File("config.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), config, 0o666); err != nil {
		t.Fatal(err)
	}
	w, err := checkpoint.CreateSafetensors(filepath.Join(dir, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tn := range src.Tensors() {
		if err := w.Declare(tn.Name, tn.Type, tn.Shape); err != nil {
			t.Fatal(err)
		}
	}
	for _, tn := range src.Tensors() {
		data := bytesOf(t, tn, tn.Bytes)
		edit(tn.Name, data)
		if err := w.Write(tn.Name, bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// expectNothing fails if an output or the beginning of one was left behind.
func expectNothing(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		t.Errorf("%s was left behind", e.Name())
	}
}

func TestFailuresLeaveNothing(t *testing.T) {
	nan := withWeights(t, func(name string, data []byte) {
		if strings.HasSuffix(name, "layers.3.mlp.up_proj.weight") {
			binary.LittleEndian.PutUint16(data[1000:], 0x7fc0)
		}
	})
	dir := t.TempDir()
	for _, threads := range []int{1, 3} {
		_, err := Convert(context.Background(), open(t, nan), filepath.Join(dir, "x.gguf"),
			Options{Types: Types{Type: quant.Q8_0}, Threads: threads})
		if err == nil || !strings.Contains(err.Error(), "layers.3.ffn_up") {
			t.Errorf("not a number in the weights: %v", err)
		}
		expectNothing(t, dir)
	}
	ctx, cancel := context.WithCancel(context.Background())
	_, err := Convert(ctx, tiny(t, "moe-tiny"), filepath.Join(dir, "x.gguf"), Options{
		Types: Types{Type: quant.Q4_0}, Threads: 2,
		Progress: func(done, total int64) {
			if done > total/2 {
				cancel()
			}
		}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled conversion: %v", err)
	}
	expectNothing(t, dir)
	if _, err := Convert(context.Background(), tiny(t, "e-tiny"), filepath.Join(dir, "no", "x.gguf"), Options{Types: Types{Type: quant.BF16}}); err == nil {
		t.Error("an output in a folder that does not exist is accepted")
	}
	// A file is not converted onto itself.
	own := filepath.Join(dir, "own.gguf")
	if _, err := Convert(context.Background(), tiny(t, "e-tiny"), own, Options{Types: Types{Type: quant.BF16}}); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(own)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Convert(context.Background(), open(t, own), own, Options{Types: Types{Type: quant.Q8_0}}); err == nil {
		t.Error("a file was converted onto itself")
	}
	if after, err := os.ReadFile(own); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the source of the refused conversion has changed: %v", err)
	}
	// A bad file that is there already stays when the conversion fails.
	old := filepath.Join(dir, "old.gguf")
	if err := os.WriteFile(old, []byte("old"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Convert(context.Background(), open(t, nan), old, Options{Types: Types{Type: quant.Q8_0}}); err == nil {
		t.Error("no error")
	}
	if data, err := os.ReadFile(old); err != nil || string(data) != "old" {
		t.Errorf("the old file is %q, %v", data, err)
	}
}

func TestPipelineBounds(t *testing.T) {
	wide := part{rows: 1000, rowLen: 16 << 20}
	if pl := newPipeline([]part{wide}, 64); cap(pl.buffers) != 1 || pl.threads != 1 {
		t.Errorf("rows of 16 Mi values: %d chunks in flight, %d threads", cap(pl.buffers), pl.threads)
	}
	narrow := part{rows: 1 << 30, rowLen: 3}
	pl := newPipeline([]part{narrow}, 64)
	if n := cap(pl.buffers); n*chunkValues*12 > maxBufferBytes || n < 64 {
		t.Errorf("small rows: %d chunks in flight", n)
	}
	if narrow.chunkRows() != chunkValues/3 {
		t.Errorf("%d rows in a chunk", narrow.chunkRows())
	}
}

func TestSizeLabel(t *testing.T) {
	for n, want := range map[int64]string{
		4647_000_000: "4.6B", 7_518_000_000: "7.5B", 11_907_000_000: "12B", 25_233_000_000: "25B",
		17_905_738: "18M", 476_698: "477K", 999_600_000: "1000M", 9_960_000: "10M", 12: "0.0K",
	} {
		if got := sizeLabel(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
