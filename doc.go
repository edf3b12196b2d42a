// Package plume runs Gemma 4 where memory is short: weights that need
// arithmetic live in memory, the per-layer embedding table of the E models
// stays in the file, and its rows are read while they are not yet needed.
//
//	m, err := plume.Open("gemma-4-e2b-q4_0.gguf", plume.Options{})
//	s, err := m.NewSession(plume.SessionOptions{})
//	for ev, err := range s.Generate(ctx, plume.Request{Prompt: "Why is the sky blue?"}) {
//		…
//	}
//
// This package is the whole public API. It opens models, renders
// conversations, generates, scores texts, and downloads models by name ([Hub]);
// it has no server and no command line (see cmd/plume), converts no files (see internal/convert
// and `plume convert`), and does not look at pictures or sound yet.
//
// A [Model], a [Tokenizer] and a [Service] may be shared by goroutines; a [Session]
// belongs to one at a time. A Model owns its weights until Close; events, texts and
// errors belong to the caller; rows of logits and hidden states handed to
// callbacks are lent for the call.
package plume
