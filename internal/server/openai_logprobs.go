package server

import "github.com/plume-run/plume"

// logprobsJSON is the form of chat completions.
type logprobsJSON struct {
	Content []tokenLogprob `json:"content"`
	Refusal *string        `json:"refusal"`
}

// tokenLogprob is one token. Its bytes are told apart because a token may be
// part of a character.
type tokenLogprob struct {
	Token   string          `json:"token"`
	Logprob float64         `json:"logprob"`
	Bytes   []int           `json:"bytes"`
	Top     *[]tokenLogprob `json:"top_logprobs,omitempty"`
}

func newLogprobs(tokens []plume.TokenLogprob) *logprobsJSON {
	return &logprobsJSON{Content: tokenLogprobs(tokens)}
}

func tokenLogprobs(tokens []plume.TokenLogprob) []tokenLogprob {
	out := make([]tokenLogprob, len(tokens))
	for i, t := range tokens {
		out[i] = newTokenLogprob(t)
		top := make([]tokenLogprob, len(t.Top))
		for k, alternative := range t.Top {
			top[k] = newTokenLogprob(alternative)
		}
		out[i].Top = &top
	}
	return out
}

func newTokenLogprob(t plume.TokenLogprob) tokenLogprob {
	bytes := make([]int, len(t.Text))
	for i := range len(t.Text) {
		bytes[i] = int(t.Text[i])
	}
	return tokenLogprob{Token: validText(t.Text), Logprob: t.Logprob, Bytes: bytes}
}

// legacyLogprobs is the form of completions.
type legacyLogprobs struct {
	Tokens   []string             `json:"tokens"`
	Logprobs []float64            `json:"token_logprobs"`
	Top      []map[string]float64 `json:"top_logprobs"`
	Offsets  []int                `json:"text_offset"`
}

// newLegacyLogprobs describes tokens whose text begins at byte offset.
func newLegacyLogprobs(tokens []plume.TokenLogprob, offset int) *legacyLogprobs {
	out := &legacyLogprobs{Tokens: []string{}, Logprobs: []float64{}, Top: []map[string]float64{}, Offsets: []int{}}
	for _, t := range tokens {
		top := map[string]float64{}
		for _, alternative := range t.Top {
			top[validText(alternative.Text)] = alternative.Logprob
		}
		out.Tokens = append(out.Tokens, validText(t.Text))
		out.Logprobs = append(out.Logprobs, t.Logprob)
		out.Top = append(out.Top, top)
		out.Offsets = append(out.Offsets, offset)
		offset += len(t.Text)
	}
	return out
}
