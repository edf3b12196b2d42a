package gemma

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/quant"
)

// Architecture is the value of general.architecture and the prefix of the
// model's own GGUF keys.
const Architecture = "gemma4"

// ReadConfig reads and validates the config of an open checkpoint: config.json
// and, where it exists, generation_config.json of a safetensors folder, or the
// keys of a GGUF file in llama.cpp's or ollama's dialect.
func ReadConfig(cat *checkpoint.Catalog) (*Config, error) {
	if cat.Format() == "gguf" {
		c, err := ggufConfig(cat)
		if err != nil {
			return nil, fmt.Errorf("read config of %s: %w", cat.Path(), err)
		}
		return c, nil
	}
	data, err := cat.File("config.json")
	if err != nil {
		return nil, fmt.Errorf("read config of %s: %w", cat.Path(), err)
	}
	c, err := ParseConfig(data)
	if err != nil {
		return nil, fmt.Errorf("read config of %s: %w", cat.Path(), err)
	}
	switch data, err = cat.File("generation_config.json"); {
	case errors.Is(err, fs.ErrNotExist):
		return c, nil
	case err == nil:
		err = errors.Join(c.applyGeneration(data), c.Validate())
	}
	if err != nil {
		return nil, fmt.Errorf("read config of %s: %w", cat.Path(), err)
	}
	return c, nil
}

// keys reads typed GGUF keys and keeps the first problem.
type keys struct {
	meta checkpoint.Meta
	seen map[string]bool
	err  error
}

func (k *keys) fail(key, format string, args ...any) {
	if k.err == nil {
		k.err = fmt.Errorf("key %s: %s", key, fmt.Sprintf(format, args...))
	}
}

func (k *keys) has(key string) bool {
	k.seen[key] = true
	return k.meta.Kind(key) != ""
}

// ints reads an array of whole numbers.
func (k *keys) ints(key string) ([]int64, bool) {
	k.seen[key] = true
	return k.meta.Ints(key)
}

// unknown lists the architecture's keys that nobody asked for. Those of the
// encoders in ollama's files and the vocabulary size, which the embedding says
// too, are not the text decoder's business.
func (k *keys) unknown() []string {
	var out []string
	for _, key := range k.meta.Keys() {
		rest, ours := strings.CutPrefix(key, prefix)
		if !ours || k.seen[key] || rest == "vocab_size" ||
			strings.HasPrefix(rest, "vision.") || strings.HasPrefix(rest, "audio.") {
			continue
		}
		out = append(out, key)
	}
	sort.Strings(out)
	return out
}

// size reads a count that has no default.
func (k *keys) size(key string) int {
	if !k.has(key) {
		k.fail(key, "missing")
		return 0
	}
	return k.sizeOr(key, 0)
}

func (k *keys) sizeOr(key string, def int) int {
	if !k.has(key) {
		return def
	}
	v, ok := k.meta.Uint(key)
	if !ok || v > math.MaxInt32 {
		k.fail(key, "want a count, got %s", k.describe(key))
		return 0
	}
	return int(v)
}

// number reads a float. GGUF stores 1e-6 as the nearest float32, which is not
// the nearest float64; the shortest decimal that rounds to it is what the
// writer meant, so that both formats give the same config.
func (k *keys) number(key string, def float64) float64 {
	if !k.has(key) {
		return def
	}
	v, ok := k.meta.Float(key)
	if !ok {
		k.fail(key, "want a number, got %s", k.describe(key))
		return 0
	}
	if k.meta.Kind(key) == "float32" {
		v, _ = strconv.ParseFloat(strconv.FormatFloat(v, 'g', -1, 32), 64)
	}
	return v
}

// perLayer reads a count that is stored once or for every layer.
func (k *keys) perLayer(key string, layers int) []int {
	list, ok := k.ints(key)
	if !ok {
		return slices.Repeat([]int{k.size(key)}, layers)
	}
	if len(list) != layers {
		k.fail(key, "%d entries, want %d", len(list), layers)
		return nil
	}
	out := make([]int, layers)
	for l, v := range list {
		if v < 0 || v > math.MaxInt32 {
			k.fail(key, "entry %d is %d", l, v)
			return nil
		}
		out[l] = int(v)
	}
	return out
}

// token reads one token id, -1 when absent.
func (k *keys) token(key string) int32 {
	if !k.has(key) {
		return -1
	}
	return int32(k.sizeOr(key, 0))
}

// tokens reads a list of token ids or a single one.
func (k *keys) tokens(key string) []int32 {
	list, ok := k.ints(key)
	if !ok {
		if k.has(key) {
			return []int32{k.token(key)}
		}
		return nil
	}
	var out []int32
	for i, id := range list {
		if id < 0 || id > math.MaxInt32 || i >= maxTokenLists {
			k.fail(key, "entry %d is %d", i, id)
			return nil
		}
		out = addIDs(out, int32(id))
	}
	return out
}

