package grammar

import (
	"errors"
	"math/rand/v2"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"testing"
)

var regexCases = []string{
	``, `a`, `abc|abd`, `(a|b)*c`, `a{3,5}`, `[a-z]+@[a-z]+\.(com|org)`, `\d{3}-\d{4}`, `(?i)hello`, `.*`, `.+\n`, `(?s).{0,9}`,
	`^anchored$`, `(^a|b)c`, `a(b|$)`, `^$`, `(?:a*)$^`, `[^"\\]*`, `\p{Lu}\p{Ll}+`, `日本?`, `[é-ü]+`, `(a+)+b`, `\x00\x{10FFFF}?`,
	`((((a))))`, `(foo|foobar)(bar)?`, `a?b?c?d?`, `[[:alpha:]_]\w*`, `-?(0|[1-9]\d*)(\.\d+)?`, `(x{0,3}y){2}`, `\Aab\z`, `(|a)b`,
}

// TestRegexWalks: what comes out matches, by the library's own engine.
func TestRegexWalks(t *testing.T) {
	rng := rand.New(rand.NewPCG(21, 22))
	for _, expr := range regexCases {
		g, err := FromRegex(expr, Options{})
		if err != nil {
			t.Errorf("%q: %v", expr, err)
			continue
		}
		re := regexp.MustCompile(`\A(?:` + expr + `)\z`)
		for i := range 20 {
			m := g.NewMatcher([]*Vocab{tinyVocab(), demoVocab()}[i%2])
			if text, ended := stroll(t, m, rng, 100); ended && !re.MatchString(text) {
				t.Errorf("%q: answer %q does not match", expr, text)
			}
		}
	}
}

// TestRegexComplete: texts made from the expression are accepted.
func TestRegexComplete(t *testing.T) {
	rng := rand.New(rand.NewPCG(23, 24))
	for _, expr := range regexCases {
		if strings.ContainsAny(expr, "^$") || strings.Contains(expr, `\A`) {
			continue // the maker of texts knows no anchors
		}
		g, err := FromRegex(expr, Options{})
		if err != nil {
			t.Fatal(err)
		}
		re, err := syntax.Parse(expr, syntax.Perl)
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			text := instanceMaker{rng, nil}.match(re.Simplify())
			if !regexp.MustCompile(`\A(?:` + expr + `)\z`).MatchString(text) {
				continue // a line feed where '.' takes none
			}
			m := g.NewMatcher(demoVocab())
			if err := accept(m, text); err != nil || !m.CanEnd() {
				t.Errorf("%q: %q is refused: %v", expr, text, err)
			}
		}
	}
}

func TestRegexRefused(t *testing.T) {
	for _, tc := range []struct {
		name, expr string
		kind       error
	}{
		{"syntax", `(a`, ErrUnsupported},
		{"lookahead", `(?=a)`, ErrUnsupported},
		{"boundary", `\ba`, ErrUnsupported},
		{"nothing", `a[^\x00-\x{10FFFF}]`, ErrUnsupported},
		{"surrogate", `[\x{D800}-\x{DFFF}]`, ErrUnsupported},
		{"invalid", "\xff", ErrUnsupported},
		{"repeat", `a{1001}`, ErrTooComplex},
		{"nested", `(a{1,1000}){1,1000}`, ErrTooComplex},
		{"size", `((((a{1,30}){1,30})b){1,30})`, ErrTooComplex},
		{"subsets", `(.*a.{20})`, ErrTooComplex},
		{"classes", `(\pL{0,10}x|\pN{0,400}y|[^\pL]{0,500}z)*(\pL|\pN){0,300}`, ErrTooComplex},
		{"long", strings.Repeat("a", maxExprBytes+1), ErrTooComplex},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := FromRegex(tc.expr, Options{}); !errors.Is(err, tc.kind) {
				t.Errorf("got %v, want %v", err, tc.kind)
			}
		})
	}
}

// TestAlike: states that are taken for one admit the same tokens.
func TestAlike(t *testing.T) {
	a, err := parsePattern(`^[a-c]{0,200}(x|yy)$`, true)
	if err != nil {
		t.Fatal(err)
	}
	d := encode(a, plain)
	v := demoVocab()
	class := d.classes(v.longest)
	merged := 0
	var one, other base
	for q := range class {
		if class[q] == int32(q) {
			continue
		}
		merged++
		v.walk(d, int32(q), &one)
		v.walk(d, class[q], &other)
		if !slices.Equal(one.ids, other.ids) || !slices.Equal(one.exits, other.exits) {
			t.Fatalf("states %d and %d differ", q, class[q])
		}
	}
	if merged < 150 {
		t.Errorf("%d states were merged, want most of 200", merged)
	}
}

// TestCacheBounded: old masks make room for new ones.
func TestCacheBounded(t *testing.T) {
	v := NewVocab(demoVocab().tok)
	v.cache.limit = 20_000
	for _, expr := range []string{`.*`, `[a-z ]*`, `[^x]*`, `[a-w ]*`, `[^y]*`} {
		g, err := FromRegex(expr, Options{})
		if err != nil {
			t.Fatal(err)
		}
		m := g.NewMatcher(v)
		ids(m, make([]uint64, v.words))
		if v.cache.used > v.cache.limit || len(v.cache.items) != v.cache.order.Len() {
			t.Errorf("%d bytes in %d items, %d in order", v.cache.used, len(v.cache.items), v.cache.order.Len())
		}
	}
}
