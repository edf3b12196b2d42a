package grammar

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// conditions makes random conditions on objects with few properties of few values.
type conditions struct{ *rand.Rand }

func (g conditions) one(options ...string) string { return options[g.IntN(len(options))] }

func (g conditions) name() string { return g.one("a", "b", "c") }

func (g conditions) atom() string {
	switch g.IntN(7) {
	case 0:
		return fmt.Sprintf(`{"required":["%s"]}`, g.name())
	case 1:
		return fmt.Sprintf(`{"required":["%s","c"]}`, g.one("a", "b"))
	case 2:
		return fmt.Sprintf(`{"properties":{"%s":{"const":%s}}}`, g.name(), g.one(`1`, `"x"`, `true`))
	case 3:
		return fmt.Sprintf(`{"properties":{"%s":{"enum":[1,"x"]},"c":{"not":{"const":true}}}}`, g.one("a", "b"))
	case 4:
		return fmt.Sprintf(`{"properties":{"%s":{"type":"%s"}},"required":["%s"]}`, g.name(), g.one("integer", "string", "boolean"), g.name())
	case 5:
		return `{"maxProperties":1}`
	}
	return `{"minProperties":2}`
}

func (g conditions) schema(depth int) string {
	if depth == 0 {
		return g.atom()
	}
	sub := func() string { return g.schema(depth - 1) }
	switch g.IntN(7) {
	case 0:
		return `{"not":` + sub() + `}`
	case 1:
		return `{"if":` + sub() + `,"then":` + sub() + `,"else":` + sub() + `}`
	case 2:
		return `{"if":` + sub() + `,` + g.one(`"then":`, `"else":`) + sub() + `}`
	case 3:
		return `{"anyOf":[` + sub() + `,` + sub() + `]}`
	case 4:
		return `{"allOf":[` + sub() + `,` + sub() + `]}`
	case 5:
		return fmt.Sprintf(`{"dependentRequired":{"%s":["%s"]}}`, g.name(), g.name())
	}
	return fmt.Sprintf(`{"dependentSchemas":{"%s":%s}}`, g.name(), sub())
}

// exactly compares the schema's grammar with the validator, on all instances.
func exactly(t *testing.T, schema string, instances []string) (valid int) {
	t.Helper()
	s := validator(t, schema)
	g, err := FromSchema([]byte(schema), Options{})
	if errors.Is(err, ErrTooComplex) {
		return 0
	}
	if err != nil && !strings.Contains(err.Error(), "no value satisfies") {
		t.Errorf("%s: %v", schema, err)
		return 0
	}
	for _, text := range instances {
		may := false
		if err == nil {
			m := g.NewMatcher(tinyVocab())
			may = accept(m, text) == nil && m.CanEnd()
		}
		if want := validate(s, text) == nil; may != want {
			t.Errorf("%s\ninstance %s: possible %v, valid %v", schema, text, may, want)
		} else if want {
			valid++
		}
	}
	return valid
}

// TestConditionsExactly: what can be written is what a validator accepts, for random
// conditions and every object there is.
func TestConditionsExactly(t *testing.T) {
	var objects []string
	for i := range 4 * 4 * 4 {
		var props []string
		for k, name := range []string{"a", "b", "c"} {
			if v := i >> (2 * k) & 3; v > 0 {
				props = append(props, fmt.Sprintf(`"%s":%s`, name, []string{1: "1", 2: `"x"`, 3: "true"}[v]))
			}
		}
		objects = append(objects, "{"+strings.Join(props, ",")+"}")
	}
	g := conditions{rand.New(rand.NewPCG(5, 6))}
	valid := 0
	for range 150 {
		condition := g.schema(1 + g.IntN(2))
		schema := `{"type":"object","properties":{"a":{"enum":[1,"x",true]},"b":{"enum":[1,"x",true]},"c":{"enum":[1,"x",true]}},"additionalProperties":false,"allOf":[` + condition + `]}`
		valid += exactly(t, schema, objects)
	}
	if valid < 1000 {
		t.Errorf("only %d instances were valid: the conditions are too hard to say anything", valid)
	}
}

