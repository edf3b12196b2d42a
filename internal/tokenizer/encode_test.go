package tokenizer

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestGoldens(t *testing.T) {
	tok := gemma()
	all := readGoldens(t)
	if len(all) < 200 {
		t.Fatalf("%d goldens, want at least 200", len(all))
	}
	for _, g := range all {
		if got := tok.Encode(nil, g.Text, true); !slices.Equal(got, g.IDs) {
			t.Errorf("encode %q\n got %v\nwant %v", g.Text, got, g.IDs)
		}
		if got := tok.Decode(g.IDs); got != g.Decoded {
			t.Errorf("decode %v\n got %q\nwant %q", g.IDs, got, g.Decoded)
		}
	}
}

// TestHuggingFace holds what the reference implementation made of random
// texts and random ids (runs of byte tokens included).
func TestHuggingFace(t *testing.T) {
	var file map[string]struct{ Encode, Decode []golden }
	if err := json.Unmarshal(unpack("hf-random.json.gz"), &file); err != nil {
		t.Fatal(err)
	}
	for name, f := range fixtures() {
		t.Run(name, func(t *testing.T) {
			f, want := f(), file[name]
			if len(want.Encode) < 500 || len(want.Decode) < 500 {
				t.Fatalf("%d and %d cases, want 500 of each", len(want.Encode), len(want.Decode))
			}
			for _, g := range want.Encode {
				if got := f.Encode(nil, g.Text, true); !slices.Equal(got, g.IDs) {
					t.Errorf("encode %q\n got %v\nwant %v", g.Text, got, g.IDs)
				}
			}
			for _, g := range want.Decode {
				if got := f.Decode(g.IDs); got != g.Decoded {
					t.Errorf("decode %v\n got %q\nwant %q", g.IDs, got, g.Decoded)
				}
			}
		})
	}
}

// TestSpecVectors are the examples of the model specification.
func TestSpecVectors(t *testing.T) {
	tests := []struct {
		name, text string
		ids        []int32
	}{
		{"words", "Hello world", []int32{9259, 1902}},
		{"spaces", "  two  spaces", []int32{138, 13498, 138, 35220}},
		{"newlines", "a\n\nb\n\n\nc", []int32{236746, 108, 236763, 109, 236755}},
		{"tabs", "\t\ttab", []int32{255969, 4823}},
		{"digits", "1234567", []int32{236770, 236778, 236800, 236812, 236810, 236825, 236832}},
		{"crlf", "\r\n", []int32{251, 107}},
		{"nbsp", "\u00a0x", []int32{432, 398, 236781}},
		{"hieroglyph", "\U00013000", []int32{478, 385, 366, 366}},
		{"tags are text", "<table><tr>", []int32{236820, 5127, 1798, 1168, 236813}},
		{"strike-through is text", "</s>", []int32{954, 236751, 236813}},
		{"code", "def f(x):\n    return x**2\n", []int32{2063, 517, 236769, 236781, 1473, 107, 140, 2060, 1123, 1018, 236778, 107}},
		{"turn", "<|turn>user\nHi<turn|>\n<|turn>model\n", []int32{105, 2364, 107, 10979, 106, 107, 105, 4368, 107}},
		{"call", `<|tool_call>call:get_weather{city:<|"|>Paris<|"|>}<tool_call|>`,
			[]int32{48, 6639, 236787, 828, 236779, 19323, 236782, 13319, 236787, 52, 50429, 52, 236783, 49}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := gemma().Encode(nil, tt.text, true); !slices.Equal(got, tt.ids) {
				t.Errorf("got %v, want %v", got, tt.ids)
			}
		})
	}
}

