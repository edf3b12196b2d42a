// Package tokenizer turns text into token ids and ids back into text, for the
// one scheme Gemma uses: byte-fallback BPE over code points, merged strictly
// by rank, with spaces written as '▁' (U+2581) and no other normalisation.
//
// A vocabulary comes from a Hugging Face tokenizer.json ([ParseSpec]) or from
// the keys of a GGUF file ([SpecFromKeys]); both give a [Spec], and [New]
// checks it and builds the tables. The two sources give the same ids.
//
// What it does not do: it renders no chat template, adds no BOS (whoever
// builds a prompt does), ignores SentencePiece scores, and refuses any
// tokenizer.json that asks for another pipeline (NFKC, regular-expression
// splits, stripping) rather than encoding differently from its author.
//
// Callers are the chat, engine and convert packages and the public API.
//
// # How encoding works
//
// Text is cut at special tokens (leftmost, then longest), then between two
// code points x, y wherever no merge of the vocabulary has a left part ending
// in x and a right part beginning with y: no merge can ever cross such a
// place, so the cut changes nothing and each piece can be looked up in a
// cache of pieces met before. The set of crossing pairs is computed from the
// merges at load; nothing is assumed about words, digits or newlines.
// A piece that is not cached is merged by scanning for the lowest rank when it
// is short, and with a heap over a linked list when it is long, so the worst
// case (megabytes of one letter) is O(n log n).
//
// # Invalid input
//
// A byte that is not part of valid UTF-8 is encoded as U+FFFD, one for each
// such byte. That is what encoding/json does to the same bytes, so the
// library, the command line and the server agree; the reference tokenizer
// cannot be given such text at all.
//
// # Ownership and goroutines
//
// A [Tokenizer] is immutable and safe for concurrent use. It keeps nothing of
// the Spec it was built from except what it copied. Strings it returns are
// parts of its own tables; they stay valid for as long as they are referenced
// (and keep the tables alive). Scratch memory, the piece cache included,
// lives in a sync.Pool: bounded for each running Encode, freed when idle.
// A [Decoder] belongs to one goroutine.
package tokenizer
