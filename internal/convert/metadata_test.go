package convert

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/quant"
	"github.com/plume-run/plume/internal/tokenizer"
)

// smallTokenizer is a tokenizer.json in Gemma's scheme with 5 specials, 256
// byte tokens and a few letters.
func smallTokenizer(t *testing.T) []byte {
	t.Helper()
	vocab := map[string]int{}
	add := func(text string) { vocab[text] = len(vocab) }
	for _, s := range []string{"<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<|turn>", "<|channel>"} {
		add(s)
	}
	for b := range 256 {
		add(fmt.Sprintf("<0x%02X>", b))
	}
	for _, s := range []string{"▁", "a", "b", "c", "ab", "▁ab", "abc"} {
		add(s)
	}
	var added []map[string]any
	for id, s := range []string{"<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<|turn>", "<|channel>"} {
		added = append(added, map[string]any{"id": id, "content": s, "single_word": false, "lstrip": false,
			"rstrip": false, "normalized": false, "special": true})
	}
	data, err := json.Marshal(map[string]any{
		"version": "1.0", "added_tokens": added,
		"normalizer":    map[string]any{"type": "Replace", "pattern": map[string]any{"String": " "}, "content": "▁"},
		"pre_tokenizer": nil, "post_processor": nil,
		"decoder": map[string]any{"type": "Sequence", "decoders": []any{
			map[string]any{"type": "Replace", "pattern": map[string]any{"String": "▁"}, "content": " "},
			map[string]any{"type": "ByteFallback"}, map[string]any{"type": "Fuse"}}},
		"model": map[string]any{"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true,
			"vocab": vocab, "merges": [][]string{{"a", "b"}, {"▁", "ab"}, {"ab", "c"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func addFile(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
}

func TestVocabulary(t *testing.T) {
	dir := withWeights(t, func(string, []byte) {})
	file := smallTokenizer(t)
	addFile(t, dir, "tokenizer.json", string(file))
	addFile(t, dir, "chat_template.jinja", "{{ bos_token }}")
	addFile(t, dir, "generation_config.json", `{"eos_token_id":[1,5],"temperature":0.7,"top_k":40,"top_p":0.9}`)
	src := open(t, dir)
	out, r := mustConvert(t, src, Options{Types: Types{Type: quant.BF16}, Name: "small"})
	if len(r.Notes) != 0 {
		t.Errorf("notes %q", r.Notes)
	}
	m := out.Meta()
	for key, want := range map[string]any{
		"general.architecture": "gemma4", "general.name": "small", "general.size_label": "477K",
		"general.sampling.temp": float32(0.7), "general.sampling.top_k": int32(40), "general.sampling.top_p": float32(0.9),
		"tokenizer.ggml.model": "gemma4", "tokenizer.ggml.bos_token_id": uint32(2), "tokenizer.ggml.eos_token_id": uint32(1),
		"tokenizer.ggml.unknown_token_id": uint32(3), "tokenizer.ggml.padding_token_id": uint32(0),
		"tokenizer.ggml.mask_token_id": uint32(4), "tokenizer.ggml.add_bos_token": true,
		"tokenizer.ggml.add_space_prefix": false, "tokenizer.chat_template": "{{ bos_token }}",
	} {
		if got := m.Raw(key); got != want {
			t.Errorf("%s is %v, want %v", key, got, want)
		}
	}
	tokens, _ := m.Strings("tokenizer.ggml.tokens")
	types, _ := m.Ints("tokenizer.ggml.token_type")
	scores, _ := m.Floats("tokenizer.ggml.scores")
	if len(tokens) != 320 || len(types) != 320 || len(scores) != 320 {
		t.Fatalf("%d tokens, %d types, %d scores, want 320", len(tokens), len(types), len(scores))
	}
	if tokens[319] != "[PAD319]" || types[319] != 5 || types[5] != 3 || types[6] != 4 || types[7] != 6 || types[264] != 1 {
		t.Errorf("types %v", types)
	}
	compareTokenizers(t, file, m)
	c := readConfig(t, out)
	if !slices.Equal(c.EOS, []int32{1, 5}) || c.Temperature != 0.7 || c.TopK != 40 || c.TopP != 0.9 {
		t.Errorf("config %+v", c)
	}
}

// compareTokenizers: both forms of the vocabulary give the same ids.
func compareTokenizers(t *testing.T, file []byte, m checkpoint.Meta) {
	t.Helper()
	fromFile, err := tokenizer.ParseSpec(file)
	if err != nil {
		t.Fatal(err)
	}
	fromKeys, err := tokenizer.SpecFromKeys(m)
	if err != nil {
		t.Fatal(err)
	}
	a, err := tokenizer.New(fromFile)
	if err != nil {
		t.Fatal(err)
	}
	b, err := tokenizer.New(fromKeys)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"abc ab abab c", "<|turn>a<|channel>b", "é ~ [PAD300]"} {
		for _, special := range []bool{false, true} {
			x, y := a.Encode(nil, text, special), b.Encode(nil, text, special)
			if !slices.Equal(x, y) || len(x) == 0 {
				t.Errorf("%q: %v and %v", text, x, y)
			}
		}
	}
}

func TestVocabularyErrors(t *testing.T) {
	dir := withWeights(t, func(string, []byte) {})
	cfg := readConfig(t, open(t, dir))
	spec := tokenizer.Spec{Tokens: make([]string, 321)}
	if _, err := vocabularyMetadata(spec, cfg.VocabSize); err == nil || !strings.Contains(err.Error(), "321 tokens") {
		t.Errorf("more tokens than rows: %v", err)
	}
	addFile(t, dir, "tokenizer.json", "{")
	_, _, err := folderVocabulary(open(t, dir), cfg)
	if err == nil || !strings.Contains(err.Error(), "tokenizer.json") {
		t.Errorf("a broken tokenizer.json: %v", err)
	}
}

func TestChatTemplate(t *testing.T) {
	for _, tc := range []struct{ name, file, text, want string }{
		{"own file", "chat_template.jinja", "{{ a }}", "{{ a }}"},
		{"json", "chat_template.json", `{"chat_template":"{{ b }}"}`, "{{ b }}"},
		{"tokenizer config", "tokenizer_config.json", `{"chat_template":"{{ c }}","x":1}`, "{{ c }}"},
		{"named", "tokenizer_config.json", `{"chat_template":[{"name":"rag","template":"r"},{"name":"default","template":"d"}]}`, "d"},
		{"none in it", "tokenizer_config.json", `{"x":1}`, ""},
		{"no file", "README", "", ""},
	} {
		dir := withWeights(t, func(string, []byte) {})
		addFile(t, dir, tc.file, tc.text)
		if got, err := chatTemplate(open(t, dir)); err != nil || got != tc.want {
			t.Errorf("%s: %q, %v, want %q", tc.name, got, err, tc.want)
		}
	}
	dir := withWeights(t, func(string, []byte) {})
	addFile(t, dir, "tokenizer_config.json", "{")
	if _, err := chatTemplate(open(t, dir)); err == nil {
		t.Error("a broken tokenizer_config.json is accepted")
	}
}

// TestMetadataKeys: every key that other readers expect is there, with the
// value type they expect.
func TestMetadataKeys(t *testing.T) {
	kinds := func(shape string) map[string]string {
		c, err := gemma.ShapeConfig(shape, 0)
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]string{}
		for _, kv := range append(modelMetadata(c), tokenMetadata(c)...) {
			out[kv.key] = fmt.Sprintf("%T", kv.value)
		}
		return out
	}
	for shape, varying := range map[string]map[string]string{
		"e2b":     {"feed_forward_length": "[]int32", "attention.head_count_kv": "uint32"},
		"e4b":     {"feed_forward_length": "uint32", "attention.head_count_kv": "uint32"},
		"12b":     {"feed_forward_length": "uint32", "attention.head_count_kv": "[]int32"},
		"26b-a4b": {"attention.head_count_kv": "[]int32", "expert_count": "uint32", "expert_used_count": "uint32", "expert_feed_forward_length": "uint32"},
	} {
		got := kinds(shape)
		for key, want := range varying {
			if got["gemma4."+key] != want {
				t.Errorf("%s: %s is %q, want %q", shape, key, got["gemma4."+key], want)
			}
		}
		for _, key := range []string{"context_length", "embedding_length", "block_count", "attention.head_count",
			"attention.key_length", "attention.value_length", "attention.key_length_swa", "attention.value_length_swa",
			"attention.sliding_window", "attention.shared_kv_layers", "embedding_length_per_layer_input",
			"rope.dimension_count", "rope.dimension_count_swa"} {
			if got["gemma4."+key] != "uint32" {
				t.Errorf("%s: %s is %q, want uint32", shape, key, got["gemma4."+key])
			}
		}
		for _, key := range []string{"attention.layer_norm_rms_epsilon", "final_logit_softcapping", "rope.freq_base", "rope.freq_base_swa"} {
			if got["gemma4."+key] != "float32" {
				t.Errorf("%s: %s is %q, want float32", shape, key, got["gemma4."+key])
			}
		}
		if got["gemma4.attention.sliding_window_pattern"] != "[]bool" || got["tokenizer.ggml.eos_token_ids"] != "[]int32" {
			t.Errorf("%s: %v", shape, got)
		}
	}
	if got := kinds("12b")["tokenizer.ggml.suppress_tokens"]; got != "[]int32" {
		t.Errorf("12b: suppress_tokens is %q", got)
	}
}

func TestLossyFloats(t *testing.T) {
	c, err := gemma.ShapeConfig("e2b", 0)
	if err != nil {
		t.Fatal(err)
	}
	if lost := lossyFloats(c); len(lost) != 0 {
		t.Errorf("%q", lost)
	}
	c.RopeTheta = 10000.0001
	if lost := lossyFloats(c); len(lost) != 1 || !strings.Contains(lost[0], "10000.0001 is stored as 10000") {
		t.Errorf("%q", lost)
	}
}