// alphabets are what random text is drawn from: every way found to make the
// cuts, the cache and the two mergers disagree.
var alphabets = []struct {
	name  string
	parts []string
}{
	{"spaces", []string{" ", "  ", "▁", "\n", "\t", "\r", "a", ">", "<", "</", "\u00a0", "\u3000"}},
	{"markup", []string{"<", ">", "/", "|", " ", "</", "> </", "<0x41>", "<0x4", "1>", "table", "<|turn>", "<turn|>", "<|tool", "<|tool_call>", `<|"|>`, "<bos>", "eos>", "\n"}},
	{"letters", strings.Split("e t a o i n s h r d l u ' - . , A T", " ")},
	{"words", []string{" the", " of", "ing", "tion", " un", "ex", "'s", "don't", " 12", "3.5", ",", ".", "\n", "I", " a", "naïve", "straße"}},
	{"code", []string{"{", "}", "(", ")", ";", "==", "=", "//", "    ", "\n", "\t", "x", "func", "_", "0", "[]", "\"", "\\", "<", ">"}},
	{"scripts", []string{"д", "при", "вет", "日", "本", "語", "テ", "스", "트", "ع", "مر", "ש", "न", "म", "स्", "ते", "ไ", "ท", "ก", " ", "。", "１"}},
	{"emoji", []string{"🙂", "👩", "\u200d", "👧", "🇯", "🇵", "\ufe0f", "❤", "🏽", " ", "é", "e\u0301", "a\u0308\u0323", "\u0300"}},
	{"rare", []string{"\U00013000", "\U0010ffff", "\u0000", "\u0001", "\u007f", "\u0080", "\ufffd", "\ufeff", "\u2028", "\ue000", "a"}},
	{"invalid", []string{"\xff", "\xc3", "\xe2\x96", "\xe2\x96\x81", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc0\xaf", "a", " ", "é", "\x80"}},
}

func randomText(rng *rand.Rand, parts []string, n int) string {
	var b strings.Builder
	for range n {
		p := parts[rng.IntN(len(parts))]
		for range 1 + rng.IntN(2)*rng.IntN(2)*rng.IntN(9) {
			b.WriteString(p)
		}
	}
	return b.String()
}

// randomRunes draws code points of every plane, often near each other.
func randomRunes(rng *rand.Rand, n int) string {
	var b strings.Builder
	base := rng.IntN(0x3000)
	if rng.IntN(4) == 0 {
		base = rng.IntN(0x110000)
	}
	for range n {
		if rng.IntN(20) == 0 {
			base = rng.IntN(0x20000)
		}
		b.WriteRune(rune(base + rng.IntN(60)))
	}
	return b.String()
}

func checkEncode(tb testing.TB, f *fixture, text string, special bool) {
	tb.Helper()
	got, want := f.Encode(nil, text, special), f.ref.encode(text, special)
	if !slices.Equal(got, want) {
		tb.Fatalf("encode %q (special %v)\n got %v\nwant %v", text, special, got, want)
	}
	if got, want := f.Decode(got), f.ref.decode(want); got != want {
		tb.Fatalf("decode %v\n got %q\nwant %q", want, got, want)
	}
}

func fixtures() map[string]func() *fixture {
	return map[string]func() *fixture{"gemma": gemma, "demo": demo}
}

func TestEncodeMatchesReference(t *testing.T) {
	for name, f := range fixtures() {
		t.Run(name, func(t *testing.T) {
			f := f()
			rng := rand.New(rand.NewPCG(1, 2))
			for i := range 500 {
				for _, a := range alphabets {
					checkEncode(t, f, randomText(rng, a.parts, rng.IntN(40)), i%2 == 0)
				}
				checkEncode(t, f, randomRunes(rng, rng.IntN(40)), false)
				var mixed strings.Builder
				for range rng.IntN(8) {
					mixed.WriteString(randomText(rng, alphabets[rng.IntN(len(alphabets))].parts, rng.IntN(5)))
				}
				checkEncode(t, f, mixed.String(), true)
			}
		})
	}
}

// TestEncodeLongPieces goes through the heap: pieces longer than maxScan.
func TestEncodeLongPieces(t *testing.T) {
	for name, f := range fixtures() {
		t.Run(name, func(t *testing.T) {
			f := f()
			rng := rand.New(rand.NewPCG(3, 4))
			for _, s := range []string{" ", "\n", "\t", "a", "A", "e", "=", "-", "9", "ha", "日", "é", "ー", "🙂", "\u0301", " \n", "ab"} {
				for _, n := range []int{30, 31, 32, 33, 47, 48, 49, 50, 64, 97, 200 + rng.IntN(300)} {
					checkEncode(t, f, strings.Repeat(s, n), false)
					checkEncode(t, f, "x"+strings.Repeat(s, n)+" y", false)
				}
			}
			letters := alphabets[2].parts[:12]
			for range 60 {
				checkEncode(t, f, randomText(rng, letters, 60+rng.IntN(400)), false)
			}
		})
	}
}

// TestEncodeVocabulary encodes every piece of the vocabulary as text.
func TestEncodeVocabulary(t *testing.T) {
	f := gemma()
	step := int32(29)
	if testing.Short() {
		step = 101
	}
	for id := int32(0); int(id) < f.Len(); id += step {
		checkEncode(t, f, f.Piece(id), false)
	}
}

// TestMergersAgree compares the scanning merger with the heap on equal input.
func TestMergersAgree(t *testing.T) {
	f := demo()
	rng := rand.New(rand.NewPCG(5, 6))
	for range 2000 {
		var ids []int32
		for _, r := range randomText(rng, alphabets[rng.IntN(len(alphabets))].parts, 1+rng.IntN(40)) {
			ids = f.appendRune(ids, r)
		}
		rank := make([]uint32, len(ids))
		for i := range len(ids) - 1 {
			rank[i] = f.merges.rank(ids[i], ids[i+1])
		}
		rank[len(ids)-1] = noRank
		heap := f.mergeHeap(new(scratch), nil, slices.Clone(ids), slices.Clone(rank))
		if scan := f.mergeScan(ids, rank); !slices.Equal(scan, heap) {
			t.Fatalf("scan %v, heap %v", scan, heap)
		}
	}
}

// TestEncodeWorstCase: a megabyte that is one piece must not take quadratic
// time, which would be hours; the limit leaves room for slow machines.
func TestEncodeWorstCase(t *testing.T) {
	tok := gemma()
	for i, s := range []string{"a", " ", "ab", "日", "<"} {
		n := 1 << 20
		if i > 0 {
			n >>= 2
		}
		text := strings.Repeat(s, n/len(s))
		start := time.Now()
		ids := tok.Encode(nil, text, true)
		took := time.Since(start)
		if got := tok.Decode(ids); got != text {
			t.Errorf("%q repeated: round trip changed the text", s)
		}
		t.Logf("%q × %d: %d ids in %v", s, len(text), len(ids), took)
		if took > 20*time.Second {
			t.Errorf("%q repeated: took %v", s, took)
		}
	}
}

func TestEncodeSpecial(t *testing.T) {
	f := gemma()
	turn, _ := f.ID("<|turn>")
	tests := []struct {
		name, text string
		special    bool
		want       []int32
	}{
		{"on", "<|turn>", true, []int32{turn}},
		{"twice", "<|turn><|turn>", true, []int32{turn, turn}},
		{"cut short", "<|turn", true, f.ref.plain(nil, "<|turn")},
		{"off", "<|turn>", false, f.ref.plain(nil, "<|turn>")},
		{"overlap", "<<|turn>>", true, append(append(f.ref.plain(nil, "<"), turn), f.ref.plain(nil, ">")...)},
		{"empty", "", true, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := f.Encode(nil, tt.text, tt.special); !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestEncodeAppends(t *testing.T) {
	tok := demo()
	got := tok.Encode([]int32{7, 8}, "Once upon a time", false)
	want := append([]int32{7, 8}, tok.Encode(nil, "Once upon a time", false)...)
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestEncodeInvalidUTF8(t *testing.T) {
	tok := gemma()
	for _, tt := range []struct{ name, text, same string }{
		{"lone byte", "a\xffb", "a\uFFFDb"},
		{"latin-1", "caf\xe9 au lait", "caf\uFFFD au lait"},
		{"cut code point", "日\xe6\x97", "日\uFFFD\uFFFD"},
		{"surrogate", "\xed\xa0\x80", "\uFFFD\uFFFD\uFFFD"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, want := tok.Encode(nil, tt.text, true), tok.Encode(nil, tt.same, true); !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}
