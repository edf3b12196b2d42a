// Package chat turns messages into the exact prompt Gemma 4 was trained on, and
// the ids the model answers with back into text, thoughts and tool calls.
//
// Rendering follows the canonical chat template (published 2026-07-09) to the
// letter, its two variants and its corners included, so that a prompt equals
// what transformers builds from the same messages. Where the template would
// raise an error or silently drop malformed input, Render and the decoders
// return an error instead. Values are printed as Python prints them, because
// that is what the template does.
//
// Parsing works on token ids: the delimiters are tokens, and the same characters
// spelled with ordinary tokens are text. They are found by their text in the
// vocabulary at hand; a vocabulary that lacks some never matches them. A Parser
// takes any sequence of ids at all.
//
// The package loads no model, decodes no pictures or sound (media parts become
// placeholders) and does not decide when to stop; StopIDs only says which ids
// mean it. The root package and the engine call it. Everything but Parser is
// stateless and safe for concurrent use; a Parser belongs to one goroutine.
// Values returned own their memory, except where a comment says otherwise.
package chat
