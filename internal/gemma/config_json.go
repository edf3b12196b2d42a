package gemma

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
	"strconv"
)

// fields reads the keys of one JSON object. The first problem is kept in err
// and later calls return zero values, so that a reader can be written as a list
// of assignments. Absent keys and null are the same thing: the default.
type fields struct {
	raw  map[string]json.RawMessage
	seen map[string]bool
	err  error
}

func parseFields(data []byte) (*fields, error) {
	f := &fields{seen: map[string]bool{}}
	if err := json.Unmarshal(data, &f.raw); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			return nil, fmt.Errorf("want an object, got %s", wrong.Value)
		}
		return nil, err
	}
	if f.raw == nil {
		return nil, errors.New("want an object, got null")
	}
	return f, nil
}

// get returns the raw value of key, or nil when it is absent or null.
func (f *fields) get(key string) json.RawMessage {
	f.seen[key] = true
	v := f.raw[key]
	if v == nil || bytes.Equal(bytes.TrimSpace(v), []byte("null")) {
		return nil
	}
	return v
}

func (f *fields) fail(key string, err error) {
	if f.err == nil {
		f.err = fmt.Errorf("key %s: %w", key, err)
	}
}

func decode[T any](f *fields, key string, def T) T {
	v := f.get(key)
	if v == nil {
		return def
	}
	var out T
	if err := json.Unmarshal(v, &out); err != nil {
		f.fail(key, fmt.Errorf("bad value %.40s", v))
		return def
	}
	return out
}

func (f *fields) boolean(key string, def bool) bool      { return decode(f, key, def) }
func (f *fields) text(key, def string) string            { return decode(f, key, def) }
func (f *fields) number(key string, def float64) float64 { return decode(f, key, def) }
func (f *fields) object(key string) json.RawMessage      { return f.get(key) }
func (f *fields) strings(key string) []string            { return decode[[]string](f, key, nil) }
func (f *fields) has(key string) bool                    { return f.get(key) != nil }

// integer reads a whole number; 512.0 counts as one.
func (f *fields) integer(key string, def int) int {
	v := f.get(key)
	if v == nil {
		return def
	}
	n, err := parseInteger(v)
	if err != nil {
		f.fail(key, err)
		return def
	}
	return n
}

// required is integer for a key that has no default.
func (f *fields) required(key string) int {
	if !f.has(key) {
		f.fail(key, errors.New("missing"))
	}
	return f.integer(key, 0)
}

// integers reads a number or a list of numbers; nil when absent.
func (f *fields) integers(key string) []int {
	v := f.get(key)
	if v == nil {
		return nil
	}
	var list []json.RawMessage
	if v = bytes.TrimSpace(v); v[0] != '[' {
		list = []json.RawMessage{v}
	} else if err := json.Unmarshal(v, &list); err != nil {
		f.fail(key, err)
		return nil
	}
	var out []int
	for _, e := range list {
		n, err := parseInteger(e)
		if err != nil {
			f.fail(key, err)
			return nil
		}
		out = append(out, n)
	}
	return out
}

// ids reads token ids, a number or a list.
func (f *fields) ids(key string) []int32 {
	var out []int32
	for _, n := range f.integers(key) {
		if n < 0 || n > math.MaxInt32 {
			f.fail(key, fmt.Errorf("token id %d is out of range", n))
			return nil
		}
		out = addIDs(out, int32(n))
	}
	return out
}

// id reads one token id; -1 when absent.
func (f *fields) id(key string) int32 {
	if ids := f.ids(key); len(ids) > 0 {
		return ids[0]
	}
	return -1
}

func parseInteger(v json.RawMessage) (int, error) {
	s := string(bytes.TrimSpace(v))
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return int(n), nil
	}
	x, err := strconv.ParseFloat(s, 64)
	if err != nil || x != math.Trunc(x) || math.Abs(x) > 1<<53 {
		return 0, fmt.Errorf("want a whole number, got %.40s", s)
	}
	return int(x), nil
}

// unknown lists the keys nobody asked for.
func (f *fields) unknown() []string {
	var out []string
	for key := range f.raw {
		if !f.seen[key] && !slices.Contains(harmlessKeys, key) {
			out = append(out, key)
		}
	}
	sort.Strings(out)
	return out
}

