package testkit

import (
	"encoding/json"
	"math/rand/v2"
	"testing"
)

// RandomConfig returns the config.json of a small model whose sizes, layer
// pattern and features (per-layer table, shared K and V, wide feed-forward
// layers, experts, k_eq_v) are drawn by seed, in any combination. Equal seeds
// give equal configs. Sizes are seldom powers of two, so code tied to one shows.
//
// There are 7 layers at most because random weights amplify rounding: float32
// backends that differ by 4e-6 after one layer differ about twice as much after
// every further one, 1e-2 in the logits at 14 layers. With 7 the largest
// difference between ref and cpu was 1.2e-4 (seeds 0 to 99, 45 tokens).
func RandomConfig(tb testing.TB, seed uint64) []byte {
	tb.Helper()
	rng := rand.New(rand.NewPCG(seed, 0x706c756d65))
	between := func(lo, hi int) int { return lo + rng.IntN(hi-lo+1) }
	coin := func() bool { return rng.IntN(2) == 0 }

	kv, perKV := between(1, 3), between(1, 3)
	vocab := between(50, 400)
	types, shared := randomLayers(rng)
	text := map[string]any{
		"model_type":                  "gemma4_text",
		"vocab_size":                  vocab,
		"hidden_size":                 between(5, 40) * 2,
		"intermediate_size":           between(10, 120),
		"num_hidden_layers":           len(types),
		"layer_types":                 types,
		"num_attention_heads":         kv * perKV,
		"num_key_value_heads":         kv,
		"head_dim":                    between(2, 12) * 4,
		"global_head_dim":             between(2, 20) * 4,
		"sliding_window":              between(1, 30),
		"num_kv_shared_layers":        shared,
		"use_double_wide_mlp":         coin(),
		"hidden_size_per_layer_input": 0,
		"attention_k_eq_v":            coin(),
		"enable_moe_block":            false,
		"max_position_embeddings":     4096,
		"rms_norm_eps":                1e-6,
		"final_logit_softcapping":     float64(between(10, 30)),
		"bos_token_id":                2,
		"eos_token_id":                []int{1},
		"pad_token_id":                0,
		"rope_parameters": map[string]any{
			"sliding_attention": map[string]any{"rope_type": "default", "rope_theta": 10000.0},
			"full_attention": map[string]any{
				"rope_type": "proportional", "rope_theta": 1e6, "partial_rotary_factor": 0.25,
			},
		},
	}
	if coin() {
		text["hidden_size_per_layer_input"] = between(3, 24)
		text["vocab_size_per_layer_input"] = vocab
	}
	if coin() {
		text["num_global_key_value_heads"] = 1 // counts only with attention_k_eq_v
	}
	if rng.IntN(3) == 0 {
		experts := between(2, 9)
		text["enable_moe_block"] = true
		text["num_experts"] = experts
		text["top_k_experts"] = between(1, experts)
		text["moe_intermediate_size"] = between(8, 40)
	}
	config, err := json.MarshalIndent(map[string]any{
		"architectures":       []string{"Gemma4ForConditionalGeneration"},
		"model_type":          "gemma4",
		"text_config":         text,
		"tie_word_embeddings": true,
		"dtype":               "bfloat16",
	}, "", "  ")
	if err != nil {
		tb.Fatal(err)
	}
	return config
}

// randomLayers draws the attention type of each layer and how many of the last
// ones share K and V. The last layer is a full one, as in every model, and the
// sharing ones find an owner of their type.
func randomLayers(rng *rand.Rand) (types []string, shared int) {
	period := 2 + rng.IntN(3)
	n := period + rng.IntN(4)
	for l := range n {
		kind := "sliding_attention"
		if l%period == period-1 || l == n-1 {
			kind = "full_attention"
		}
		types = append(types, kind)
	}
	if n > period && rng.IntN(2) == 0 { // the first period owns one of each
		shared = 1 + rng.IntN(n-period)
	}
	return types, shared
}
