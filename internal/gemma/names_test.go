package gemma

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/quant"
)

func TestTensorNames(t *testing.T) {
	c, err := ShapeConfig("26b-a4b", 6)
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]TensorSpec{}
	for _, s := range c.Tensors() {
		if _, twice := byName[s.HF]; twice {
			t.Errorf("%s occurs twice", s.HF)
		}
		byName[s.HF], byName[s.GGUF] = s, s
	}
	for _, tc := range []struct {
		hf, gguf string
		shape    []int
	}{
		{"embed_tokens.weight", "token_embd.weight", []int{262144, 2816}},
		{"norm.weight", "output_norm.weight", []int{2816}},
		{"layers.0.self_attn.q_proj.weight", "blk.0.attn_q.weight", []int{4096, 2816}},
		{"layers.5.self_attn.q_proj.weight", "blk.5.attn_q.weight", []int{8192, 2816}},
		{"layers.5.self_attn.k_proj.weight", "blk.5.attn_k.weight", []int{1024, 2816}},
		{"layers.4.self_attn.v_proj.weight", "blk.4.attn_v.weight", []int{2048, 2816}},
		{"layers.5.self_attn.o_proj.weight", "blk.5.attn_output.weight", []int{2816, 8192}},
		{"layers.3.layer_scalar", "blk.3.layer_output_scale.weight", []int{1}},
		{"layers.3.experts.gate_up_proj", "blk.3.ffn_gate_up_exps.weight", []int{128, 1408, 2816}},
		{"layers.3.experts.down_proj", "blk.3.ffn_down_exps.weight", []int{128, 2816, 704}},
		{"layers.3.router.per_expert_scale", "blk.3.ffn_down_exps.scale", []int{128}},
		{"layers.3.router.scale", "blk.3.ffn_gate_inp.scale", []int{2816}},
		{"layers.3.pre_feedforward_layernorm.weight", "blk.3.ffn_norm.weight", []int{2816}},
		{"layers.3.post_feedforward_layernorm_2.weight", "blk.3.post_ffw_norm_2.weight", []int{2816}},
	} {
		s, ok := byName[tc.hf]
		if !ok || s.GGUF != tc.gguf || !slices.Equal(s.Shape, tc.shape) {
			t.Errorf("%s: %s %v, want %s %v", tc.hf, s.GGUF, s.Shape, tc.gguf, tc.shape)
		}
	}
	if _, ok := byName["layers.5.self_attn.v_proj.weight"]; ok {
		t.Error("a full layer of a k_eq_v model has a v projection")
	}
	e2b, err := ShapeConfig("e2b", 0)
	if err != nil {
		t.Fatal(err)
	}
	optional := 0
	for _, s := range e2b.Tensors() {
		if s.Optional {
			optional++
		}
	}
	if last := e2b.Tensors()[len(e2b.Tensors())-1]; last.Key != KeyPLETable || optional != 3*20 {
		t.Errorf("last tensor %s, %d optional ones", last, optional)
	}
}

func TestClassify(t *testing.T) {
	for name, want := range map[string]Role{
		"model.language_model.embed_tokens_per_layer.weight":                 RolePLETable,
		"per_layer_token_embd.weight":                                        RolePLETable,
		"token_embd.weight":                                                  RoleEmbedding,
		"lm_head.weight":                                                     RoleEmbedding,
		"language_model.model.layers.12.self_attn.q_proj.weight":             RoleAttention,
		"blk.12.attn_k.weight":                                               RoleAttention,
		"blk.12.attn_k_norm.weight":                                          RoleNorm,
		"model.layers.0.mlp.up_proj.weight":                                  RoleFFN,
		"layers.0.router.proj.weight":                                        RoleRouter,
		"blk.0.ffn_down_exps.scale":                                          RoleRouter,
		"blk.0.ffn_gate_exps.weight":                                         RoleExperts,
		"model.language_model.layers.3.experts.gate_up_proj":                 RoleExperts,
		"model.language_model.layers.3.experts.17.down_proj.weight":          RoleExperts,
		"model.language_model.layers.3.experts.switch_glu.up_proj.weight":    RoleExperts,
		"per_layer_model_proj.weight":                                        RolePLEProj,
		"blk.7.inp_gate.weight":                                              RolePLEProj,
		"layers.7.layer_scalar":                                              RoleNorm,
		"rope_freqs.weight":                                                  RoleNorm,
		"model.vision_tower.encoder.layers.1.self_attn.q_proj.linear.weight": RoleEncoder,
		"vision_tower.std_bias":                                              RoleEncoder,
		"model.embed_audio.embedding_projection.weight":                      RoleEncoder,
		"v.blk.0.attn_q.input_min":                                           RoleEncoder,
		"a.conv1d.0.weight":                                                  RoleEncoder,
		"mm.input_projection.weight":                                         RoleEncoder,
		"model.vision_embedder.pos_embedding":                                RoleEncoder,
		"pre_projection.weight":                                              RoleOther,
		"blk.x.attn_q.weight":                                                RoleOther,
		"attn_q.weight":                                                      RoleOther,
		"blk.0.token_embd.weight":                                            RoleOther,
		"":                                                                   RoleOther,
	} {
		if got := Classify(name); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
	for _, c := range []string{"e2b", "26b-a4b"} {
		cfg, err := ShapeConfig(c, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range cfg.Tensors() {
			if Classify(s.GGUF) != s.Role || Classify("model.language_model."+s.HF) != s.Role {
				t.Errorf("%s: %s and %s, want %s", s, Classify(s.GGUF), Classify(s.HF), s.Role)
			}
		}
	}
}

// stored is a tensor for a test file: its bytes count up from first.
type stored struct {
	name  string
	typ   quant.Type
	shape []int
	first byte
}

func (s stored) data(t *testing.T) []byte {
	n := int64(1)
	for _, d := range s.shape {
		n *= int64(d)
	}
	size, err := s.typ.Bytes(n)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]byte, size)
	for i := range out {
		out[i] = s.first + byte(i)
	}
	return out
}

