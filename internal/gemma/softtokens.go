package gemma

import (
	"slices"

	"github.com/plume-run/plume/internal/checkpoint"
)

// SoftTokensKey is the GGUF key under which the placeholder ids of a model are
// kept, since a file without a vocabulary has no other way to name them.
const SoftTokensKey = "plume.soft_token_ids"

// softTexts are the placeholders' texts in the vocabulary.
var softTexts = []string{"<|image|>", "<|audio|>", "<|video|>"}

// softKeys name the placeholders of pictures, sound and video in config.json, and
// publishedSoft is what they are in the released models.
var (
	softKeys      = []string{"image_token_id", "audio_token_id", "video_token_id"}
	publishedSoft = []int32{258880, 258881, 258884}
)

// softTokens reads the placeholder ids of a multimodal config.json. Where it
// names none, the published ids hold; in a vocabulary too small for those the
// last three ids stand for image, audio and video, as the reference outputs of
// the tiny models show.
func softTokens(top *fields, vocab int) []int32 {
	var out []int32
	for i, key := range softKeys {
		id := top.id(key)
		if id < 0 {
			if id = publishedSoft[i]; int(id) >= vocab {
				id = int32(vocab - 1 - i)
			}
		}
		if id >= 0 && int(id) < vocab {
			out = addIDs(out, id)
		}
	}
	return out
}

// ggufSoftTokens finds the placeholder ids of a GGUF file: under our own key, or
// by their texts in its vocabulary.
func ggufSoftTokens(meta checkpoint.Meta, vocab int) []int32 {
	var out []int32
	if ids, ok := meta.Ints(SoftTokensKey); ok {
		for _, id := range ids {
			if id >= 0 && id < int64(vocab) && len(out) < maxTokenLists {
				out = addIDs(out, int32(id))
			}
		}
		return out
	}
	tokens, _ := meta.Strings("tokenizer.ggml.tokens")
	for id, text := range tokens[:min(len(tokens), vocab)] {
		if slices.Contains(softTexts, text) {
			out = append(out, int32(id))
		}
	}
	return out
}
