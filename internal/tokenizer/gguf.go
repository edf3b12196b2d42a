package tokenizer

import (
	"errors"
	"fmt"
	"math"
)

// Keys looks up the metadata of a GGUF file; each method reports false for a
// key that is absent or of another type.
type Keys interface {
	Uint(key string) (uint64, bool)
	String(key string) (string, bool)
	Strings(key string) ([]string, bool)
	Ints(key string) ([]int64, bool)
}

// SpecFromKeys reads the tokenizer.ggml.* keys of a GGUF file, in llama.cpp's
// form (model "gemma4") or ollama's (model "llama", pre "gemma4"): the same
// data. Scores are ignored. tokenizer.ggml.add_bos_token is ignored too:
// early files say false by mistake, and every Gemma prompt begins with BOS.
// The strings are shared with what k returned.
func SpecFromKeys(k Keys) (Spec, error) {
	spec, err := specFromKeys(k)
	if err != nil {
		return Spec{}, fmt.Errorf("read tokenizer keys: %w", err)
	}
	return spec, nil
}

func specFromKeys(k Keys) (Spec, error) {
	const prefix = "tokenizer.ggml."
	model, ok := k.String(prefix + "model")
	pre, _ := k.String(prefix + "pre")
	if !ok {
		return Spec{}, errors.New("tokenizer.ggml.model is missing")
	}
	if model != "gemma4" && !(model == "llama" && pre == "gemma4") {
		return Spec{}, fmt.Errorf("model %q with pre %q is not supported, want gemma4", model, pre)
	}
	s := Spec{AddBOS: true}
	if s.Tokens, ok = k.Strings(prefix + "tokens"); !ok {
		return Spec{}, errors.New("tokenizer.ggml.tokens is missing")
	}
	if s.Merges, ok = k.Strings(prefix + "merges"); !ok {
		return Spec{}, errors.New("tokenizer.ggml.merges is missing")
	}
	types, ok := k.Ints(prefix + "token_type")
	if !ok {
		return Spec{}, errors.New("tokenizer.ggml.token_type is missing")
	}
	s.Kinds = make([]Kind, len(types))
	for i, t := range types {
		if t < int64(Normal) || t > int64(Byte) {
			return Spec{}, fmt.Errorf("token %d: type %d is unknown", i, t)
		}
		s.Kinds[i] = Kind(t)
	}
	for _, id := range []struct {
		key string
		to  *int32
	}{
		{"bos_token_id", &s.BOS}, {"eos_token_id", &s.EOS},
		{"unknown_token_id", &s.Unknown}, {"padding_token_id", &s.Pad},
	} {
		*id.to = -1
		if v, ok := k.Uint(prefix + id.key); ok {
			if v > math.MaxInt32 || int(v) >= len(s.Tokens) {
				return Spec{}, fmt.Errorf("%s %d is not in the vocabulary of %d", id.key, v, len(s.Tokens))
			}
			*id.to = int32(v)
		}
	}
	return s, nil
}
