package gemma

import (
	"fmt"
	"math"
	"slices"
)

// Config holds everything the text decoder needs to know about a model besides
// its weights. Field names are those of config.json in Go form; sizes count
// elements. It comes from [ReadConfig], [ParseConfig] or [ShapeConfig], which
// validate it, and is not changed afterwards, so it may be shared between
// goroutines.
type Config struct {
	// Name is the published shape this config matches ("E2B", "26B-A4B", …; a
	// truncated one reads "E2B, 6 layers"), or "" when it matches none. It is
	// for people: no code decides by it.
	Name string

	VocabSize         int // V: rows of the token embedding, which is also the output matrix
	PLEVocabSize      int // rows of the per-layer table; ids at or past it have no row
	HiddenSize        int // H
	NumLayers         int // L
	NumHeads          int // query heads, the same in every layer
	NumKVHeads        int // kv heads of sliding layers
	NumGlobalKVHeads  int // kv heads of full layers
	HeadDim           int // d of sliding layers
	GlobalHeadDim     int // d of full layers
	SlidingWindow     int // W: keys a sliding layer sees, its own included
	NumKVSharedLayers int // the last this many layers attend a donor's K and V
	PLESize           int // P: values per layer in a row of the table; 0 = no table
	MaxPositions      int // context the model was trained for

	IntermediateSize []int  // I per layer [L]
	Sliding          []bool // per layer [L]: true = sliding window, false = full attention

	KEqV        bool // full layers have no v projection: V is the raw k projection
	NumExperts  int  // 0 = no mixture of experts
	TopKExperts int
	ExpertSize  int // I of one expert

	RMSNormEps      float64
	FinalSoftcap    float64 // logits = c·tanh(z/c); 0 = none
	RopeTheta       float64 // sliding layers, all d dims
	RopeThetaGlobal float64 // full layers
	PartialRotary   float64 // share of a full layer's d that rotates, see RotaryPairs

	BOS            int32   // -1 when the model names none
	Pad            int32   // row used for soft tokens; -1 when the model names none
	EOS            []int32 // every id that ends generation, without duplicates
	SoftTokens     []int32 // placeholders of pictures, sound and video; without features they are read as Pad
	SuppressTokens []int32 // ids that must never be generated, all below VocabSize

	BidirectionalVision bool // soft tokens of one picture see each other on sliding layers

	// Generation defaults; Temperature 0 means greedy.
	Temperature float64
	TopK        int
	TopP        float64

	// Unknown lists the config.json keys, or the architecture's GGUF keys, that
	// this package does not know, sorted. They did not stop the model from opening, but a reader that
	// ignores a key may compute something else than its author meant.
	Unknown []string
}

// Bounds of a believable config. They keep every product of two or three sizes
// far from overflow and every allocation by count small, whatever a file says.
const (
	maxLayers     = 1024
	maxVocab      = 1 << 24
	maxHidden     = 1 << 17
	maxHeads      = 1 << 12
	maxHeadDim    = 1 << 13
	maxFFN        = 1 << 21
	maxPLE        = 1 << 14
	maxExperts    = 1 << 14
	maxPositions  = 1 << 30
	maxTokenLists = 1 << 12
)

// FirstShared is the first layer that owns no K and V; NumLayers when all do.
func (c *Config) FirstShared() int { return c.NumLayers - c.NumKVSharedLayers }

// Donor is the layer whose K and V layer l attends: l itself where it owns
// them, else the last owning layer of the same type.
func (c *Config) Donor(l int) int {
	if l < c.FirstShared() {
		return l
	}
	for d := c.FirstShared() - 1; d >= 0; d-- {
		if c.Sliding[d] == c.Sliding[l] {
			return d
		}
	}
	panic(fmt.Sprintf("gemma: internal error: layer %d has no donor", l))
}

// LayerHeadDim is d of layer l.
func (c *Config) LayerHeadDim(l int) int {
	if c.Sliding[l] {
		return c.HeadDim
	}
	return c.GlobalHeadDim
}