func safetensorsFile(t *testing.T, tensors ...stored) *checkpoint.Catalog {
	t.Helper()
	path := filepath.Join(t.TempDir(), "m.safetensors")
	w, err := checkpoint.CreateSafetensors(path)
	if err != nil {
		t.Fatal(err)
	}
	writeAll(t, w, path, tensors)
	return open(t, path)
}

type tensorWriter interface {
	Declare(name string, typ quant.Type, shape []int) error
	Write(name string, r io.Reader) error
	Close() error
}

func writeAll(t *testing.T, w tensorWriter, path string, tensors []stored) {
	t.Helper()
	for _, s := range tensors {
		if err := w.Declare(s.name, s.typ, s.shape); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range tensors {
		if err := w.Write(s.name, bytes.NewReader(s.data(t))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
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

func TestLocatePrefixes(t *testing.T) {
	c, err := ParseConfig(readConfigFile(t, "e-tiny"))
	if err != nil {
		t.Fatal(err)
	}
	spec := c.Spec(KeyUp, 7)
	for _, p := range prefixes {
		cat := safetensorsFile(t, stored{p + spec.HF, quant.BF16, spec.Shape, 1})
		src, err := Locate(cat, spec)
		if err != nil || src.Type != quant.BF16 || src.Bytes != 2*spec.Values() {
			t.Errorf("prefix %q: %+v, %v", p, src, err)
		}
	}
	cat := safetensorsFile(t,
		stored{"model." + spec.HF, quant.BF16, []int{64, 192}, 1},
		stored{"model.layers.7.layer_scalar", quant.F32, nil, 0},
		stored{"model.norm.weight", quant.I32, []int{64}, 0})
	for _, tc := range []struct {
		spec  TensorSpec
		want  string
		class error
	}{
		{spec, "layers.7.ffn_up: shape [64 192], want [192 64] (tensor model.layers.7.mlp.up_proj.weight)", checkpoint.ErrCorrupt},
		{c.Spec(KeyDown, 7), "layers.7.ffn_down: no tensor layers.7.mlp.down_proj.weight", checkpoint.ErrCorrupt},
		{c.Spec(KeyNorm, -1), "output_norm: type I32 is not supported", checkpoint.ErrUnsupported},
	} {
		if _, err := Locate(cat, tc.spec); err == nil || err.Error() != tc.want || !errors.Is(err, tc.class) {
			t.Errorf("error %v, want %s (%v)", err, tc.want, tc.class)
		}
	}
	if src, err := Locate(cat, c.Spec(KeyLayerScalar, 7)); err != nil || src.Bytes != 4 {
		t.Errorf("scalar stored without dimensions: %v", err)
	}
	if src, err := Locate(cat, c.Spec(KeyK, 7)); src != nil || err != nil {
		t.Errorf("absent k of a shared layer: %v, %v", src, err)
	}
	if _, err := Locate(cat, c.Spec(KeyK, 5)); err == nil {
		t.Error("absent k of an owning layer is accepted")
	}
}

// TestLocateExperts stores the experts of one layer in every known form and
// expects the bytes of the fused form.
func TestLocateExperts(t *testing.T) {
	c, err := ParseConfig(readConfigFile(t, "moe-tiny"))
	if err != nil {
		t.Fatal(err)
	}
	c.NumExperts, c.TopKExperts, c.ExpertSize = 3, 1, 2
	spec, down := c.Spec(KeyExpertsGateUp, 1), c.Spec(KeyExpertsDown, 1)
	const half = 2 * 64 * 2 // bytes of one expert's gate or up
	gate := stored{"", quant.BF16, []int{3, 2, 64}, 10}
	up := stored{"", quant.BF16, []int{3, 2, 64}, 90}
	var want []byte
	for e := range 3 {
		want = append(want, gate.data(t)[e*half:(e+1)*half]...)
		want = append(want, up.data(t)[e*half:(e+1)*half]...)
	}
	named := func(s stored, name string) stored { s.name = name; return s }
	perExpert := []stored{}
	for e := range 3 {
		base := "model.layers.1.experts." + string(rune('0'+e))
		one := []int{2, 64}
		perExpert = append(perExpert,
			stored{base + ".gate_proj.weight", quant.BF16, one, gate.data(t)[e*half]},
			stored{base + ".up_proj.weight", quant.BF16, one, up.data(t)[e*half]},
			stored{base + ".down_proj.weight", quant.BF16, []int{64, 2}, byte(e)})
	}
	for _, tc := range []struct {
		name string
		cat  *checkpoint.Catalog
	}{
		{"split", safetensorsFile(t, named(gate, "model.language_model.layers.1.experts.gate_proj"),
			named(up, "model.language_model.layers.1.experts.up_proj"))},
		{"switch_glu", safetensorsFile(t, named(gate, "language_model.model.layers.1.experts.switch_glu.gate_proj.weight"),
			named(up, "language_model.model.layers.1.experts.switch_glu.up_proj.weight"))},
		{"per expert", safetensorsFile(t, perExpert...)},
		{"gguf", ggufFile(t, nil, named(gate, "blk.1.ffn_gate_exps.weight"), named(up, "blk.1.ffn_up_exps.weight"))},
	} {
		t.Run(tc.name, func(t *testing.T) {
			src, err := Locate(tc.cat, spec)
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, src.Bytes)
			if _, err := src.ReadAt(got, 0); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("assembled bytes differ:\n%v\n%v", got[:600:600], want[:600])
			}
			for off := 0; off < len(want); off += 37 { // reads across pieces
				part := make([]byte, min(300, len(want)-off))
				if _, err := src.ReadAt(part, int64(off)); err != nil || !bytes.Equal(part, want[off:off+len(part)]) {
					t.Fatalf("%d bytes at %d differ, %v", len(part), off, err)
				}
			}
			if _, err := src.ReadAt(make([]byte, 2), src.Bytes-1); err == nil {
				t.Error("a read past the end succeeds")
			}
		})
	}
	cat := safetensorsFile(t, perExpert...)
	src, err := Locate(cat, down)
	if err != nil || len(src.Tensors()) != 3 || src.Bytes != 3*64*2*2 {
		t.Errorf("down of single experts: %+v, %v", src, err)
	}
	cat = safetensorsFile(t, perExpert[:7]...)
	if _, err := Locate(cat, spec); err == nil || !strings.Contains(err.Error(), "1 of its 6 parts") {
		t.Errorf("a missing expert: %v", err)
	}
	cat = safetensorsFile(t, named(gate, "layers.1.experts.gate_proj"),
		stored{"layers.1.experts.up_proj", quant.F16, []int{3, 2, 64}, 0})
	if _, err := Locate(cat, spec); err == nil || !strings.Contains(err.Error(), "parts of type BF16 and F16") {
		t.Errorf("parts of two types: %v", err)
	}
}

// ggufFile writes a GGUF with the given keys, alternating names and values.
func ggufFile(t *testing.T, keys []any, tensors ...stored) *checkpoint.Catalog {
	t.Helper()
	path := filepath.Join(t.TempDir(), "m.gguf")
	w, err := checkpoint.CreateGGUF(path, checkpoint.WriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(keys); i += 2 {
		if err := w.Set(keys[i].(string), keys[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range tensors {
		if err := w.Declare(s.name, s.typ, s.shape); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range tensors {
		data := s.data(t)
		if s.name == RopeFreqs { // first values are 1, the others 1e30
			for i := range len(data) / 4 {
				v := uint32(0x3f800000)
				if i >= int(s.first) {
					v = 0x7149f2ca
				}
				binary.LittleEndian.PutUint32(data[4*i:], v)
			}
		}
		if err := w.Write(s.name, bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return open(t, path)
}