// harmlessKeys say nothing about the arithmetic of the text decoder: training
// settings, bookkeeping of the writer, and the parts of a multimodal model.
var harmlessKeys = []string{
	"_name_or_path", "architectures", "model_type", "dtype", "torch_dtype", "transformers_version",
	"attention_dropout", "initializer_range", "use_cache", "output_attentions", "output_hidden_states",
	"return_dict", "is_encoder_decoder", "chunk_size_feed_forward", "problem_type", "id2label", "label2id",
	"vision_config", "audio_config", "vision_soft_tokens_per_image", "mask_token_id", "unk_token_id",
	"image_token_id", "audio_token_id", "video_token_id", "boi_token_id", "eoi_token_id",
	"boa_token_id", "eoa_token_id", "eoa_token_index", "image_token_index", "audio_token_index",
	"boi_token_index", "eoi_token_index", "boa_token_index", "video_token_index",
}

// ParseConfig reads the text decoder's config from the bytes of a config.json:
// the whole file of a released checkpoint (with text_config inside) or a flat
// text config. Keys that would change the arithmetic in a way this package does
// not implement are errors; other unknown keys are listed in Config.Unknown.
func ParseConfig(configJSON []byte) (*Config, error) {
	c, err := parseConfig(configJSON)
	if err != nil {
		return nil, fmt.Errorf("parse config.json: %w", err)
	}
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("parse config.json: %w", err)
	}
	return c, nil
}

func parseConfig(data []byte) (*Config, error) {
	top, err := parseFields(data)
	if err != nil {
		return nil, err
	}
	kind := top.text("model_type", "")
	switch kind {
	case "gemma4", "gemma4_unified", "gemma4_text", "gemma4_unified_text":
	default:
		return nil, fmt.Errorf("model_type %q is not a Gemma 4 text model", kind)
	}
	text := top
	if inner := top.object("text_config"); inner != nil {
		if text, err = parseFields(inner); err != nil {
			return nil, fmt.Errorf("text_config: %w", err)
		}
	}
	if err := refuse(top, text); err != nil {
		return nil, err
	}
	c := textConfig(text)
	if top != text {
		c.SoftTokens = softTokens(top, c.VocabSize)
		c.EOS = addIDs(c.EOS, top.ids("eos_token_id")...)
		for _, key := range []string{"bos_token_id", "pad_token_id"} {
			top.get(key) // the text config has the last word on these
		}
	}
	if err := errors.Join(top.err, text.err); err != nil {
		return nil, err
	}
	c.Unknown = top.unknown()
	if top != text {
		for _, key := range text.unknown() {
			c.Unknown = append(c.Unknown, "text_config."+key)
		}
	}
	c.Name = shapeName(c)
	return c, nil
}

// refuse rejects settings that this package knows of and does not implement.
func refuse(top, text *fields) error {
	tied := text.boolean("tie_word_embeddings", true)
	if top != text {
		tied = top.boolean("tie_word_embeddings", tied)
	}
	if !tied {
		return errors.New("tie_word_embeddings false: a separate output matrix is not supported")
	}
	if top.has("quantization_config") || text.has("quantization_config") {
		return errors.New("quantization_config: packed integer checkpoints are not supported; use the bfloat16 one or a GGUF")
	}
	if text.boolean("attention_bias", false) || text.boolean("mlp_bias", false) {
		return errors.New("attention_bias or mlp_bias true: projections with bias are not supported")
	}
	switch act := text.text("hidden_activation", text.text("hidden_act", "gelu_pytorch_tanh")); act {
	case "gelu_pytorch_tanh", "gelu_tanh", "gelu_new":
	default:
		return fmt.Errorf("hidden_activation %q is not supported, want gelu_pytorch_tanh", act)
	}
	switch text.text("use_bidirectional_attention", "") {
	case "", "vision":
	default:
		return fmt.Errorf("use_bidirectional_attention %q is not supported", text.text("use_bidirectional_attention", ""))
	}
	for _, key := range []string{"rope_scaling", "attn_logit_softcapping"} {
		if text.has(key) {
			return fmt.Errorf("%s is not supported", key)
		}
	}
	return errors.Join(top.err, text.err)
}

