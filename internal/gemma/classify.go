package gemma

import "strings"

// Classify says what the tensor called name is for, whatever the dialect
// (safetensors with any prefix, GGUF of llama.cpp or ollama, mmproj files).
// Names it does not know are RoleOther.
func Classify(name string) Role {
	if isEncoder(name) {
		return RoleEncoder
	}
	name = trimPrefix(name)
	switch name {
	case RopeFreqs:
		return RoleNorm
	case "lm_head.weight", "output.weight":
		return RoleEmbedding // a copy of the tied embedding
	}
	rest, inLayer := layerRest(name)
	for _, n := range names {
		if (n.key >= KeyAttnNorm) == inLayer && (rest == n.hf || rest == n.gguf) {
			return n.role
		}
	}
	if inLayer && isExpertForm(rest) {
		return RoleExperts
	}
	return RoleOther
}

// layerRest cuts "layers.N." or "blk.N." off a name.
func layerRest(name string) (rest string, inLayer bool) {
	for _, p := range []string{"layers.", "blk."} {
		after, ok := strings.CutPrefix(name, p)
		if !ok {
			continue
		}
		number, rest, ok := strings.Cut(after, ".")
		if ok && number != "" && strings.Trim(number, "0123456789") == "" {
			return rest, true
		}
	}
	return name, false
}

// isEncoder recognises the vision and audio parts: towers, embedders and
// projectors, in safetensors (the leading "model." may be missing) and GGUF.
func isEncoder(name string) bool {
	for _, p := range []string{"v.", "a.", "mm."} {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	name = strings.TrimPrefix(name, "model.")
	for _, p := range []string{"vision_tower.", "audio_tower.", "embed_vision.", "embed_audio.",
		"vision_embedder.", "audio_embedder.", "multi_modal_projector."} {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}

// isExpertForm recognises the split forms of the expert matrices, see pieces.
func isExpertForm(rest string) bool {
	for _, p := range []string{"experts.", "ffn_gate_exps.", "ffn_up_exps.", "ffn_gate_up_exps.", "ffn_down_exps."} {
		if strings.HasPrefix(rest, p) {
			return true
		}
	}
	return false
}
