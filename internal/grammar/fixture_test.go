package grammar

import (
	"compress/gzip"
	"fmt"
	"io"
	"math/bits"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/plume-run/plume/internal/tokenizer"
)

// The vocabularies of the tokenizer's own tests.
var (
	demoVocab  = sync.OnceValue(func() *Vocab { return NewVocab(loadTokenizer("demo-tokenizer.json.gz")) })
	gemmaVocab = sync.OnceValue(func() *Vocab { return NewVocab(loadTokenizer("gemma4-tokenizer.json.gz")) })
	tinyVocab  = sync.OnceValue(func() *Vocab { return NewVocab(tinyTokenizer()) })
)

func loadTokenizer(name string) *tokenizer.Tokenizer {
	f, err := os.Open("../tokenizer/testdata/" + name)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		panic(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		panic(err)
	}
	spec, err := tokenizer.ParseSpec(b)
	if err != nil {
		panic(err)
	}
	return newTokenizer(spec)
}

func newTokenizer(spec tokenizer.Spec) *tokenizer.Tokenizer {
	tok, err := tokenizer.New(spec)
	if err != nil {
		panic(err)
	}
	return tok
}

// tinyTokenizer has the byte tokens, the delimiters, and few pieces that are
// chosen to cross the borders of JSON's parts in every way.
func tinyTokenizer() *tokenizer.Tokenizer {
	tokens := []string{"<pad>", "<eos>", "<bos>", "<unk>", "<|tool_call>", "<tool_call|>", `<|"|>`, "<|tool_response>", "<turn|>"}
	special := []int32{0, 1, 2, 3, 4, 5, 6, 7, 8}
	for b := range 256 {
		tokens = append(tokens, strings.ToUpper("<0x"+string("0123456789abcdef"[b>>4])+string("0123456789abcdef"[b&15])+">"))
		tokens[len(tokens)-1] = strings.Replace(tokens[len(tokens)-1], "<0X", "<0x", 1)
	}
	for c := byte(33); c < 127; c++ {
		tokens = append(tokens, string(c))
	}
	tokens = append(tokens, strings.Fields(`▁ ▁▁ {" "} ": ":" "," ", {} [] }} ]] [[ [[[[ }, ], ":{ ":[ [" "] }]} "}, ":" \" \\ \n \u \u0 00 12 123 0. .5 1e e+ -1 ab abc aa aaaa
		true false null tr ue, nu ll} lse é ü 日本 日 本 😀 éé "name "name": "id": name id name": \", call: call:get get_weather{ {city: city: , :12 3} ▁"a ":▁ ,▁" \/ \u00e9 d83d \ude00`)...)
	tokens = append(tokens, "\n", "\n▁▁", "\t", "{\n")
	seen := map[string]bool{}
	spec := tokenizer.Spec{Special: special, BOS: 2, EOS: 1, Unknown: 3, Pad: 0}
	for _, t := range tokens {
		if !seen[t] {
			seen[t] = true
			spec.Tokens = append(spec.Tokens, t)
		}
	}
	return newTokenizer(spec)
}

// ids lists the ids a matcher's mask allows.
func ids(m *Matcher, mask []uint64) []int32 {
	m.Mask(mask)
	var out []int32
	for i, w := range mask {
		for ; w != 0; w &= w - 1 {
			out = append(out, int32(i*64+bits.TrailingZeros64(w)))
		}
	}
	return out
}

// walk lets rng choose tokens until the answer ends, and returns them. It fails
// the test if the walk gets stuck. Tokens that bring the end near are preferred,
// the more so the longer the answer is.
func walk(t testing.TB, m *Matcher, rng *rand.Rand) []int32 {
	t.Helper()
	var out []int32
	mask := make([]uint64, m.v.words)
	for n := 0; ; n++ {
		if m.MustEnd() || m.CanEnd() && rng.IntN(4) == 0 {
			return out
		}
		may := ids(m, mask)
		if len(may) == 0 {
			if m.CanEnd() {
				t.Fatalf("no token is allowed behind %q, but MustEnd is false", m.v.tok.Decode(out))
			}
			t.Fatalf("stuck behind %q", m.v.tok.Decode(out))
		}
		id := may[rng.IntN(len(may))]
		if n > 20 {
			id = preferEnd(m, may, rng, 8+n/8)
		}
		if err := m.Accept(id); err != nil {
			t.Fatalf("behind %q the mask allows %d: %v", m.v.tok.Decode(out), id, err)
		}
		out = append(out, id)
		if n > 20_000 {
			t.Fatalf("no end after %d tokens: %q", n, m.v.tok.Decode(out))
		}
	}
}

// preferEnd chooses a closing token if one is allowed: within a string, where
// letters are, its quote, elsewhere a bracket.
func preferEnd(m *Matcher, may []int32, rng *rand.Rand, often int) int32 {
	allowed := func(text string) (int32, bool) {
		id, ok := m.v.tok.ID(text)
		if !ok && len(text) == 1 {
			id, ok = m.v.tok.ID(fmt.Sprintf("<0x%02X>", text[0]))
		}
		if !ok {
			return 0, false
		}
		_, ok = slices.BinarySearch(may, id)
		return id, ok
	}
	order := []string{`<|"|>`, "<tool_call|>", "}", "]", `"`}
	_, letters := allowed("h")
	_, spaces := allowed("▁")
	switch {
	case m.g.p.nodes[m.g.p.start].op == opToken: // a call: '"' is a letter
		order = []string{`<|"|>`, "<tool_call|>"}
		if letters && !spaces {
			order = append(order, ":")
		} else if !letters {
			order = append(order, "}", "]")
		}
	case letters && spaces:
		order = []string{`<|"|>`, `"`}
	case letters: // in a string with a pattern, or a free key
		order = []string{`<|"|>`, `"`, ":"}
	}
	for _, text := range order {
		if id, ok := allowed(text); ok && rng.IntN(often) > 0 {
			return id
		}
	}
	return may[rng.IntN(len(may))]
}

// accept takes the tokens of text, by the tokenizer's own cutting.
func accept(m *Matcher, text string) error {
	for _, id := range m.v.tok.Encode(nil, text, false) {
		if err := m.Accept(id); err != nil {
			return err
		}
	}
	return nil
}