// textConfig reads the decoder's keys. Problems stay in f.err. Defaults of
// absent keys are those of the reference implementation; sizes that have no
// meaningful default are required.
func textConfig(f *fields) *Config {
	c := &Config{
		VocabSize:         f.required("vocab_size"),
		HiddenSize:        f.required("hidden_size"),
		NumLayers:         f.required("num_hidden_layers"),
		NumHeads:          f.required("num_attention_heads"),
		NumKVHeads:        f.required("num_key_value_heads"),
		HeadDim:           f.integer("head_dim", 256),
		GlobalHeadDim:     f.integer("global_head_dim", 512),
		SlidingWindow:     f.integer("sliding_window", 512),
		NumKVSharedLayers: f.integer("num_kv_shared_layers", 0),
		PLESize:           f.integer("hidden_size_per_layer_input", 256),
		MaxPositions:      f.integer("max_position_embeddings", 131072),
		KEqV:              f.boolean("attention_k_eq_v", false),
		RMSNormEps:        f.number("rms_norm_eps", 1e-6),
		FinalSoftcap:      f.number("final_logit_softcapping", 0),
		BOS:               f.id("bos_token_id"),
		Pad:               f.id("pad_token_id"),
		EOS:               f.ids("eos_token_id"),
		Temperature:       1, TopK: 64, TopP: 0.95,
		BidirectionalVision: f.text("use_bidirectional_attention", "") == "vision",
	}
	if c.PLEVocabSize = f.integer("vocab_size_per_layer_input", 262144); c.PLESize == 0 {
		c.PLEVocabSize = 0
	}
	c.SuppressTokens = keepIDs(f.ids("suppress_tokens"), c.VocabSize)
	// The reference looks at num_global_key_value_heads only where
	// attention_k_eq_v is set; without it full layers have as many kv heads as
	// sliding ones, whatever the key says.
	global := f.integer("num_global_key_value_heads", c.NumKVHeads)
	if c.NumGlobalKVHeads = global; !c.KEqV {
		c.NumGlobalKVHeads = c.NumKVHeads
	}
	if f.err == nil && inRange("", c.NumLayers, 1, maxLayers) == nil {
		layerFields(f, c)
		overrideFields(f, c)
	}
	expertFields(f, c)
	ropeFields(f, c)
	return c
}

// layerFields reads what varies by layer. NumLayers is known to be sane.
func layerFields(f *fields, c *Config) {
	if types := f.strings("layer_types"); types != nil {
		for l, t := range types {
			if t != "sliding_attention" && t != "full_attention" {
				f.fail("layer_types", fmt.Errorf("layer %d is %q", l, t))
				return
			}
			c.Sliding = append(c.Sliding, t == "sliding_attention")
		}
		if n := len(c.Sliding); n == c.NumLayers {
			c.Sliding[n-1] = false // the reference forces this too
		}
	} else {
		c.Sliding = defaultPattern(c.NumLayers)
	}
	ffn := f.integers("intermediate_size")
	if len(ffn) == 1 {
		ffn = slices.Repeat(ffn, c.NumLayers)
	}
	if f.boolean("use_double_wide_mlp", false) && c.NumKVSharedLayers > 0 {
		for l := max(0, c.FirstShared()); l < min(c.NumLayers, len(ffn)); l++ {
			if ffn[l] > 0 && ffn[l] <= maxFFN { // others fail validation as they are
				ffn[l] *= 2
			}
		}
	}
	c.IntermediateSize = ffn
}

// defaultPattern is the layer pattern of a config that names none: every sixth
// layer full, every fifth in a model of 35 layers (E2B), and always the last.
func defaultPattern(layers int) []bool {
	period := 6
	if layers == 35 {
		period = 5
	}
	return patternOf(layers, period)
}

// patternOf marks all layers but every period-th and the last as sliding.
func patternOf(layers, period int) []bool {
	sliding := make([]bool, layers)
	for l := range sliding {
		sliding[l] = (l+1)%period != 0 && l != layers-1
	}
	return sliding
}