func (k *keys) describe(key string) string {
	return fmt.Sprintf("%s %.40v", k.meta.Kind(key), k.meta.Raw(key))
}

// ggufConfig derives the config from keys and, for the three facts that GGUF
// has no key for, from tensors: the vocabulary sizes, how much of a full
// layer's head rotates, and whether full layers lack a v projection.
func ggufConfig(cat *checkpoint.Catalog) (*Config, error) {
	k := &keys{meta: cat.Meta(), seen: map[string]bool{}}
	if arch, ok := k.meta.String("general.architecture"); !ok || arch != Architecture {
		return nil, fmt.Errorf("architecture %q, want %q", arch, Architecture)
	}
	c := ggufSizes(k)
	if k.err == nil && inRange("", c.NumLayers, 1, maxLayers) == nil {
		ggufLayers(k, c)
	}
	ggufTokens(k, c)
	if k.err != nil {
		return nil, k.err
	}
	if err := ggufTensorFacts(cat, c); err != nil {
		return nil, err
	}
	c.SuppressTokens = keepIDs(c.SuppressTokens, c.VocabSize)
	c.SoftTokens = ggufSoftTokens(cat.Meta(), c.VocabSize)
	c.Name, c.Unknown = shapeName(c), k.unknown()
	return c, c.Validate()
}

const prefix = Architecture + "."

func ggufSizes(k *keys) *Config {
	c := &Config{
		HiddenSize:        k.size(prefix + "embedding_length"),
		NumLayers:         k.size(prefix + "block_count"),
		NumHeads:          k.ggufHeads(),
		GlobalHeadDim:     k.size(prefix + "attention.key_length"),
		SlidingWindow:     k.size(prefix + "attention.sliding_window"),
		NumKVSharedLayers: k.sizeOr(prefix+"attention.shared_kv_layers", 0),
		PLESize:           k.sizeOr(prefix+"embedding_length_per_layer_input", 0),
		MaxPositions:      k.size(prefix + "context_length"),
		NumExperts:        k.sizeOr(prefix+"expert_count", 0),
		RMSNormEps:        k.number(prefix+"attention.layer_norm_rms_epsilon", 1e-6),
		FinalSoftcap:      k.number(prefix+"final_logit_softcapping", 30),
		RopeThetaGlobal:   k.number(prefix+"rope.freq_base", 1e6),
		RopeTheta:         k.number(prefix+"rope.freq_base_swa", 1e4),
		Temperature:       k.number("general.sampling.temp", 1),
		TopK:              k.sizeOr("general.sampling.top_k", 64),
		TopP:              k.number("general.sampling.top_p", 0.95),
	}
	c.HeadDim = k.sizeOr(prefix+"attention.key_length_swa", c.GlobalHeadDim)
	k.same(prefix+"attention.value_length", c.GlobalHeadDim)
	k.same(prefix+"attention.value_length_swa", c.HeadDim)
	k.same(prefix+"rope.dimension_count", c.GlobalHeadDim)
	k.same(prefix+"rope.dimension_count_swa", c.HeadDim)
	if c.NumExperts > 0 {
		c.TopKExperts = k.size(prefix + "expert_used_count")
		c.ExpertSize = k.size(prefix + "expert_feed_forward_length")
	}
	for _, key := range []string{"attn_logit_softcapping", "rope.scaling.factor"} {
		if v := k.number(prefix+key, 0); v != 0 && v != 1 {
			k.fail(prefix+key, "%g is not supported", v)
		}
	}
	return c
}

// same checks a key that must repeat another one where it exists.
func (k *keys) same(key string, want int) {
	if got := k.sizeOr(key, want); got != want {
		k.fail(key, "%d, want %d", got, want)
	}
}

// ggufHeads reads the number of query heads, which some writers repeat for
// every layer.
func (k *keys) ggufHeads() int {
	const key = prefix + "attention.head_count"
	list, ok := k.ints(key)
	if !ok {
		return k.size(key)
	}
	for _, n := range list {
		if n != list[0] || n < 0 || n > maxHeads {
			k.fail(key, "%v, want the same sane count in every layer", list)
			return 0
		}
	}
	if len(list) == 0 {
		k.fail(key, "empty")
		return 0
	}
	return int(list[0])
}

