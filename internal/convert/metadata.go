package convert

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strings"

	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/tokenizer"
)

// keyValue is one GGUF metadata entry.
type keyValue struct {
	key   string
	value any
}

const (
	generalKeys   = "general."
	samplingKeys  = "general.sampling."
	modelKeys     = gemma.Architecture + "."
	tokenizerKeys = "tokenizer.ggml."
	templateKey   = "tokenizer.chat_template"
)

// generalMetadata describes the file. values is the number of weights.
func generalMetadata(name string, types Types, values int64) []keyValue {
	return []keyValue{
		{generalKeys + "architecture", gemma.Architecture},
		{generalKeys + "type", "model"},
		{generalKeys + "name", name},
		{generalKeys + "size_label", sizeLabel(values)},
		{generalKeys + "file_type", types.fileType()},
		{generalKeys + "quantization_version", uint32(2)},
	}
}

// sizeLabel rounds a number of weights to two digits: 4.6B, 18M.
func sizeLabel(values int64) string {
	scaled, unit := float64(values)/1e3, "K"
	for _, next := range []string{"M", "B", "T"} {
		if scaled < 1000 {
			break
		}
		scaled, unit = scaled/1e3, next
	}
	if scaled < 9.95 {
		return fmt.Sprintf("%.1f%s", scaled, unit)
	}
	return fmt.Sprintf("%.0f%s", scaled, unit)
}

// modelMetadata is the config, in the value types other readers expect.
func modelMetadata(c *gemma.Config) []keyValue {
	const attn, rope = modelKeys + "attention.", modelKeys + "rope."
	kvHeads := make([]int, c.NumLayers)
	for l := range kvHeads {
		kvHeads[l] = c.LayerKVHeads(l)
	}
	kv := []keyValue{
		{modelKeys + "context_length", uint32(c.MaxPositions)},
		{modelKeys + "embedding_length", uint32(c.HiddenSize)},
		{modelKeys + "block_count", uint32(c.NumLayers)},
		{modelKeys + "feed_forward_length", perLayer(c.IntermediateSize)},
		{attn + "head_count", uint32(c.NumHeads)},
		{attn + "head_count_kv", perLayer(kvHeads)},
		{attn + "key_length", uint32(c.GlobalHeadDim)},
		{attn + "value_length", uint32(c.GlobalHeadDim)},
		{attn + "key_length_swa", uint32(c.HeadDim)},
		{attn + "value_length_swa", uint32(c.HeadDim)},
		{attn + "layer_norm_rms_epsilon", float32(c.RMSNormEps)},
		{attn + "sliding_window", uint32(c.SlidingWindow)},
		{attn + "sliding_window_pattern", c.Sliding},
		{attn + "shared_kv_layers", uint32(c.NumKVSharedLayers)},
		{modelKeys + "embedding_length_per_layer_input", uint32(c.PLESize)},
		{modelKeys + "final_logit_softcapping", float32(c.FinalSoftcap)},
		{rope + "dimension_count", uint32(c.GlobalHeadDim)},
		{rope + "dimension_count_swa", uint32(c.HeadDim)},
		{rope + "freq_base", float32(c.RopeThetaGlobal)},
		{rope + "freq_base_swa", float32(c.RopeTheta)},
	}
	if c.NumExperts > 0 {
		kv = append(kv,
			keyValue{modelKeys + "expert_count", uint32(c.NumExperts)},
			keyValue{modelKeys + "expert_used_count", uint32(c.TopKExperts)},
			keyValue{modelKeys + "expert_feed_forward_length", uint32(c.ExpertSize)})
	}
	return append(kv,
		keyValue{samplingKeys + "temp", float32(c.Temperature)},
		keyValue{samplingKeys + "top_k", int32(c.TopK)},
		keyValue{samplingKeys + "top_p", float32(c.TopP)},
		// Always present, so that a reader does not have to guess from texts.
		keyValue{gemma.SoftTokensKey, append([]int32{}, c.SoftTokens...)})
}

