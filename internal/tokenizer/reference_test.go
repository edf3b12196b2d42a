package tokenizer

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

// The vocabularies of testdata, unpacked and loaded once.
var (
	gemmaJSON = sync.OnceValue(func() []byte { return unpack("gemma4-tokenizer.json.gz") })
	demoJSON  = sync.OnceValue(func() []byte { return unpack("demo-tokenizer.json.gz") })
	gemma     = sync.OnceValue(func() *fixture { return newFixture(gemmaJSON()) })
	demo      = sync.OnceValue(func() *fixture { return newFixture(demoJSON()) })
)

func unpack(name string) []byte {
	f, err := os.Open(filepath.Join("testdata", name))
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
	return b
}

// fixture is a tokenizer and the slow reference for the same file.
type fixture struct {
	*Tokenizer
	ref reference
}

func newFixture(file []byte) *fixture {
	spec, err := ParseSpec(file)
	if err != nil {
		panic(err)
	}
	t, err := New(spec)
	if err != nil {
		panic(err)
	}
	return &fixture{t, newReference(file)}
}

// reference is the algorithm as the specification words it, on strings and
// maps, in quadratic time; it shares no code with the package and reads the
// file with encoding/json.
type reference struct {
	ids     map[string]int32
	pieces  map[int32]string
	ranks   map[[2]string]int
	special map[string]bool
}

func newReference(file []byte) reference {
	var f struct {
		Added []struct {
			ID      int32
			Content string
		} `json:"added_tokens"`
		Model struct {
			Vocab  map[string]int32
			Merges [][2]string
		}
	}
	if err := json.Unmarshal(file, &f); err != nil {
		panic(err)
	}
	r := reference{f.Model.Vocab, map[int32]string{}, map[[2]string]int{}, map[string]bool{}}
	for i, m := range f.Model.Merges {
		r.ranks[m] = i
	}
	for _, a := range f.Added {
		r.ids[a.Content] = a.ID
		r.special[a.Content] = true
	}
	for p, id := range r.ids {
		r.pieces[id] = p
	}
	return r
}

func (r reference) encode(text string, special bool) []int32 {
	var out []int32
	from := 0
	for i := 0; special && i < len(text); {
		best := ""
		for s := range r.special {
			if len(s) > len(best) && strings.HasPrefix(text[i:], s) {
				best = s
			}
		}
		if best == "" {
			i++
			continue
		}
		out = append(r.plain(out, text[from:i]), r.ids[best])
		i += len(best)
		from = i
	}
	return r.plain(out, text[from:])
}

func (r reference) plain(out []int32, text string) []int32 {
	var sym []string
	for _, c := range text {
		s := strings.ReplaceAll(string(c), " ", "▁")
		if _, ok := r.ids[s]; ok {
			sym = append(sym, s)
			continue
		}
		for _, b := range []byte(s) {
			sym = append(sym, fmt.Sprintf("<0x%02X>", b))
		}
	}
	for {
		at, best := -1, 0
		for i := 0; i+1 < len(sym); i++ {
			if rank, ok := r.ranks[[2]string{sym[i], sym[i+1]}]; ok && (at < 0 || rank < best) {
				at, best = i, rank
			}
		}
		if at < 0 {
			break
		}
		sym[at] += sym[at+1]
		sym = append(sym[:at+1], sym[at+2:]...)
	}
	for _, s := range sym {
		out = append(out, r.ids[s])
	}
	return out
}

func (r reference) decode(ids []int32) string {
	var out strings.Builder
	var run []byte
	flush := func() {
		if utf8.Valid(run) {
			out.Write(run)
		} else {
			out.WriteString(strings.Repeat("\uFFFD", len(run)))
		}
		run = nil
	}
	for _, id := range ids {
		p, ok := r.pieces[id]
		if len(p) == 6 && strings.HasPrefix(p, "<0x") && p[5] == '>' {
			if b, err := strconv.ParseUint(p[3:5], 16, 8); err == nil {
				run = append(run, byte(b))
				continue
			}
		}
		flush()
		if !ok {
			p = "\uFFFD"
		}
		out.WriteString(strings.ReplaceAll(p, "▁", " "))
	}
	flush()
	return out.String()
}

type golden struct {
	Text    string  `json:"text"`
	IDs     []int32 `json:"ids"`
	Decoded string  `json:"decoded"`
}

func readGoldens(tb testing.TB) []golden {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "tokens-public.json"))
	if err != nil {
		tb.Fatal(err)
	}
	var g []golden
	if err := json.Unmarshal(b, &g); err != nil {
		tb.Fatal(err)
	}
	return g
}