// shape makes a schema for objects with one or two properties.
func (g conditions) shape() string {
	a, b := g.name(), g.name()
	props := fmt.Sprintf(`"%s":%s`, a, g.one(`{}`, `{"type":"integer"}`, `{"const":"x"}`, `{"not":{"const":1}}`))
	required := g.one(`"`+a+`"`, `"`+a+`"`, ``)
	if a != b {
		props += fmt.Sprintf(`,"%s":%s`, b, g.one(`{}`, `{"type":"integer"}`))
		required = g.one(required, `"`+a+`","`+b+`"`)
	}
	return `{` + g.one(`"type":"object",`, `"type":"object",`, `"type":["object","null"],`, ``) + `"properties":{` + props + `},"required":[` + required + `]` +
		g.one(``, ``, `,"additionalProperties":false`, `,"additionalProperties":{"type":"integer"}`) + `}`
}

// TestOneOfIsSound: what is written for one branch meets no other, whatever is beside the
// oneOf, where it is not refused.
func TestOneOfIsSound(t *testing.T) {
	instances := []string{"null", "1", "1.5"}
	for i := range 3 * 3 * 3 {
		var props []string
		for k, v := range []int{i % 3, i / 3 % 3, i / 9} {
			if v > 0 {
				props = append(props, fmt.Sprintf(`"%c":%s`, 'a'+k, []string{1: "1", 2: `"x"`}[v]))
			}
		}
		instances = append(instances, "{"+strings.Join(props, ",")+"}")
	}
	g := conditions{rand.New(rand.NewPCG(9, 10))}
	possible := 0
	for range 1000 {
		schema := `{` + g.one(``, `"properties":{"a":{},"b":{},"c":{}},`, `"additionalProperties":true,`, `"required":["a"],`) +
			`"oneOf":[` + g.shape() + `,` + g.shape() + g.one(``, `,`+g.shape()) + `]}`
		grammar, err := FromSchema([]byte(schema), Options{})
		if err != nil {
			if !errors.Is(err, ErrUnsupported) {
				t.Errorf("%s: %v", schema, err)
			}
			continue
		}
		s := validator(t, schema)
		for _, text := range instances {
			m := grammar.NewMatcher(tinyVocab())
			if accept(m, text) != nil || !m.CanEnd() {
				continue
			}
			possible++
			if err := validate(s, text); err != nil {
				t.Errorf("%s\naccepts %s: %v", schema, text, err)
			}
		}
	}
	if possible < 500 {
		t.Errorf("only %d instances were possible", possible)
	}
}

// TestItemsExactly is the same for conditions on the items of arrays.
func TestItemsExactly(t *testing.T) {
	var arrays []string
	for n := range 4 {
		for i := range 1 << (2 * n) {
			items := make([]string, n)
			for k := range items {
				items[k] = []string{"1", `"x"`, "null", "7"}[i>>(2*k)&3]
			}
			arrays = append(arrays, "["+strings.Join(items, ",")+"]")
		}
	}
	valid := 0
	for _, condition := range []string{
		`"contains":{"const":1}`, `"contains":{"type":"integer"},"minContains":2`, `"contains":{"not":{"const":"x"}},"minContains":3`,
		`"uniqueItems":true`, `"uniqueItems":true,"minItems":2`, `"uniqueItems":true,"maxItems":2`, `"uniqueItems":false,"minItems":1`,
		`"not":{"minItems":2}`, `"not":{"maxItems":1}`, `"if":{"minItems":2},"then":{"contains":{"const":"x"}}`,
		`"if":{"maxItems":1},"else":{"uniqueItems":true}`, `"anyOf":[{"contains":{"const":1}},{"contains":{"const":7},"minContains":2}]`,
		`"contains":{"const":1},"minItems":2,"maxItems":2`, `"contains":{"const":9}`, `"contains":{"const":9},"minContains":0`,
	} {
		valid += exactly(t, `{"type":"array","items":{"enum":[1,"x",null,7]},`+condition+`}`, arrays)
	}
	if valid < 300 {
		t.Errorf("only %d instances were valid", valid)
	}
}
