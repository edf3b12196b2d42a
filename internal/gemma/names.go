package gemma

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Key names a tensor of the text decoder independently of file dialects.
type Key uint8

// The tensors of the text decoder. Shapes are [out, in], row-major.
const (
	KeyEmbed       Key = iota // [V, H] token embedding, also the output matrix
	KeyNorm                   // [H] final norm
	KeyPLETable               // [PLEVocab, L·P]
	KeyPLEProj                // [L·P, H] hidden → every layer's PLE context
	KeyPLEProjNorm            // [P]

	KeyAttnNorm      // [H]
	KeyQ             // [heads·d, H]
	KeyQNorm         // [d]
	KeyK             // [kv heads·d, H]
	KeyKNorm         // [d]
	KeyV             // [kv heads·d, H]; none on full layers of k_eq_v models
	KeyO             // [H, heads·d]
	KeyPostAttnNorm  // [H]
	KeyFFNNorm       // [H]
	KeyGate          // [I, H]
	KeyUp            // [I, H]
	KeyDown          // [H, I]
	KeyPostFFNNorm   // [H]
	KeyLayerScalar   // [1]
	KeyPLEGate       // [P, H]
	KeyPLEOut        // [H, P]
	KeyPostPLENorm   // [H]
	KeyRouter        // [E, H]
	KeyRouterScale   // [H]
	KeyExpertScale   // [E]
	KeyExpertsGateUp // [E, 2·expert I, H]: an expert's gate rows, then its up rows
	KeyExpertsDown   // [E, H, expert I]
	KeyFFNNorm2      // [H] before the experts
	KeyPostFFNNorm1  // [H] after the dense FFN
	KeyPostFFNNorm2  // [H] after the experts
)

// String is the short name used in messages, e.g. "ffn_up".
func (k Key) String() string {
	for _, n := range names {
		if n.key == k {
			return n.short
		}
	}
	return "key " + strconv.Itoa(int(k))
}

// Role says what a tensor is for, in the words of `plume inspect`.
type Role string

// The roles. Norms include the layer scalars and the RoPE table; RoleEncoder is
// everything of the vision and audio parts; RoleOther is what this package
// does not know.
const (
	RolePLETable  Role = "ple table"
	RoleEmbedding Role = "embedding"
	RoleAttention Role = "attention"
	RoleFFN       Role = "ffn"
	RoleExperts   Role = "experts"
	RoleRouter    Role = "router"
	RoleNorm      Role = "norms"
	RolePLEProj   Role = "ple projection"
	RoleEncoder   Role = "encoders"
	RoleOther     Role = "other"
)

// Roles lists every role in the order in which reports show them.
func Roles() []Role {
	return []Role{RolePLETable, RoleEmbedding, RoleAttention, RoleFFN, RoleExperts, RoleRouter,
		RolePLEProj, RoleNorm, RoleEncoder, RoleOther}
}

// nameRow is one line of the name table. hf comes after "layers.N." and gguf
// after "blk.N." for tensors of a layer.
type nameRow struct {
	key             Key
	short, hf, gguf string
	role            Role
}

