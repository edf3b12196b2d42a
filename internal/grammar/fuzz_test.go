package grammar

import (
	"errors"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// stroll is a walk of at most n tokens. It fails the test when nothing is
// allowed though the answer must not end, and reports whether it has come to an
// end.
func stroll(t *testing.T, m *Matcher, rng *rand.Rand, n int) (string, bool) {
	t.Helper()
	var out []int32
	mask := make([]uint64, m.v.words)
	for i := range n {
		if m.MustEnd() || m.CanEnd() && rng.IntN(4) == 0 {
			return m.v.tok.Decode(out), true
		}
		may := ids(m, mask)
		if len(may) == 0 {
			t.Fatalf("stuck behind %q", m.v.tok.Decode(out))
		}
		id := preferEnd(m, may, rng, 2+i/4)
		if err := m.Accept(id); err != nil {
			t.Fatalf("behind %q the mask allows %d: %v", m.v.tok.Decode(out), id, err)
		}
		out = append(out, id)
	}
	return m.v.tok.Decode(out), m.CanEnd()
}

func FuzzFromSchema(f *testing.F) {
	for _, tc := range cases {
		f.Add([]byte(tc.schema))
	}
	rng := rand.New(rand.NewPCG(15, 16))
	for range 30 {
		f.Add([]byte(randomSchema(rng)))
	}
	f.Fuzz(func(t *testing.T, schema []byte) {
		g, err := FromSchema(schema, Options{})
		if err != nil {
			return
		}
		rng := rand.New(rand.NewPCG(17, uint64(len(schema))))
		check := libraryFor(string(schema))
		for range 3 {
			text, ended := stroll(t, g.NewMatcher(tinyVocab()), rng, 60)
			if !ended || check == nil {
				continue
			}
			if err := validate(check, text); err != nil {
				t.Errorf("answer %s: %v", text, err)
			}
		}
	})
}

// libraryFor is the validator for a schema it understands as we do: nil where it
// reads the document in another way (nullable, drafts with lists of items, regular
// expressions of ECMA).
func libraryFor(schema string) *jsonschema.Schema {
	if strings.Contains(schema, "nullable") || strings.Contains(schema, "$schema") || strings.Contains(schema, "$id") || strings.Contains(schema, `\`) {
		return nil
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(schema))
	if err != nil {
		return nil
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	c.UseLoader(noLoader{})
	if c.AddResource("schema.json", doc) != nil {
		return nil
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		return nil
	}
	return s
}

// noLoader reads no other document.
type noLoader struct{}

func (noLoader) Load(string) (any, error) { return nil, errors.New("not here") }

func FuzzFromRegex(f *testing.F) {
	for _, expr := range regexCases {
		f.Add(expr)
	}
	f.Fuzz(func(t *testing.T, expr string) {
		g, err := FromRegex(expr, Options{})
		if err != nil {
			return
		}
		re, err := regexp.Compile(`\A(?:` + expr + `)\z`)
		if err != nil || strings.Contains(expr, `\u`) || strings.Contains(expr, `\/`) {
			return
		}
		rng := rand.New(rand.NewPCG(19, uint64(len(expr))))
		for range 3 {
			if text, ended := stroll(t, g.NewMatcher(tinyVocab()), rng, 60); ended && !re.MatchString(text) {
				t.Errorf("answer %q does not match", text)
			}
		}
	})
}