// LayerKVHeads is the number of kv heads of layer l.
func (c *Config) LayerKVHeads(l int) int {
	if c.Sliding[l] {
		return c.NumKVHeads
	}
	return c.NumGlobalKVHeads
}

// HasV reports whether layer l has a v projection of its own.
func (c *Config) HasV(l int) bool { return c.Sliding[l] || !c.KEqV }

// RotaryPairs is how many of a full layer's d/2 dimension pairs rotate; the
// others are left as they are (proportional RoPE).
func (c *Config) RotaryPairs() int {
	return rotaryPairs(c.PartialRotary, c.GlobalHeadDim)
}

func rotaryPairs(share float64, headDim int) int {
	return int(math.Floor(share * float64(headDim) / 2))
}

// RowValues is the number of values in one row of the per-layer table, L·P.
func (c *Config) RowValues() int { return c.NumLayers * c.PLESize }

// Validate reports the first thing that makes c unusable. Configs returned by
// this package's functions have passed it.
func (c *Config) Validate() error {
	for _, check := range []func() error{
		c.validateSizes, c.validateLayers, c.validateHeads, c.validateExperts,
		c.validateNumbers, c.validateTokens,
	} {
		if err := check(); err != nil {
			return fmt.Errorf("check config: %w", err)
		}
	}
	return nil
}

// inRange is the error of a size outside lo…hi.
func inRange(name string, v, lo, hi int) error {
	if v < lo || v > hi {
		return fmt.Errorf("%s %d, want %d to %d", name, v, lo, hi)
	}
	return nil
}

func (c *Config) validateSizes() error {
	for _, s := range []struct {
		name      string
		v, lo, hi int
	}{
		{"vocab_size", c.VocabSize, 1, maxVocab},
		{"hidden_size", c.HiddenSize, 1, maxHidden},
		{"num_hidden_layers", c.NumLayers, 1, maxLayers},
		{"num_attention_heads", c.NumHeads, 1, maxHeads},
		{"num_key_value_heads", c.NumKVHeads, 1, maxHeads},
		{"num_global_key_value_heads", c.NumGlobalKVHeads, 1, maxHeads},
		{"head_dim", c.HeadDim, 2, maxHeadDim},
		{"global_head_dim", c.GlobalHeadDim, 2, maxHeadDim},
		{"sliding_window", c.SlidingWindow, 1, maxPositions},
		{"num_kv_shared_layers", c.NumKVSharedLayers, 0, c.NumLayers - 1},
		{"hidden_size_per_layer_input", c.PLESize, 0, maxPLE},
		{"max_position_embeddings", c.MaxPositions, 1, maxPositions},
	} {
		if err := inRange(s.name, s.v, s.lo, s.hi); err != nil {
			return err
		}
	}
	if c.PLESize > 0 {
		return inRange("vocab_size_per_layer_input", c.PLEVocabSize, 1, maxVocab)
	}
	return nil
}

func (c *Config) validateLayers() error {
	if len(c.Sliding) != c.NumLayers {
		return fmt.Errorf("layer_types has %d entries, want %d", len(c.Sliding), c.NumLayers)
	}
	if len(c.IntermediateSize) != c.NumLayers {
		return fmt.Errorf("intermediate_size has %d entries, want %d", len(c.IntermediateSize), c.NumLayers)
	}
	for l, n := range c.IntermediateSize {
		if err := inRange(fmt.Sprintf("intermediate_size of layer %d", l), n, 1, maxFFN); err != nil {
			return err
		}
	}
	owners := c.Sliding[:c.FirstShared()]
	for l := c.FirstShared(); l < c.NumLayers; l++ {
		if !slices.Contains(owners, c.Sliding[l]) {
			return fmt.Errorf("layer %d (%s) shares K and V, but none of the %d layers that own them is %s",
				l, layerType(c.Sliding[l]), len(owners), layerType(c.Sliding[l]))
		}
	}
	return nil
}

