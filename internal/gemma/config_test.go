package gemma

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// readConfigFile reads the config.json of a tiny model in testdata, or one of
// the larger models' kept without weights in testdata/config.
func readConfigFile(t testing.TB, name string) []byte {
	t.Helper()
	path := filepath.Join("testdata", name, "config.json")
	if name == "demo" || name == "e2b" {
		path = filepath.Join("testdata", "config", name+".json")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// edit returns config.json text with keys of its text config (the whole file
// when it is flat) replaced; a nil value is written as null, a deleted one is
// left out.
type deleted struct{}

func edit(t testing.TB, data []byte, changes map[string]any) []byte {
	t.Helper()
	var top map[string]any
	if err := json.Unmarshal(data, &top); err != nil {
		t.Fatal(err)
	}
	text := top
	if inner, ok := top["text_config"].(map[string]any); ok {
		text = inner
	}
	for key, v := range changes {
		if _, gone := v.(deleted); gone {
			delete(text, key)
		} else {
			text[key] = v
		}
	}
	out, err := json.Marshal(top)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestParseConfigTiny(t *testing.T) {
	c, err := ParseConfig(readConfigFile(t, "e-tiny"))
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		VocabSize: 320, PLEVocabSize: 320, HiddenSize: 64, NumLayers: 10, NumHeads: 4,
		NumKVHeads: 1, NumGlobalKVHeads: 1, HeadDim: 16, GlobalHeadDim: 32, SlidingWindow: 16,
		NumKVSharedLayers: 4, PLESize: 16, MaxPositions: 4096,
		IntermediateSize: []int{96, 96, 96, 96, 96, 96, 192, 192, 192, 192},
		Sliding:          []bool{true, true, true, true, false, true, true, true, true, false},
		RMSNormEps:       1e-6, FinalSoftcap: 30, RopeTheta: 1e4, RopeThetaGlobal: 1e6, PartialRotary: 0.25,
		BOS: 2, Pad: 0, EOS: []int32{1}, SoftTokens: []int32{319, 318, 317}, Temperature: 1, TopK: 64, TopP: 0.95,
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
	if c.FirstShared() != 6 || c.Donor(3) != 3 || c.Donor(8) != 5 || c.Donor(9) != 4 {
		t.Errorf("first shared %d, donors %d %d %d", c.FirstShared(), c.Donor(3), c.Donor(8), c.Donor(9))
	}
	if c.RotaryPairs() != 4 {
		t.Errorf("%d rotary pairs, want 4", c.RotaryPairs())
	}
	moe, err := ParseConfig(readConfigFile(t, "moe-tiny"))
	if err != nil {
		t.Fatal(err)
	}
	if moe.NumExperts != 8 || moe.TopKExperts != 2 || moe.ExpertSize != 32 || !moe.KEqV ||
		moe.NumKVHeads != 2 || moe.NumGlobalKVHeads != 1 || moe.PLESize != 0 || moe.PLEVocabSize != 0 {
		t.Errorf("moe-tiny: %+v", moe)
	}
	if moe.HasV(5) || !moe.HasV(4) || moe.LayerKVHeads(5) != 1 || moe.LayerHeadDim(5) != 32 {
		t.Error("moe-tiny: the full layer has the shape of a sliding one")
	}
}

// TestModelNumbers checks the table of shapes against a real config and the
// published parameter counts (spec §1.4, millions of matrix elements).
func TestModelNumbers(t *testing.T) {
	fromFile, err := ParseConfig(readConfigFile(t, "e2b"))
	if err != nil {
		t.Fatal(err)
	}
	e2b, err := ShapeConfig("E2B", 0)
	if err != nil {
		t.Fatal(err)
	}
	fromFile.EOS = e2b.EOS               // generation_config.json has the others
	fromFile.SoftTokens = e2b.SoftTokens // a text-only config names none
	if !reflect.DeepEqual(fromFile, e2b) {
		t.Errorf("config.json %+v\nshape       %+v", fromFile, e2b)
	}
	for shape, want := range map[string]struct {
		millions float64
		tensors  int // with rope_freqs
	}{
		"e2b": {4628.6, 601}, "e4b": {7463.0, 720}, "12b": {11907.4, 667},
		"26b-a4b": {25233.1, 658}, "31b": {30697.3, 833},
	} {
		c, err := ShapeConfig(shape, 0)
		if err != nil {
			t.Fatal(err)
		}
		n, specs := int64(0), c.Tensors()
		for _, s := range specs {
			if !s.Optional {
				n += s.Values()
			}
		}
		if got := float64((n+50000)/100000) / 10; got != want.millions {
			t.Errorf("%s: %.1f million parameters, want %.1f", shape, got, want.millions)
		}
		if len(specs)+1 != want.tensors {
			t.Errorf("%s: %d tensors, want %d", shape, len(specs)+1, want.tensors)
		}
	}
}

func TestShapeConfigLayers(t *testing.T) {
	for _, shape := range Shapes() {
		all, err := ShapeConfig(shape, 0)
		if err != nil {
			t.Fatal(err)
		}
		for layers := 1; layers <= all.NumLayers; layers++ {
			c, err := ShapeConfig(shape, layers)
			if err != nil {
				t.Fatalf("%s, %d layers: %v", shape, layers, err)
			}
			if c.Sliding[layers-1] || len(c.Tensors()) == 0 {
				t.Errorf("%s, %d layers: the last one is sliding", shape, layers)
			}
			data, err := c.ConfigJSON()
			if err != nil {
				t.Fatal(err)
			}
			back, err := ParseConfig(data)
			if err != nil {
				t.Fatalf("%s, %d layers: %v", shape, layers, err)
			}
			if !reflect.DeepEqual(back, c) {
				t.Fatalf("%s, %d layers: config.json gives\n%+v, want\n%+v", shape, layers, back, c)
			}
		}
	}
	six, _ := ShapeConfig("26b-a4b", 6)
	if !slices.Equal(six.Sliding, []bool{true, true, true, true, true, false}) || six.Name != "26B-A4B, 6 layers" {
		t.Errorf("26b-a4b with 6 layers: %v %q", six.Sliding, six.Name)
	}
	ten, _ := ShapeConfig("e2b", 10)
	if ten.NumKVSharedLayers != 5 || ten.IntermediateSize[4] != 6144 || ten.IntermediateSize[5] != 12288 {
		t.Errorf("e2b with 10 layers: %d shared, ffn %v", ten.NumKVSharedLayers, ten.IntermediateSize)
	}
	for _, bad := range []struct {
		shape  string
		layers int
	}{{"e3b", 0}, {"e2b", -1}, {"e2b", 36}, {"", 0}} {
		if _, err := ShapeConfig(bad.shape, bad.layers); err == nil {
			t.Errorf("shape %q with %d layers is accepted", bad.shape, bad.layers)
		}
	}
}

func TestParseConfigVariants(t *testing.T) {
	e, moe := readConfigFile(t, "e-tiny"), readConfigFile(t, "moe-tiny")
	for _, tc := range []struct {
		name    string
		base    []byte
		changes map[string]any
		check   func(c *Config) bool
	}{
		{"one period of fallback", e, map[string]any{"layer_types": nil, "num_kv_shared_layers": 2},
			func(c *Config) bool {
				return slices.Equal(c.Sliding, []bool{true, true, true, true, true, false, true, true, true, false})
			}},
		{"last layer is forced to full", e, map[string]any{"layer_types": slices.Repeat([]string{"sliding_attention"}, 10), "num_kv_shared_layers": 0},
			func(c *Config) bool { return c.Sliding[8] && !c.Sliding[9] }},
		{"global kv heads count only with k_eq_v", e, map[string]any{"num_global_key_value_heads": 4},
			func(c *Config) bool { return c.NumGlobalKVHeads == 1 }},
		{"global kv heads null", moe, map[string]any{"num_global_key_value_heads": nil},
			func(c *Config) bool { return c.NumGlobalKVHeads == 2 }},
		{"older expert key", moe, map[string]any{"moe_intermediate_size": deleted{}, "expert_intermediate_size": 24},
			func(c *Config) bool { return c.ExpertSize == 24 }},
		{"no moe block", moe, map[string]any{"enable_moe_block": false},
			func(c *Config) bool { return c.NumExperts == 0 && c.TopKExperts == 0 }},
		{"no softcap", e, map[string]any{"final_logit_softcapping": nil},
			func(c *Config) bool { return c.FinalSoftcap == 0 }},
		{"double width needs shared layers", e, map[string]any{"num_kv_shared_layers": 0},
			func(c *Config) bool { return c.IntermediateSize[9] == 96 }},
		{"list of end tokens", e, map[string]any{"eos_token_id": []int{1, 106, 50, 106}},
			func(c *Config) bool { return slices.Equal(c.EOS, []int32{1, 106, 50}) }},
		{"suppressed tokens outside the vocabulary are dropped", e, map[string]any{"suppress_tokens": []int{3, 258882}},
			func(c *Config) bool { return slices.Equal(c.SuppressTokens, []int32{3}) }},
		{"missing rope parameters", e, map[string]any{"rope_parameters": nil},
			func(c *Config) bool { return c.PartialRotary == 0.25 && c.RopeThetaGlobal == 1e6 }},
		{"full rotation", e, map[string]any{"rope_parameters": map[string]any{
			"full_attention": map[string]any{"rope_type": "proportional", "rope_theta": 5e5}}},
			func(c *Config) bool { return c.RotaryPairs() == 16 && c.RopeThetaGlobal == 5e5 && c.RopeTheta == 1e4 }},
		{"whole number written as a float", e, map[string]any{"hidden_size": 64.0, "sliding_window": 1e3},
			func(c *Config) bool { return c.HiddenSize == 64 && c.SlidingWindow == 1000 }},
		{"unknown keys are reported", e, map[string]any{"warp_factor": 9, "use_cache": true},
			func(c *Config) bool { return slices.Equal(c.Unknown, []string{"text_config.warp_factor"}) }},
		{"per-layer config", moe, map[string]any{"num_global_key_value_heads": deleted{}, "global_head_dim": deleted{},
			"per_layer_config": map[string]any{"5": map[string]any{"head_dim": 48, "num_key_value_heads": 4}}},
			func(c *Config) bool { return c.GlobalHeadDim == 48 && c.NumGlobalKVHeads == 4 }},
		{"width per layer", e, map[string]any{"intermediate_size": []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, "use_double_wide_mlp": false},
			func(c *Config) bool { return c.IntermediateSize[0] == 1 && c.IntermediateSize[9] == 10 }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := ParseConfig(edit(t, tc.base, tc.changes))
			if err != nil {
				t.Fatal(err)
			}
			if !tc.check(c) {
				t.Errorf("%+v", c)
			}
		})
	}
}

func TestParseConfigRefuses(t *testing.T) {
	e, moe := readConfigFile(t, "e-tiny"), readConfigFile(t, "moe-tiny")
	for _, tc := range []struct {
		name    string
		base    []byte
		changes map[string]any
		want    string // part of the message
	}{
		{"bias", e, map[string]any{"attention_bias": true}, "attention_bias"},
		{"activation", e, map[string]any{"hidden_activation": "silu"}, "silu"},
		{"bidirectional", e, map[string]any{"use_bidirectional_attention": "all"}, "use_bidirectional_attention"},
		{"quantised", e, map[string]any{"quantization_config": map[string]any{"bits": 4}}, "quantization_config"},
		{"attention softcap", e, map[string]any{"attn_logit_softcapping": 50}, "attn_logit_softcapping"},
		{"missing size", e, map[string]any{"hidden_size": deleted{}}, "hidden_size: missing"},
		{"negative size", e, map[string]any{"hidden_size": -64}, "hidden_size"},
		{"huge size", e, map[string]any{"vocab_size": 1 << 40}, "vocab_size"},
		{"size beyond int64", e, map[string]any{"vocab_size": json.Number("1e300")}, "vocab_size"},
		{"fraction", e, map[string]any{"hidden_size": 64.5}, "whole number"},
		{"string for a number", e, map[string]any{"hidden_size": "64"}, "hidden_size"},
		{"many layers", e, map[string]any{"num_hidden_layers": 1 << 30, "layer_types": nil}, "num_hidden_layers"},
		{"too few layer types", e, map[string]any{"num_hidden_layers": 11}, "layer_types has 10 entries"},
		{"unknown layer type", e, map[string]any{"layer_types": slices.Repeat([]string{"chunked_attention"}, 10)}, "chunked_attention"},
		{"every layer shared", e, map[string]any{"num_kv_shared_layers": 10}, "num_kv_shared_layers"},
		{"no full donor", e, map[string]any{"num_kv_shared_layers": 6}, "none of the 4 layers"},
		{"kv heads do not divide", e, map[string]any{"num_key_value_heads": 3}, "multiple"},
		{"odd head", e, map[string]any{"head_dim": 15}, "even"},
		{"zero window", e, map[string]any{"sliding_window": 0}, "sliding_window"},
		{"zero eps", e, map[string]any{"rms_norm_eps": 0}, "rms_norm_eps"},
		{"bos outside", e, map[string]any{"bos_token_id": 320}, "bos_token_id"},
		{"negative eos", e, map[string]any{"eos_token_id": -1}, "eos_token_id"},
		{"rope type", e, map[string]any{"rope_parameters": map[string]any{
			"full_attention": map[string]any{"rope_type": "yarn"}}}, "yarn"},
		{"rope factor", e, map[string]any{"rope_parameters": map[string]any{
			"full_attention": map[string]any{"rope_type": "proportional", "factor": 8}}}, "scaled"},
		{"rope for unknown layers", e, map[string]any{"rope_parameters": map[string]any{"rope_theta": 1e4}}, "rope_theta"},
		{"more experts chosen than there are", moe, map[string]any{"top_k_experts": 9}, "top_k_experts"},
		{"no experts", moe, map[string]any{"num_experts": nil}, "num_experts"},
		{"per-layer config of a sliding layer", moe, map[string]any{
			"per_layer_config": map[string]any{"0": map[string]any{"head_dim": 48}}}, "per_layer_config"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := ParseConfig(edit(t, tc.base, tc.changes))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one with %q", err, tc.want)
			}
		})
	}
	for _, raw := range []string{"", "null", "[]", "{}", `{"model_type":"llama"}`, `{"model_type":"gemma4_assistant"}`,
		`{"model_type":"gemma4","text_config":[]}`, `{"model_type":"gemma4","text_config":{}}`,
		`{"model_type":7}`, `{"model_type":"gemma4_text","tie_word_embeddings":false}`} {
		if _, err := ParseConfig([]byte(raw)); err == nil {
			t.Errorf("%s is accepted", raw)
		}
	}
	for raw, want := range map[string]string{"[]": "want an object, got array", `{"model_type":"gemma4","text_config":3}`: "want an object, got number"} {
		if _, err := ParseConfig([]byte(raw)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", raw, err, want)
		}
	}
	untied := bytes.Replace(e, []byte(`"vision_config": null`), []byte(`"vision_config": null, "tie_word_embeddings": false`), 1)
	untied = bytes.Replace(untied, []byte(`"audio_config": null,
  "tie_word_embeddings": true,`), []byte(`"audio_config": null,`), 1)
	if _, err := ParseConfig(untied); err == nil || !strings.Contains(err.Error(), "tie_word_embeddings") {
		t.Errorf("untied embeddings: %v", err)
	}
}