// names is the one table of tensor names. Where a dialect splits or renames a
// tensor, see splits.
var names = []nameRow{
	{KeyEmbed, "token_embd", "embed_tokens.weight", "token_embd.weight", RoleEmbedding},
	{KeyNorm, "output_norm", "norm.weight", "output_norm.weight", RoleNorm},
	{KeyPLEProjNorm, "per_layer_proj_norm", "per_layer_projection_norm.weight", "per_layer_proj_norm.weight", RoleNorm},
	{KeyPLEProj, "per_layer_model_proj", "per_layer_model_projection.weight", "per_layer_model_proj.weight", RolePLEProj},
	{KeyPLETable, "per_layer_token_embd", "embed_tokens_per_layer.weight", "per_layer_token_embd.weight", RolePLETable},

	{KeyAttnNorm, "attn_norm", "input_layernorm.weight", "attn_norm.weight", RoleNorm},
	{KeyQ, "attn_q", "self_attn.q_proj.weight", "attn_q.weight", RoleAttention},
	{KeyQNorm, "attn_q_norm", "self_attn.q_norm.weight", "attn_q_norm.weight", RoleNorm},
	{KeyK, "attn_k", "self_attn.k_proj.weight", "attn_k.weight", RoleAttention},
	{KeyKNorm, "attn_k_norm", "self_attn.k_norm.weight", "attn_k_norm.weight", RoleNorm},
	{KeyV, "attn_v", "self_attn.v_proj.weight", "attn_v.weight", RoleAttention},
	{KeyO, "attn_output", "self_attn.o_proj.weight", "attn_output.weight", RoleAttention},
	{KeyPostAttnNorm, "post_attention_norm", "post_attention_layernorm.weight", "post_attention_norm.weight", RoleNorm},
	{KeyFFNNorm, "ffn_norm", "pre_feedforward_layernorm.weight", "ffn_norm.weight", RoleNorm},
	{KeyGate, "ffn_gate", "mlp.gate_proj.weight", "ffn_gate.weight", RoleFFN},
	{KeyUp, "ffn_up", "mlp.up_proj.weight", "ffn_up.weight", RoleFFN},
	{KeyDown, "ffn_down", "mlp.down_proj.weight", "ffn_down.weight", RoleFFN},
	{KeyPostFFNNorm, "post_ffw_norm", "post_feedforward_layernorm.weight", "post_ffw_norm.weight", RoleNorm},
	{KeyLayerScalar, "layer_output_scale", "layer_scalar", "layer_output_scale.weight", RoleNorm},
	{KeyPLEGate, "inp_gate", "per_layer_input_gate.weight", "inp_gate.weight", RolePLEProj},
	{KeyPLEOut, "proj", "per_layer_projection.weight", "proj.weight", RolePLEProj},
	{KeyPostPLENorm, "post_norm", "post_per_layer_input_norm.weight", "post_norm.weight", RoleNorm},
	{KeyRouter, "ffn_gate_inp", "router.proj.weight", "ffn_gate_inp.weight", RoleRouter},
	{KeyRouterScale, "ffn_gate_inp.scale", "router.scale", "ffn_gate_inp.scale", RoleRouter},
	{KeyExpertScale, "ffn_down_exps.scale", "router.per_expert_scale", "ffn_down_exps.scale", RoleRouter},
	{KeyExpertsGateUp, "ffn_gate_up_exps", "experts.gate_up_proj", "ffn_gate_up_exps.weight", RoleExperts},
	{KeyExpertsDown, "ffn_down_exps", "experts.down_proj", "ffn_down_exps.weight", RoleExperts},
	{KeyFFNNorm2, "pre_ffw_norm_2", "pre_feedforward_layernorm_2.weight", "pre_ffw_norm_2.weight", RoleNorm},
	{KeyPostFFNNorm1, "post_ffw_norm_1", "post_feedforward_layernorm_1.weight", "post_ffw_norm_1.weight", RoleNorm},
	{KeyPostFFNNorm2, "post_ffw_norm_2", "post_feedforward_layernorm_2.weight", "post_ffw_norm_2.weight", RoleNorm},
}

// rowOf indexes names by key.
var rowOf = func() map[Key]nameRow {
	m := map[Key]nameRow{}
	for _, n := range names {
		m[n.key] = n
	}
	return m
}()

// RopeFreqs is the GGUF tensor that says which pairs of a full layer rotate: 1
// for those that do, 1e30 for the others [d/2]. Safetensors have no such
// tensor; Config.PartialRotary holds the same fact.
const RopeFreqs = "rope_freqs.weight"

// TensorSpec is one tensor that a model of some config has: where to find it
// and what it must look like.
type TensorSpec struct {
	Key   Key
	Layer int    // -1 for tensors that belong to no layer
	HF    string // full name in safetensors, without prefix: "layers.0.self_attn.q_proj.weight"
	GGUF  string // full name in GGUF: "blk.0.attn_q.weight"
	Shape []int  // row-major, outermost first; a row is the last axis
	Role  Role
	// Optional marks k_proj, k_norm and v_proj of KV-shared layers. Published
	// checkpoints carry them, the model never uses them, absence is fine.
	Optional bool
}

// String names the tensor in messages: "layers.7.ffn_up".
func (s TensorSpec) String() string {
	if s.Layer < 0 {
		return s.Key.String()
	}
	return fmt.Sprintf("layers.%d.%s", s.Layer, s.Key)
}

// Values is the number of elements.
func (s TensorSpec) Values() int64 {
	n := int64(1)
	for _, d := range s.Shape {
		n *= int64(d)
	}
	return n
}

// RowLen is the length of the last axis.
func (s TensorSpec) RowLen() int { return s.Shape[len(s.Shape)-1] }

