// Package grammar says which tokens may come next, so that an answer has a given
// form by construction: a JSON Schema, a regular expression, any JSON, or a call
// of one of several tools in Gemma's own syntax.
//
// A Grammar is compiled from one of those. A Matcher follows one answer: Mask
// gives the ids that may come next, Accept takes the one that was chosen, CanEnd
// and MustEnd say whether the answer is complete. Text is looked at byte by byte,
// so tokens may begin and end anywhere, in the middle of a code point too.
//
// What it does not do: it samples nothing, knows no end token (CanEnd and MustEnd
// are for the caller), and parses no answer. It knows nothing of thoughts either:
// a caller that lets the model think first begins to mask, and to call Accept,
// with the first token behind the thought. The engine package is that caller.
//
// # How it works
//
// A grammar is a small program (program.go): literals, lexemes, choices, and
// calls of rules, which is what nesting and recursion become. A lexeme (the
// inside of a string, a number) is a finite automaton over bytes (dfa.go), built
// from one over code points (automaton.go) in which patterns, formats, lengths
// and numeric ranges are intersected. A matcher's state (state.go) is the set of
// places in the program that the text so far may have led to, each with its stack
// of unfinished rules. Stacks are shared, so alternatives that look alike cost
// the sum of their states, not the product.
//
// A mask is the union over those places. The vocabulary is a trie laid out in
// depth-first order (vocab.go); a lexeme's automaton runs over it and skips
// whole subtrees. What a lexeme admits depends on the automaton's state alone,
// except for tokens that reach beyond its end, so the former is computed once
// and kept (base.go), and only the few latter are followed through the stack
// (mask.go).
//
// # What is enforced, and how answers look
//
// Every answer is valid for the schema and, where there is a choice, in one
// plain form:
//   - properties come in the order of the schema (in calls: sorted regardless of
//     case, as the chat template sorts them), then additional ones;
//   - an object whose schema has properties and does not mention
//     additionalProperties is closed; one with neither is open;
//   - white space as Options.Whitespace says, always bounded: the default is one
//     space or none after ':' and ',';
//   - integers are written without fraction and exponent; a number that is not
//     bounded has at most 18 digits before the point, 15 behind it and 2 in the
//     exponent; a bounded one has no exponent. Bounded digits keep a model that
//     repeats itself from doing so forever;
//   - a string is valid UTF-8. A free one may use all escapes of JSON; one with a
//     pattern, format or enum escapes only what must be escaped;
//   - lengths count code points, patterns match anywhere unless anchored (the
//     expression of FromRegex matches the whole answer);
//   - a value lies within at most Options.MaxDepth arrays and objects; a greater
//     maxItems is lowered to 4,096;
//   - keys that the schema leaves open may repeat.
//
// oneOf is anyOf where no value can satisfy two branches, and an error where that
// cannot be shown. Two closed objects, each of which requires a property that the other
// does not name, are written without the other's. not and if hold for schemas of which
// every keyword has an opposite that can be enforced; the opposite of a oneOf is that none
// of its branches holds. uniqueItems needs items from a list of values; more than seven
// come in the order of that list. contains comes once. What cannot be enforced
// (maxContains, unevaluatedProperties, the opposite of multipleOf, …) is an error that
// names its place, annotations are ignored; so are the formats that Formats does not name.
//
// # Bounds
//
// Compilation is bounded in time and memory by the limits in limits.go; what
// exceeds them is ErrTooComplex. A Vocab keeps at most 64 MiB of masks, shared by
// all grammars, and drops those not used for longest. A state of more than 4,096
// places forgets the rest: fewer answers remain possible, all of them valid.
//
// # Ownership and goroutines
//
// A Vocab and a Grammar are safe for concurrent use and keep nothing of the
// slices they were made from. A Matcher belongs to one goroutine; its clones are
// independent of it.
package grammar
