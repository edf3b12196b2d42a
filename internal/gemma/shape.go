package gemma

import (
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"
)

// shape is one published model: the numbers in which the models differ.
type shape struct {
	name                                        string
	hidden, layers, period, heads, kv, globalKV int
	ffn, shared, window, ple, positions         int
	kEqV, wide                                  bool
	experts, topK, expertFFN                    int
	suppress                                    []int32
}

// shapes are the published models by the name that ShapeConfig takes.
var shapes = map[string]shape{
	"e2b": {name: "E2B", hidden: 1536, layers: 35, period: 5, heads: 8, kv: 1, globalKV: 1,
		ffn: 6144, shared: 20, window: 512, ple: 256, positions: 131072, wide: true},
	"e4b": {name: "E4B", hidden: 2560, layers: 42, period: 6, heads: 8, kv: 2, globalKV: 2,
		ffn: 10240, shared: 18, window: 512, ple: 256, positions: 131072},
	"12b": {name: "12B", hidden: 3840, layers: 48, period: 6, heads: 16, kv: 8, globalKV: 1,
		ffn: 15360, window: 1024, positions: 262144, kEqV: true, suppress: []int32{258882, 258883}},
	"26b-a4b": {name: "26B-A4B", hidden: 2816, layers: 30, period: 6, heads: 16, kv: 8, globalKV: 2,
		ffn: 2112, window: 1024, positions: 262144, kEqV: true, experts: 128, topK: 8, expertFFN: 704},
	"31b": {name: "31B", hidden: 5376, layers: 60, period: 6, heads: 32, kv: 16, globalKV: 4,
		ffn: 21504, window: 1024, positions: 262144, kEqV: true},
}