// Spec describes one tensor of the model; layer is ignored for tensors that
// belong to none. It panics for a key the model does not have, see Tensors.
func (c *Config) Spec(key Key, layer int) TensorSpec {
	n, ok := rowOf[key]
	if !ok {
		panic(fmt.Sprintf("gemma: internal error: no such key %d", key))
	}
	s := TensorSpec{Key: key, Layer: -1, HF: n.hf, GGUF: n.gguf, Role: n.role}
	if key < KeyAttnNorm {
		s.Shape = c.globalShape(key)
		return s
	}
	s.Layer = layer
	s.HF = fmt.Sprintf("layers.%d.%s", layer, n.hf)
	s.GGUF = fmt.Sprintf("blk.%d.%s", layer, n.gguf)
	s.Shape = c.layerShape(key, layer)
	s.Optional = layer >= c.FirstShared() && (key == KeyK || key == KeyKNorm || key == KeyV)
	return s
}

func (c *Config) globalShape(key Key) []int {
	switch key {
	case KeyEmbed:
		return []int{c.VocabSize, c.HiddenSize}
	case KeyNorm:
		return []int{c.HiddenSize}
	case KeyPLETable:
		return []int{c.PLEVocabSize, c.RowValues()}
	case KeyPLEProj:
		return []int{c.RowValues(), c.HiddenSize}
	case KeyPLEProjNorm:
		return []int{c.PLESize}
	}
	panic(fmt.Sprintf("gemma: internal error: %s is a tensor of a layer", key))
}

func (c *Config) layerShape(key Key, l int) []int {
	h, d := c.HiddenSize, c.LayerHeadDim(l)
	switch key {
	case KeyQ:
		return []int{c.NumHeads * d, h}
	case KeyK, KeyV:
		return []int{c.LayerKVHeads(l) * d, h}
	case KeyO:
		return []int{h, c.NumHeads * d}
	case KeyQNorm, KeyKNorm:
		return []int{d}
	case KeyGate, KeyUp:
		return []int{c.IntermediateSize[l], h}
	case KeyDown:
		return []int{h, c.IntermediateSize[l]}
	case KeyLayerScalar:
		return []int{1}
	case KeyPLEGate:
		return []int{c.PLESize, h}
	case KeyPLEOut:
		return []int{h, c.PLESize}
	case KeyRouter:
		return []int{c.NumExperts, h}
	case KeyExpertScale:
		return []int{c.NumExperts}
	case KeyExpertsGateUp:
		return []int{c.NumExperts, 2 * c.ExpertSize, h}
	case KeyExpertsDown:
		return []int{c.NumExperts, h, c.ExpertSize}
	}
	return []int{h} // the norms over H and the router's scale
}

var (
	attnKeys = []Key{KeyAttnNorm, KeyQ, KeyQNorm, KeyK, KeyKNorm, KeyV, KeyO, KeyPostAttnNorm}
	ffnKeys  = []Key{KeyFFNNorm, KeyGate, KeyUp, KeyDown, KeyPostFFNNorm, KeyLayerScalar}
	pleKeys  = []Key{KeyPLEGate, KeyPLEOut, KeyPostPLENorm}
	moeKeys  = []Key{KeyRouter, KeyRouterScale, KeyExpertScale, KeyExpertsGateUp, KeyExpertsDown,
		KeyFFNNorm2, KeyPostFFNNorm1, KeyPostFFNNorm2}
)

// Tensors lists every text tensor of the model in canonical order: embedding,
// final norm, the PLE projection and its norm, the layers, and last the
// per-layer table, so that what stays in memory is one stretch of a file
// written in this order. Optional ones are included.
func (c *Config) Tensors() []TensorSpec {
	list := []TensorSpec{c.Spec(KeyEmbed, -1), c.Spec(KeyNorm, -1)}
	if c.PLESize > 0 {
		list = append(list, c.Spec(KeyPLEProj, -1), c.Spec(KeyPLEProjNorm, -1))
	}
	for l := range c.NumLayers {
		for _, key := range c.layerKeys(l) {
			list = append(list, c.Spec(key, l))
		}
	}
	if c.PLESize > 0 {
		list = append(list, c.Spec(KeyPLETable, -1))
	}
	return list
}

// layerKeys lists the tensors of layer l.
func (c *Config) layerKeys(l int) []Key {
	keys := slices.Concat(attnKeys, ffnKeys)
	if !c.HasV(l) {
		keys = slices.DeleteFunc(keys, func(k Key) bool { return k == KeyV })
	}
	if c.PLESize > 0 {
		keys = append(keys, pleKeys...)
	}
	if c.NumExperts > 0 {
		keys = append(keys, moeKeys...)
	}
	return keys
}

// Prefixes are what may stand before a text tensor's name in safetensors,
// longest first.
var prefixes = []string{"model.language_model.", "language_model.model.", "language_model.", "model.", ""}

// trimPrefix removes the longest matching prefix.
func trimPrefix(name string) string {
	for _, p := range prefixes {
		if rest, ok := strings.CutPrefix(name, p); ok {
			return rest
		}
	}
	return name
}
