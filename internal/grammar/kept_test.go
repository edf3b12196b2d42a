package grammar

import (
	"runtime"
	"strings"
	"testing"
	"weak"
)

func compiled(t testing.TB, schema string) *Grammar {
	t.Helper()
	g, err := FromSchema([]byte(schema), Options{})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// Grammars share the masks of what they have in common, and one that is compiled again has
// its own at once.
func TestKeptMasksAreShared(t *testing.T) {
	v := NewVocab(demoVocab().tok)
	one := `{"type":"object","properties":{"email":{"type":"string","format":"email"}},"required":["email"]}`
	compiled(t, one).Prepare(v)
	kept := len(v.cache.items)
	if kept < 10 {
		t.Fatalf("%d masks are kept of the first", kept)
	}
	for _, schema := range []string{one, strings.ReplaceAll(one, `"email":{`, `"to":{"type":"integer"},"email":{`), `{"type":"array","items":{"type":"string","format":"email"}}`} {
		compiled(t, schema).Prepare(v)
		if n := len(v.cache.items); n > kept+5 { // numbers have masks too
			t.Errorf("%s: %d masks more, of what was known", schema, n-kept)
		}
	}
	kept = len(v.cache.items)
	compiled(t, `{"type":"string","pattern":"^[a-z@.]{1,60}$"}`).Prepare(v)
	if n := len(v.cache.items); n < kept+10 {
		t.Errorf("another pattern has %d masks of its own", n-kept)
	}
}

// An automaton ends with its grammar, though its masks are kept.
func TestKeptMasksHoldNoAutomaton(t *testing.T) {
	v := NewVocab(demoVocab().tok)
	held := func() weak.Pointer[dfa] {
		g := compiled(t, `{"type":"string","pattern":"^[A-Za-z ]{1,90}$"}`)
		mask := make([]uint64, v.words)
		g.NewMatcher(v).Mask(mask)
		return weak.Make(g.p.lexemes[0].dfa)
	}()
	runtime.GC()
	if len(v.cache.items) == 0 {
		t.Fatal("no masks are kept")
	}
	if held.Value() != nil {
		t.Error("masks that are kept hold the automaton of a grammar that is gone")
	}
	runtime.KeepAlive(v)
}

// A matcher that walks the whole vocabulary, since nothing is kept, does so in memory that it
// gives back.
func TestWalksAreLent(t *testing.T) {
	v := NewVocab(demoVocab().tok)
	v.Limit(0)
	m := compiled(t, `{"type":"string","pattern":"^[A-Za-z ]{1,90}$"}`).NewMatcher(v)
	mask := make([]uint64, v.words)
	for _, text := range []string{`"`, "a", "b", "c"} {
		if !m.advance(text) {
			t.Fatalf("%q is not allowed", text)
		}
		if n := len(ids(m, mask)); text == "c" && n < worthKeeping {
			t.Fatalf("%d tokens: too few for the test", n)
		}
	}
	if n := cap(m.masks.base.ids); n > 2*worthKeeping {
		t.Errorf("the matcher holds room for %d tokens beside its masks", n)
	}
}
