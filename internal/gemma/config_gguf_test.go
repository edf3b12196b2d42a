package gemma

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/plume-run/plume/internal/quant"
)

// eTinyKeys are the keys of e-tiny as llama.cpp writes them.
func eTinyKeys() []any {
	const g, t = "gemma4.", "tokenizer.ggml."
	return []any{
		"general.architecture", "gemma4",
		g + "context_length", uint32(4096), g + "embedding_length", uint32(64), g + "block_count", uint32(10),
		g + "feed_forward_length", []int32{96, 96, 96, 96, 96, 96, 192, 192, 192, 192},
		g + "attention.head_count", uint32(4), g + "attention.head_count_kv", uint32(1),
		g + "attention.key_length", uint32(32), g + "attention.value_length", uint32(32),
		g + "attention.key_length_swa", uint32(16), g + "attention.value_length_swa", uint32(16),
		g + "attention.layer_norm_rms_epsilon", float32(1e-6), g + "attention.sliding_window", uint32(16),
		g + "attention.sliding_window_pattern", []bool{true, true, true, true, false, true, true, true, true, false},
		g + "attention.shared_kv_layers", uint32(4), g + "embedding_length_per_layer_input", uint32(16),
		g + "final_logit_softcapping", float32(30),
		g + "rope.dimension_count", uint32(32), g + "rope.dimension_count_swa", uint32(16),
		g + "rope.freq_base", float32(1e6), g + "rope.freq_base_swa", float32(1e4),
		t + "bos_token_id", uint32(2), t + "eos_token_id", uint32(1), t + "padding_token_id", uint32(0),
		SoftTokensKey, []int32{319, 318, 317},
	}
}

// eTinyTensors are those that the config is read from.
func eTinyTensors() []stored {
	list := []stored{
		{"token_embd.weight", quant.BF16, []int{320, 64}, 0},
		{"per_layer_token_embd.weight", quant.BF16, []int{320, 160}, 0},
		{RopeFreqs, quant.F32, []int{16}, 4},
	}
	for l := range 6 {
		list = append(list, stored{fmt.Sprintf("blk.%d.attn_v.weight", l), quant.BF16, []int{16, 64}, 0})
	}
	return list
}

// with replaces or adds one key; a nil value removes it.
func with(keys []any, key string, value any) []any {
	var out []any
	for i := 0; i < len(keys); i += 2 {
		if keys[i] != key {
			out = append(out, keys[i], keys[i+1])
		}
	}
	if value != nil {
		out = append(out, key, value)
	}
	return out
}