// perLayer is one number when all layers have the same, else the list.
func perLayer(list []int) any {
	out := make([]int32, len(list))
	same := true
	for l, n := range list {
		out[l] = int32(n)
		same = same && n == list[0]
	}
	if same {
		return uint32(list[0])
	}
	return out
}

// tokenMetadata are the ids that a file without a vocabulary has too.
func tokenMetadata(c *gemma.Config) []keyValue {
	var kv []keyValue
	id := func(key string, id int32) {
		if id >= 0 {
			kv = append(kv, keyValue{tokenizerKeys + key, uint32(id)})
		}
	}
	id("bos_token_id", c.BOS)
	if len(c.EOS) > 0 {
		id("eos_token_id", c.EOS[0])
		kv = append(kv, keyValue{tokenizerKeys + "eos_token_ids", c.EOS})
	}
	id("padding_token_id", c.Pad)
	if len(c.SuppressTokens) > 0 {
		kv = append(kv, keyValue{tokenizerKeys + "suppress_tokens", c.SuppressTokens})
	}
	return kv
}

// vocabularyMetadata is a tokenizer.json in GGUF form. Ids without an entry, at
// the end of an embedding that was padded to a round size, get one of kind
// Unused, since other readers demand a text for every row.
func vocabularyMetadata(spec tokenizer.Spec, vocab int) ([]keyValue, error) {
	if len(spec.Tokens) > vocab {
		return nil, fmt.Errorf("tokenizer.json has %d tokens, the embedding only %d rows", len(spec.Tokens), vocab)
	}
	tokens := append([]string(nil), spec.Tokens...)
	kinds := make([]int32, 0, vocab)
	for _, k := range spec.Kinds {
		kinds = append(kinds, int32(k))
	}
	for id := len(tokens); id < vocab; id++ {
		tokens = append(tokens, fmt.Sprintf("[PAD%d]", id))
		kinds = append(kinds, int32(tokenizer.Unused))
	}
	// Merging goes by rank; scores are only there because readers ask for them.
	scores := make([]float32, vocab)
	for i := range scores {
		scores[i] = -1000
	}
	kv := []keyValue{
		{tokenizerKeys + "model", "gemma4"},
		{tokenizerKeys + "tokens", tokens},
		{tokenizerKeys + "scores", scores},
		{tokenizerKeys + "token_type", kinds},
		{tokenizerKeys + "merges", spec.Merges},
		{tokenizerKeys + "add_space_prefix", false},
		{tokenizerKeys + "add_bos_token", true},
	}
	if spec.Unknown >= 0 {
		kv = append(kv, keyValue{tokenizerKeys + "unknown_token_id", uint32(spec.Unknown)})
	}
	for id, text := range spec.Tokens {
		if text == "<mask>" {
			kv = append(kv, keyValue{tokenizerKeys + "mask_token_id", uint32(id)})
			break
		}
	}
	return kv, nil
}

// folderVocabulary reads tokenizer.json and the chat template beside
// safetensors. A folder without a tokenizer gives nothing and a note.
func folderVocabulary(cat *checkpoint.Catalog, c *gemma.Config) (kv []keyValue, note string, err error) {
	data, err := cat.File("tokenizer.json")
	if errors.Is(err, fs.ErrNotExist) {
		return noVocabulary(c), "no tokenizer.json in the source: the output has no vocabulary and takes token ids only", nil
	}
	if err != nil {
		return nil, "", err
	}
	if kv, err = fileVocabulary(data, c); err != nil {
		return nil, "", err
	}
	template, err := chatTemplate(cat)
	if err != nil {
		return nil, "", err
	}
	if template != "" {
		kv = append(kv, keyValue{templateKey, template})
	}
	return kv, "", nil
}

// fileVocabulary is the content of a tokenizer.json in GGUF form.
func fileVocabulary(data []byte, c *gemma.Config) ([]keyValue, error) {
	spec, err := tokenizer.ParseSpec(data)
	if err != nil {
		return nil, err
	}
	return vocabularyMetadata(spec, c.VocabSize)
}

// noVocabulary are the keys of a file that takes token ids only; llama.cpp's
// reader wants to be told.
func noVocabulary(c *gemma.Config) []keyValue {
	return []keyValue{
		{tokenizerKeys + "model", "none"},
		{modelKeys + "vocab_size", uint32(c.VocabSize)},
	}
}

