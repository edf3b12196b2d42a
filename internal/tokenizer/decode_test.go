package tokenizer

import (
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

// randomIDs mixes ordinary ids with runs of byte tokens, valid and not, and
// with ids outside the vocabulary.
func randomIDs(rng *rand.Rand, f *fixture, n int) []int32 {
	var ids []int32
	for range n {
		switch rng.IntN(6) {
		case 0:
			ids = append(ids, f.byteID[rng.IntN(256)])
		case 1: // the bytes of one code point, sometimes cut short
			b := []byte(string(rune(rng.IntN(0x20000))))
			for _, c := range b[:len(b)-rng.IntN(6)/5] {
				ids = append(ids, f.byteID[c])
			}
		case 2:
			ids = append(ids, f.byteID[0xC2+rng.IntN(30)], f.byteID[0x80+rng.IntN(64)])
		case 3:
			ids = append(ids, int32(rng.IntN(110)))
		case 4:
			ids = append(ids, int32(rng.IntN(f.Len())))
		default:
			if rng.IntN(10) == 0 {
				ids = append(ids, -1-int32(rng.IntN(3)), int32(f.Len()+rng.IntN(3)))
			}
		}
	}
	return ids
}

func TestDecoderMatchesDecode(t *testing.T) {
	for name, f := range fixtures() {
		t.Run(name, func(t *testing.T) {
			f := f()
			rng := rand.New(rand.NewPCG(7, 8))
			d := f.NewDecoder() // reused: Flush leaves it as new
			for range 1500 {
				ids := randomIDs(rng, f, rng.IntN(20))
				var b strings.Builder
				for _, id := range ids {
					part := d.Push(id)
					if !utf8.ValidString(part) {
						t.Fatalf("push %d returned %q, part of a code point", id, part)
					}
					b.WriteString(part)
				}
				b.WriteString(d.Flush())
				want := f.ref.decode(ids)
				if got := b.String(); got != want {
					t.Fatalf("stream %v\n got %q\nwant %q", ids, got, want)
				}
				if got := f.Decode(ids); got != want {
					t.Fatalf("decode %v\n got %q\nwant %q", ids, got, want)
				}
			}
		})
	}
}

func TestDecodeBytes(t *testing.T) {
	tok := gemma()
	b := func(bytes ...byte) (ids []int32) {
		for _, c := range bytes {
			ids = append(ids, tok.byteID[c])
		}
		return ids
	}
	hello, _ := tok.ID("▁Hello")
	tests := []struct {
		name string
		ids  []int32
		want string
	}{
		{"valid run", b(0xE6, 0x97, 0xA5, 'x'), "日x"},
		{"one bad byte spoils the run", b('a', 0xE6, 0x97, 'b'), "\uFFFD\uFFFD\uFFFD\uFFFD"},
		{"a token ends the run", append(append(b(0xE6), hello), b(0x97, 0xA5)...), "\uFFFD Hello\uFFFD\uFFFD"},
		{"leading space stays", []int32{hello}, " Hello"},
		{"outside", []int32{-1, int32(tok.Len())}, "\uFFFD\uFFFD"},
		{"special", []int32{105, 107}, "<|turn>\n"},
		{"none", nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tok.Decode(tt.ids); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestText(t *testing.T) {
	tok := gemma()
	hello, _ := tok.ID("▁Hello")
	for _, tt := range []struct {
		name string
		id   int32
		text string
		kind Kind
	}{
		{"word", hello, " Hello", Normal},
		{"byte", tok.byteID[0xE6], "\xe6", Byte},
		{"control", 105, "<|turn>", Control},
		{"user defined", 48, "<|tool_call>", UserDefined},
		{"outside", -5, "\uFFFD", Unknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tok.Text(tt.id); got != tt.text {
				t.Errorf("text %q, want %q", got, tt.text)
			}
			if got := string(tok.Bytes(tt.id)); got != tt.text {
				t.Errorf("bytes %q, want %q", got, tt.text)
			}
			if got := tok.Kind(tt.id); got != tt.kind {
				t.Errorf("kind %v, want %v", got, tt.kind)
			}
		})
	}
}

func TestDecodeAllocates(t *testing.T) {
	tok := demo()
	ids := tok.Encode(nil, "Once upon a time there was a fox.", false)
	d := tok.NewDecoder()
	if n := testing.AllocsPerRun(100, func() {
		for _, id := range ids {
			d.Push(id)
		}
	}); n != 0 {
		t.Errorf("%v allocations for %d tokens, want 0", n, len(ids))
	}
}

func FuzzRoundTrip(f *testing.F) {
	for _, g := range readGoldens(f)[:60] {
		f.Add(g.Text)
	}
	f.Add("\xff\xe2\x96 <|turn>")
	tok := demo()
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 300 {
			return // the reference is quadratic
		}
		checkEncode(t, tok, text, true)
		checkEncode(t, tok, text, false)
		want := strings.ReplaceAll(string([]rune(text)), "▁", " ")
		// Unknown code points next to each other form one run of bytes, so an
		// encoded text always comes back, with '▁' as space.
		if got := tok.Decode(tok.Encode(nil, text, false)); got != want {
			t.Fatalf("round trip of %q gave %q", text, got)
		}
	})
}