func TestReadConfigGGUF(t *testing.T) {
	want, err := ParseConfig(readConfigFile(t, "e-tiny"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := ReadConfig(ggufFile(t, eTinyKeys(), eTinyTensors()...))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestReadConfigGGUFVariants(t *testing.T) {
	const g = "gemma4."
	for _, tc := range []struct {
		name  string
		key   string
		value any
		check func(c *Config) bool
	}{
		{"softcap missing", g + "final_logit_softcapping", nil, func(c *Config) bool { return c.FinalSoftcap == 30 }},
		{"signed array", g + "attention.head_count_kv", slices.Repeat([]int32{2}, 10),
			func(c *Config) bool { return c.NumKVHeads == 2 && c.NumGlobalKVHeads == 2 }},
		{"kv heads by layer type", g + "attention.head_count_kv", []uint32{4, 4, 4, 4, 2, 4, 4, 4, 4, 2},
			func(c *Config) bool { return c.NumKVHeads == 4 && c.NumGlobalKVHeads == 2 }},
		{"heads by layer", g + "attention.head_count", slices.Repeat([]int32{4}, 10),
			func(c *Config) bool { return c.NumHeads == 4 }},
		{"pattern of numbers", g + "attention.sliding_window_pattern", []int32{1, 1, 1, 1, 0, 1, 1, 1, 1, 0},
			func(c *Config) bool { return c.Sliding[3] && !c.Sliding[4] }},
		{"pattern as a period", g + "attention.sliding_window_pattern", uint32(5),
			func(c *Config) bool { return c.Sliding[3] && !c.Sliding[4] && c.Sliding[8] && !c.Sliding[9] }},
		{"one width", g + "feed_forward_length", uint32(100),
			func(c *Config) bool { return c.IntermediateSize[0] == 100 && c.IntermediateSize[9] == 100 }},
		{"rope bases missing", g + "rope.freq_base", nil, func(c *Config) bool { return c.RopeThetaGlobal == 1e6 }},
		{"end tokens of ollama", "tokenizer.ggml.eos_token_ids", []int32{1, 106, 50},
			func(c *Config) bool { return slices.Equal(c.EOS, []int32{1, 106, 50}) }},
		{"suppressed tokens", "tokenizer.ggml.suppress_tokens", []int32{7, 258883},
			func(c *Config) bool { return slices.Equal(c.SuppressTokens, []int32{7}) }},
		{"sampling", "general.sampling.top_k", int32(20), func(c *Config) bool { return c.TopK == 20 }},
		{"top p keeps its decimal", "general.sampling.top_p", float32(0.95), func(c *Config) bool { return c.TopP == 0.95 }},
		{"unknown key", g + "warp.factor", uint32(9), func(c *Config) bool { return slices.Equal(c.Unknown, []string{"gemma4.warp.factor"}) }},
		{"encoder keys", g + "vision.block_count", uint32(16), func(c *Config) bool { return len(c.Unknown) == 0 }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := ReadConfig(ggufFile(t, with(eTinyKeys(), tc.key, tc.value), eTinyTensors()...))
			if err != nil {
				t.Fatal(err)
			}
			if !tc.check(c) {
				t.Errorf("%+v", c)
			}
		})
	}
}

func TestReadConfigGGUFRefuses(t *testing.T) {
	const g = "gemma4."
	for _, tc := range []struct {
		name, key string
		value     any
		want      string
	}{
		{"other architecture", "general.architecture", "gemma3", "architecture"},
		{"missing size", g + "embedding_length", nil, "missing"},
		{"string for a size", g + "embedding_length", "64", "want a count"},
		{"huge size", g + "block_count", uint64(1 << 62), "want a count"},
		{"many layers", g + "block_count", uint32(1 << 20), "num_hidden_layers"},
		{"array of wrong length", g + "feed_forward_length", []int32{1, 2}, "2 entries, want 10"},
		{"negative entry", g + "feed_forward_length", slices.Repeat([]int32{-1}, 10), "entry 0 is -1"},
		{"pattern of wrong length", g + "attention.sliding_window_pattern", []bool{true}, "1 entries, want 10"},
		{"kv heads vary within a type", g + "attention.head_count_kv", []int32{1, 2, 1, 1, 1, 1, 1, 1, 1, 1}, "2 in layer 1"},
		{"value length differs", g + "attention.value_length", uint32(64), "64, want 32"},
		{"partial rope", g + "rope.dimension_count", uint32(8), "8, want 32"},
		{"all layers shared", g + "attention.shared_kv_layers", uint32(10), "num_kv_shared_layers"},
		{"attention softcap", g + "attn_logit_softcapping", float32(50), "not supported"},
		{"negative end token", "tokenizer.ggml.eos_token_ids", []int32{-1}, "entry 0 is -1"},
		{"not a number", g + "attention.layer_norm_rms_epsilon", "x", "want a number"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := ReadConfig(ggufFile(t, with(eTinyKeys(), tc.key, tc.value), eTinyTensors()...))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one with %q", err, tc.want)
			}
		})
	}
}

func TestReadConfigGGUFTensors(t *testing.T) {
	read := func(change func([]stored) []stored) (*Config, error) {
		return ReadConfig(ggufFile(t, eTinyKeys(), change(eTinyTensors())...))
	}
	without := func(name string) func([]stored) []stored {
		return func(list []stored) []stored {
			return slices.DeleteFunc(list, func(s stored) bool { return s.name == name })
		}
	}
	if c, err := read(without(RopeFreqs)); err != nil || c.PartialRotary != 0.25 {
		t.Errorf("without rope_freqs: %+v, %v", c, err)
	}
	// Layer 4 is the only full layer that owns K and V: without attn_v, V is K.
	if c, err := read(without("blk.4.attn_v.weight")); err != nil || !c.KEqV {
		t.Errorf("without attn_v: %+v, %v", c, err)
	}
	if _, err := read(without("token_embd.weight")); err == nil {
		t.Error("a file without embedding is accepted")
	}
	if _, err := read(without("per_layer_token_embd.weight")); err == nil {
		t.Error("a file without its PLE table is accepted")
	}
	c, err := read(func(list []stored) []stored { list[2].first = 7; return list })
	if err != nil || c.RotaryPairs() != 7 {
		t.Errorf("7 rotating pairs: %+v, %v", c, err)
	}
	if _, err := read(func(list []stored) []stored { list[2].shape = []int{8}; return list }); err == nil {
		t.Error("rope_freqs of another head size is accepted")
	}
	keys := with(eTinyKeys(), "gemma4.attention.shared_kv_layers", uint32(0))
	if _, err := ReadConfig(ggufFile(t, keys, eTinyTensors()...)); err == nil || !strings.Contains(err.Error(), "v projection") {
		t.Errorf("one full layer with and one without attn_v: %v", err)
	}
}

func TestReadConfigFolder(t *testing.T) {
	cat := open(t, "testdata/e-tiny")
	c, err := ReadConfig(cat)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range c.Tensors() {
		if src, err := Locate(cat, s); err != nil || src == nil && !s.Optional {
			t.Errorf("%s: %v", s, err)
		}
	}
}