// chatTemplate finds the template of a safetensors folder, "" when it has none:
// a file of its own, or an entry of tokenizer_config.json, where it is a string
// or a list of named ones.
func chatTemplate(cat *checkpoint.Catalog) (string, error) {
	data, err := cat.File("chat_template.jinja")
	if err == nil {
		return string(data), nil
	}
	for _, name := range []string{"chat_template.json", "tokenizer_config.json"} {
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if data, err = cat.File(name); err != nil {
			continue
		}
		var file struct {
			Template json.RawMessage `json:"chat_template"`
		}
		if err := json.Unmarshal(data, &file); err != nil {
			return "", fmt.Errorf("parse %s: %w", name, err)
		}
		if t := templateText(file.Template); t != "" {
			return t, nil
		}
		err = fs.ErrNotExist
	}
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return "", err
}

func templateText(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	var named []struct{ Name, Template string }
	if json.Unmarshal(raw, &named) != nil {
		return ""
	}
	for _, n := range named {
		if n.Name == "default" {
			return n.Template
		}
	}
	return ""
}

// mergeMetadata is a GGUF source's metadata with our values where they say what
// the new file is, corrected where writers are known to err, without what
// belongs to encoders, and completed with keys the source lacks. renamed says
// that the caller has chosen the name; else the source's stays.
func mergeMetadata(src checkpoint.Meta, general, rest []keyValue, renamed bool) []keyValue {
	var out []keyValue
	have := map[string]bool{"general.alignment": true} // the writer's business
	add := func(kv keyValue) {
		if !have[kv.key] {
			have[kv.key] = true
			out = append(out, kv)
		}
	}
	for _, kv := range general {
		own := kv.key == generalKeys+"name" && !renamed || kv.key == generalKeys+"size_label"
		if value := src.Raw(kv.key); own && value != nil {
			kv.value = value
		}
		add(kv)
	}
	for _, key := range src.Keys() {
		value := src.Raw(key)
		switch {
		case encoderKey(key) || key == tokenizerKeys+"pre":
			continue
		case key == tokenizerKeys+"model" && value == "llama":
			value = "gemma4" // ollama's spelling, whose pre says gemma4
		case key == tokenizerKeys+"add_bos_token":
			value = true // early files say false by mistake
		}
		add(keyValue{key, value})
	}
	for _, kv := range rest {
		add(kv)
	}
	return out
}

// encoderKey recognises the keys of the vision and audio parts.
func encoderKey(key string) bool {
	return strings.HasPrefix(key, modelKeys+"vision.") || strings.HasPrefix(key, modelKeys+"audio.")
}

// ropeFreqs are the divisors by which GGUF says which pairs of a full layer's
// head rotate: an infinite one, nearly, stops the rotation.
func ropeFreqs(c *gemma.Config) []float32 {
	freqs := make([]float32, c.GlobalHeadDim/2)
	for i := range freqs {
		if freqs[i] = 1; i >= c.RotaryPairs() {
			freqs[i] = 1e30
		}
	}
	return freqs
}

// lossyFloats reports settings that do not come back from GGUF's 32-bit floats
// as they were.
func lossyFloats(c *gemma.Config) []string {
	var lost []string
	for _, n := range []struct {
		name string
		v    float64
	}{
		{"rms_norm_eps", c.RMSNormEps}, {"final_logit_softcapping", c.FinalSoftcap},
		{"rope_theta of sliding layers", c.RopeTheta}, {"rope_theta of full layers", c.RopeThetaGlobal},
	} {
		if shortest(n.v) != n.v {
			lost = append(lost, fmt.Sprintf("%s %v is stored as %v", n.name, n.v, shortest(n.v)))
		}
	}
	return lost
}

// shortest is what a reader makes of v stored as a float32: the shortest
// decimal that rounds to the stored number.
func shortest(v float64) float64 {
	var back float64
	if _, err := fmt.Sscan(fmt.Sprint(float32(v)), &back); err != nil {
		return math.NaN()
	}
	return back
}