func TestApplyGeneration(t *testing.T) {
	parse := func(gen string) (*Config, error) {
		c, err := ParseConfig(readConfigFile(t, "demo"))
		if err != nil {
			t.Fatal(err)
		}
		return c, c.applyGeneration([]byte(gen))
	}
	c, err := parse(`{"eos_token_id":[6,50],"temperature":0.7,"top_k":20,"top_p":0.9,"suppress_tokens":[9,99999]}`)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(c.EOS, []int32{6, 50, 1}) || c.Temperature != 0.7 || c.TopK != 20 || c.TopP != 0.9 ||
		!slices.Equal(c.SuppressTokens, []int32{9}) {
		t.Errorf("%+v", c)
	}
	if c, err = parse(`{"do_sample":false,"eos_token_id":1}`); err != nil || c.Temperature != 0 || len(c.EOS) != 1 {
		t.Errorf("greedy defaults: %+v, %v", c, err)
	}
	for _, bad := range []string{"", "[1]", `{"eos_token_id":"x"}`, `{"top_k":1.5}`, `{"eos_token_id":[5000000000]}`} {
		if _, err := parse(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestRotaryShare(t *testing.T) {
	for d := 2; d <= 1024; d += 2 {
		for n := range d/2 + 1 {
			share := rotaryShare(n, d)
			if got := rotaryPairs(share, d); got != n || share > 1 {
				t.Fatalf("%d of %d pairs: share %v gives %d", n, d/2, share, got)
			}
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	for _, name := range []string{"e-tiny", "moe-tiny", "dense-tiny", "demo", "e2b"} {
		f.Add(readConfigFile(f, name))
	}
	f.Add([]byte(`{"model_type":"gemma4_text","num_hidden_layers":1e9}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseConfig(data)
		if err != nil {
			return
		}
		// What passes must be usable: shapes, names and a config.json.
		for _, s := range c.Tensors() {
			if n := s.Values(); n < 1 || n > 1<<56 {
				t.Fatalf("%s: %d values", s, n)
			}
		}
		for l := range c.NumLayers {
			c.Donor(l)
		}
		if out, err := c.ConfigJSON(); err == nil {
			if _, err := ParseConfig(out); err != nil {
				t.Fatalf("config.json written from %s: %v", data, err)
			}
		}
	})
}