func (c *Config) validateHeads() error {
	if c.NumHeads%c.NumKVHeads != 0 {
		return fmt.Errorf("num_attention_heads %d is not a multiple of num_key_value_heads %d", c.NumHeads, c.NumKVHeads)
	}
	if c.NumHeads%c.NumGlobalKVHeads != 0 {
		return fmt.Errorf("num_attention_heads %d is not a multiple of num_global_key_value_heads %d", c.NumHeads, c.NumGlobalKVHeads)
	}
	if c.HeadDim%2 != 0 || c.GlobalHeadDim%2 != 0 {
		return fmt.Errorf("head_dim %d and global_head_dim %d must be even", c.HeadDim, c.GlobalHeadDim)
	}
	return nil
}

func (c *Config) validateExperts() error {
	if c.NumExperts == 0 {
		return nil
	}
	if err := inRange("num_experts", c.NumExperts, 1, maxExperts); err != nil {
		return err
	}
	if err := inRange("top_k_experts", c.TopKExperts, 1, c.NumExperts); err != nil {
		return err
	}
	return inRange("moe_intermediate_size", c.ExpertSize, 1, maxFFN)
}

func (c *Config) validateNumbers() error {
	for _, s := range []struct {
		name      string
		v, lo, hi float64
	}{
		{"rms_norm_eps", c.RMSNormEps, 1e-30, 1},
		{"final_logit_softcapping", c.FinalSoftcap, 0, 1e9},
		{"rope_theta of sliding layers", c.RopeTheta, 1e-3, 1e15},
		{"rope_theta of full layers", c.RopeThetaGlobal, 1e-3, 1e15},
		{"partial_rotary_factor", c.PartialRotary, 0, 1},
		{"temperature", c.Temperature, 0, 1e6},
		{"top_p", c.TopP, 0, 1},
	} {
		if !(s.v >= s.lo && s.v <= s.hi) { // written so that NaN fails
			return fmt.Errorf("%s %g, want %g to %g", s.name, s.v, s.lo, s.hi)
		}
	}
	return inRange("top_k", c.TopK, 0, math.MaxInt32)
}

func (c *Config) validateTokens() error {
	if int64(c.BOS) >= int64(c.VocabSize) || c.BOS < -1 {
		return fmt.Errorf("bos_token_id %d is outside the vocabulary of %d", c.BOS, c.VocabSize)
	}
	if c.Pad < -1 {
		return fmt.Errorf("pad_token_id %d is negative", c.Pad)
	}
	if len(c.EOS) > maxTokenLists || len(c.SuppressTokens) > maxTokenLists {
		return fmt.Errorf("%d end and %d suppressed tokens, want at most %d", len(c.EOS), len(c.SuppressTokens), maxTokenLists)
	}
	for _, id := range c.EOS {
		if id < 0 {
			return fmt.Errorf("eos_token_id %d is negative", id)
		}
	}
	for _, id := range c.SuppressTokens {
		if id < 0 || int64(id) >= int64(c.VocabSize) {
			return fmt.Errorf("suppressed token %d is outside the vocabulary of %d", id, c.VocabSize)
		}
	}
	return nil
}

// layerType is the config.json name of a layer's attention.
func layerType(sliding bool) string {
	if sliding {
		return "sliding_attention"
	}
	return "full_attention"
}

// addIDs appends the ids that are not yet in list, keeping order.
func addIDs(list []int32, ids ...int32) []int32 {
	for _, id := range ids {
		if !slices.Contains(list, id) {
			list = append(list, id)
		}
	}
	return list
}

// keepIDs returns the ids that name a token of the vocabulary.
func keepIDs(ids []int32, vocab int) []int32 {
	var kept []int32
	for _, id := range ids {
		if id >= 0 && int64(id) < int64(vocab) {
			kept = addIDs(kept, id)
		}
	}
	return kept
}