// overrideFields reads per_layer_config, the newer spelling of
// global_head_dim and num_global_key_value_heads: {"4": {"head_dim": 512}}.
// It must say the same for every full layer and nothing for sliding ones.
func overrideFields(f *fields, c *Config) {
	layers := decode[map[string]json.RawMessage](f, "per_layer_config", nil)
	if len(layers) == 0 || len(c.Sliding) != c.NumLayers {
		return
	}
	dim, heads, full := 0, 0, 0
	for l := range c.NumLayers {
		data, ok := layers[strconv.Itoa(l)]
		if !ok {
			continue
		}
		o, err := parseFields(data)
		if err != nil {
			f.fail("per_layer_config", err)
			return
		}
		d, h := o.integer("head_dim", c.GlobalHeadDim), o.integer("num_key_value_heads", c.NumKVHeads)
		if o.err != nil || len(o.unknown()) > 0 || c.Sliding[l] || full > 0 && (d != dim || h != heads) {
			f.fail("per_layer_config", fmt.Errorf("layer %d: only one head_dim and num_key_value_heads for all full layers is supported", l))
			return
		}
		dim, heads, full = d, h, full+1
	}
	want := 0
	for _, s := range c.Sliding {
		if !s {
			want++
		}
	}
	if full != want || len(layers) != full {
		f.fail("per_layer_config", fmt.Errorf("%d entries, want one for each of the %d full layers", len(layers), want))
		return
	}
	c.GlobalHeadDim, c.NumGlobalKVHeads = dim, heads
}

func expertFields(f *fields, c *Config) {
	n, top := f.integer("num_experts", 0), f.integer("top_k_experts", 0)
	size := f.integer("moe_intermediate_size", f.integer("expert_intermediate_size", 0))
	if !f.boolean("enable_moe_block", false) {
		return
	}
	if n < 1 {
		f.fail("num_experts", fmt.Errorf("%d with enable_moe_block", n))
	}
	c.NumExperts, c.TopKExperts, c.ExpertSize = n, top, size
}

// ropeFields reads rope_parameters: one object per layer type.
func ropeFields(f *fields, c *Config) {
	c.RopeTheta, c.RopeThetaGlobal, c.PartialRotary = 10000, 1e6, 0.25
	data := f.object("rope_parameters")
	if data == nil {
		return
	}
	rope, err := parseFields(data)
	if err != nil {
		f.fail("rope_parameters", err)
		return
	}
	c.RopeTheta, _ = ropeType(rope, "sliding_attention", "default", c.RopeTheta, 1)
	c.RopeThetaGlobal, c.PartialRotary = ropeType(rope, "full_attention", "proportional", c.RopeThetaGlobal, c.PartialRotary)
	if extra := rope.unknown(); rope.err == nil && len(extra) > 0 {
		rope.err = fmt.Errorf("%s is not supported", extra[0])
	}
	if rope.err != nil {
		f.fail("rope_parameters", rope.err)
	}
}

// ropeType reads one layer type's object and refuses any other scheme.
func ropeType(rope *fields, layers, kind string, theta, share float64) (float64, float64) {
	data := rope.object(layers)
	if data == nil {
		return theta, share
	}
	r, err := parseFields(data)
	if err != nil {
		rope.fail(layers, err)
		return theta, share
	}
	if got := r.text("rope_type", kind); got != kind {
		rope.fail(layers, fmt.Errorf("rope_type %q is not supported, want %q", got, kind))
	}
	theta = r.number("rope_theta", theta)
	share = r.number("partial_rotary_factor", 1)
	if kind == "default" && share != 1 || r.number("factor", 1) != 1 {
		rope.fail(layers, errors.New("scaled rotation is not supported"))
	}
	if extra := r.unknown(); len(extra) > 0 {
		rope.fail(layers, fmt.Errorf("%s is not supported", extra[0]))
	}
	if r.err != nil {
		rope.fail(layers, r.err)
	}
	return theta, share
}

// applyGeneration adds generation_config.json: its end tokens join those of
// config.json, its sampling settings replace the defaults.
func (c *Config) applyGeneration(data []byte) error {
	f, err := parseFields(data)
	if err != nil {
		return fmt.Errorf("parse generation_config.json: %w", err)
	}
	c.EOS = addIDs(f.ids("eos_token_id"), c.EOS...)
	c.SuppressTokens = addIDs(c.SuppressTokens, keepIDs(f.ids("suppress_tokens"), c.VocabSize)...)
	if bos := f.id("bos_token_id"); c.BOS < 0 {
		c.BOS = bos
	}
	c.Temperature = f.number("temperature", c.Temperature)
	c.TopK = f.integer("top_k", c.TopK)
	c.TopP = f.number("top_p", c.TopP)
	if !f.boolean("do_sample", true) {
		c.Temperature = 0
	}
	if f.err != nil {
		return fmt.Errorf("parse generation_config.json: %w", f.err)
	}
	return nil
}