// Shapes lists the names that [ShapeConfig] takes, sorted.
func Shapes() []string {
	var names []string
	for name := range shapes {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// ShapeConfig is the config of a published model by name (see [Shapes], case
// does not matter). layers 0 means all of them; a smaller number keeps the first
// layers of the pattern, makes the last one full attention as in every Gemma 4
// model, and shrinks the number of KV-shared layers in proportion, but never so
// far that a shared layer would lose its donor.
func ShapeConfig(shape string, layers int) (*Config, error) {
	s, ok := shapes[strings.ToLower(shape)]
	if !ok {
		return nil, fmt.Errorf("shape %q is not one of %s", shape, strings.Join(Shapes(), ", "))
	}
	if layers == 0 {
		layers = s.layers
	}
	if err := inRange("layers of "+s.name, layers, 1, s.layers); err != nil {
		return nil, err
	}
	c := s.config(layers)
	c.Name = shapeName(c)
	if err := c.Validate(); err != nil {
		panic("gemma: internal error: shape " + shape + ": " + err.Error())
	}
	return c, nil
}

func (s shape) config(layers int) *Config {
	c := &Config{
		VocabSize: 262144, HiddenSize: s.hidden, NumLayers: layers,
		NumHeads: s.heads, NumKVHeads: s.kv, NumGlobalKVHeads: s.globalKV,
		HeadDim: 256, GlobalHeadDim: 512, SlidingWindow: s.window,
		PLESize: s.ple, MaxPositions: s.positions,
		IntermediateSize: slices.Repeat([]int{s.ffn}, layers),
		Sliding:          patternOf(layers, s.period),
		KEqV:             s.kEqV, NumExperts: s.experts, TopKExperts: s.topK, ExpertSize: s.expertFFN,
		RMSNormEps: 1e-6, FinalSoftcap: 30,
		RopeTheta: 10000, RopeThetaGlobal: 1e6, PartialRotary: 0.25,
		BOS: 2, Pad: 0, EOS: []int32{1, 106, 50}, SuppressTokens: slices.Clone(s.suppress),
		SoftTokens:          slices.Clone(publishedSoft),
		BidirectionalVision: s.ple == 0,
		Temperature:         1, TopK: 64, TopP: 0.95,
	}
	if s.ple > 0 {
		c.PLEVocabSize = c.VocabSize
	}
	// The first full layer is number period−1, so owning period layers is
	// enough for a donor of either type.
	c.NumKVSharedLayers = max(0, min(layers*s.shared/s.layers, layers-s.period))
	if s.wide {
		for l := c.FirstShared(); l < layers; l++ {
			c.IntermediateSize[l] *= 2
		}
	}
	return c
}

// shapeName recognises a published shape by the sizes that do not depend on the
// number of layers.
func shapeName(c *Config) string {
	for _, s := range shapes {
		if c.HiddenSize != s.hidden || c.NumHeads != s.heads || c.NumKVHeads != s.kv ||
			c.NumExperts != s.experts || c.PLESize != s.ple || len(c.IntermediateSize) == 0 ||
			c.IntermediateSize[0] != s.ffn {
			continue
		}
		if c.NumLayers != s.layers {
			return fmt.Sprintf("%s, %d layers", s.name, c.NumLayers)
		}
		return s.name
	}
	return ""
}

// ConfigJSON writes c as the config.json of a released checkpoint without
// encoders, the multimodal form if it has soft tokens: [ParseConfig] of it gives c back, generation defaults aside (they
// have a file of their own).
func (c *Config) ConfigJSON() ([]byte, error) {
	types := make([]string, c.NumLayers)
	for l := range types {
		types[l] = layerType(c.Sliding[l])
	}
	text := map[string]any{
		"model_type": "gemma4_text", "vocab_size": c.VocabSize, "hidden_size": c.HiddenSize,
		"num_hidden_layers": c.NumLayers, "num_attention_heads": c.NumHeads,
		"num_key_value_heads": c.NumKVHeads, "num_global_key_value_heads": nil,
		"head_dim": c.HeadDim, "global_head_dim": c.GlobalHeadDim,
		"hidden_activation": "gelu_pytorch_tanh", "max_position_embeddings": c.MaxPositions,
		"rms_norm_eps": c.RMSNormEps, "tie_word_embeddings": true,
		"attention_bias": false, "attention_dropout": 0.0, "sliding_window": c.SlidingWindow,
		"final_logit_softcapping": orNull(c.FinalSoftcap), "use_bidirectional_attention": nil,
		"vocab_size_per_layer_input":  max(c.PLEVocabSize, 1),
		"hidden_size_per_layer_input": c.PLESize, "attention_k_eq_v": c.KEqV,
		"num_kv_shared_layers": c.NumKVSharedLayers, "layer_types": types,
		"enable_moe_block": c.NumExperts > 0, "num_experts": orNull(c.NumExperts),
		"top_k_experts": orNull(c.TopKExperts), "moe_intermediate_size": orNull(c.ExpertSize),
		"bos_token_id": tokenOrNull(c.BOS), "pad_token_id": tokenOrNull(c.Pad), "eos_token_id": c.EOS,
		"rope_parameters": map[string]any{
			"sliding_attention": map[string]any{"rope_type": "default", "rope_theta": c.RopeTheta},
			"full_attention": map[string]any{"rope_type": "proportional", "rope_theta": c.RopeThetaGlobal,
				"partial_rotary_factor": c.PartialRotary},
		},
	}
	if c.KEqV {
		text["num_global_key_value_heads"] = c.NumGlobalKVHeads
	} else if c.NumGlobalKVHeads != c.NumKVHeads {
		return nil, fmt.Errorf("write config.json: %d kv heads in full layers and %d in others need k_eq_v", c.NumGlobalKVHeads, c.NumKVHeads)
	}
	if c.BidirectionalVision {
		text["use_bidirectional_attention"] = "vision"
	}
	if len(c.SuppressTokens) > 0 {
		text["suppress_tokens"] = c.SuppressTokens
	}
	text["intermediate_size"], text["use_double_wide_mlp"] = c.ffnJSON()
	if len(c.SoftTokens) == 0 {
		text["architectures"], text["dtype"] = []string{"Gemma4ForCausalLM"}, "bfloat16"
		return json.MarshalIndent(text, "", "  ")
	}
	top := map[string]any{
		"architectures": []string{"Gemma4ForConditionalGeneration"}, "model_type": "gemma4",
		"text_config": text, "vision_config": nil, "audio_config": nil,
		"tie_word_embeddings": true, "dtype": "bfloat16",
	}
	for i, id := range c.SoftTokens[:min(len(c.SoftTokens), len(softKeys))] {
		top[softKeys[i]] = id
	}
	return json.MarshalIndent(top, "", "  ")
}

// ffnJSON expresses the layers' widths as config.json does, a number and
// whether the KV-shared layers double it; a list where that does not fit.
func (c *Config) ffnJSON() (sizes any, wide bool) {
	first := c.IntermediateSize[0]
	wide = c.NumKVSharedLayers > 0 && c.IntermediateSize[c.NumLayers-1] == 2*first
	for l, n := range c.IntermediateSize {
		want := first
		if wide && l >= c.FirstShared() {
			want *= 2
		}
		if n != want {
			return c.IntermediateSize, false
		}
	}
	return first, wide
}

func orNull[T int | float64](v T) any {
	if v == 0 {
		return nil
	}
	return v
}

func tokenOrNull(id int32) any {
	if id < 0 {
		return nil
	}
	return id
}