// ggufLayers reads what varies by layer. NumLayers is known to be sane.
func ggufLayers(k *keys, c *Config) {
	const pattern = prefix + "attention.sliding_window_pattern"
	if list, ok := k.meta.Bools(pattern); ok {
		k.seen[pattern] = true
		c.Sliding = slices.Clone(list)
	} else if k.has(pattern) {
		c.Sliding = patternOf(c.NumLayers, max(1, k.size(pattern)))
	} else {
		c.Sliding = defaultPattern(c.NumLayers)
	}
	c.IntermediateSize = k.perLayer(prefix+"feed_forward_length", c.NumLayers)
	heads := k.perLayer(prefix+"attention.head_count_kv", c.NumLayers)
	if len(c.Sliding) != c.NumLayers || len(heads) != c.NumLayers {
		if k.err == nil {
			k.fail(pattern, "%d entries, want %d", len(c.Sliding), c.NumLayers)
		}
		return
	}
	for l, n := range heads {
		kv := &c.NumGlobalKVHeads
		if c.Sliding[l] {
			kv = &c.NumKVHeads
		}
		if *kv != 0 && *kv != n {
			k.fail(prefix+"attention.head_count_kv", "%d in layer %d and %d in other %s layers", n, l, *kv, layerType(c.Sliding[l]))
			return
		}
		*kv = n
	}
	// A model with layers of one type only says nothing about the other.
	c.NumKVHeads = orElse(c.NumKVHeads, c.NumGlobalKVHeads)
	c.NumGlobalKVHeads = orElse(c.NumGlobalKVHeads, c.NumKVHeads)
}

func orElse(n, other int) int {
	if n == 0 {
		return other
	}
	return n
}

func ggufTokens(k *keys, c *Config) {
	const t = "tokenizer.ggml."
	c.BOS, c.Pad = k.token(t+"bos_token_id"), k.token(t+"padding_token_id")
	for _, key := range []string{"eos_token_ids", "eos_token_id", "eot_token_id"} {
		c.EOS = addIDs(c.EOS, k.tokens(t+key)...)
	}
	c.SuppressTokens = k.tokens(t + "suppress_tokens")
}

// ggufTensorFacts fills in what GGUF keeps in tensors only.
func ggufTensorFacts(cat *checkpoint.Catalog, c *Config) error {
	embed := cat.Lookup(rowOf[KeyEmbed].gguf)
	if embed == nil || len(embed.Shape) != 2 {
		return fmt.Errorf("tensor %s is missing or not a matrix", rowOf[KeyEmbed].gguf)
	}
	c.VocabSize = embed.Shape[0]
	if c.PLESize > 0 {
		table := cat.Lookup(rowOf[KeyPLETable].gguf)
		if table == nil || len(table.Shape) != 2 {
			return fmt.Errorf("tensor %s is missing or not a matrix", rowOf[KeyPLETable].gguf)
		}
		c.PLEVocabSize = table.Shape[0]
	}
	if err := ggufKEqV(cat, c); err != nil {
		return err
	}
	return ggufRotary(cat, c)
}

// ggufKEqV: GGUF has no key for k_eq_v. Full layers that own their K lack the v
// projection then, all of them; if only some do, the file is damaged. Layers
// that share K and V do not count: their tensors may be present or not.
func ggufKEqV(cat *checkpoint.Catalog, c *Config) error {
	with, without := 0, 0
	for l := 0; l < c.NumLayers-c.NumKVSharedLayers && l < len(c.Sliding); l++ {
		if c.Sliding[l] {
			continue
		}
		if cat.Lookup(fmt.Sprintf("blk.%d.%s", l, rowOf[KeyV].gguf)) != nil {
			with++
		} else {
			without++
		}
	}
	if with > 0 && without > 0 {
		return fmt.Errorf("%d full attention layers have a v projection and %d have none", with, without)
	}
	c.KEqV = without > 0
	return nil
}

// ggufRotary reads from rope_freqs.weight, the divisors of a full layer's
// frequencies, how many pairs rotate: those before the first divisor that is
// practically infinite. Without the tensor a quarter does.
func ggufRotary(cat *checkpoint.Catalog, c *Config) error {
	c.PartialRotary = 0.25
	t := cat.Lookup(RopeFreqs)
	if t == nil {
		return nil
	}
	pairs := c.GlobalHeadDim / 2
	if pairs < 1 || pairs > maxHeadDim || t.Type != quant.F32 || t.Values() != int64(pairs) {
		return fmt.Errorf("tensor %s: %s %v, want F32 [%d]", RopeFreqs, t.Type, t.Shape, pairs)
	}
	data := make([]byte, 4*pairs)
	if _, err := t.ReadAt(data, 0); err != nil {
		return err
	}
	rotating := 0
	for i := range pairs {
		switch f := math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:])); {
		case f == 1 && rotating == i:
			rotating++
		case f >= 1e10:
		default:
			return fmt.Errorf("tensor %s: entry %d is %g, want 1 in the first pairs and 1e30 in the others", RopeFreqs, i, f)
		}
	}
	c.PartialRotary = rotaryShare(rotating, c.GlobalHeadDim)
	return nil
}

// rotaryShare is the share of headDim of which rotaryPairs makes exactly n.
func rotaryShare(n, headDim int) float64 {
	share := float64(2*n) / float64(headDim)
	for rotaryPairs(share, headDim) < n { // division may have rounded down
		share = math.Nextafter(share, 2)
	}
	return share
}
