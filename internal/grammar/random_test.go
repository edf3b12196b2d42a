package grammar

import (
	"encoding/json"
	"fmt"
	"math/big"
	"math/rand/v2"
	"regexp/syntax"
	"strconv"
	"strings"
)

// randomSchema makes a schema that some value satisfies.
func randomSchema(rng *rand.Rand) string {
	g := schemaMaker{rng}
	return `{"$defs":{"list":{"type":"object","properties":{"v":` + g.scalar() + `,"rest":{"anyOf":[{"$ref":"#/$defs/list"},{"type":"null"}]}},"required":["v","rest"],"additionalProperties":false},` +
		`"s":` + g.scalar() + `},` + strings.TrimPrefix(g.schema(3), "{")
}

type schemaMaker struct{ *rand.Rand }

func (g schemaMaker) one(options ...string) string { return options[g.IntN(len(options))] }

func (g schemaMaker) schema(depth int) string {
	if depth == 0 {
		return g.scalar()
	}
	switch g.IntN(8) {
	case 0, 1, 2:
		return g.object(depth)
	case 3, 4:
		return g.array(depth)
	case 5:
		return `{"anyOf":[` + g.schema(depth-1) + `,` + g.schema(depth-1) + `]}`
	case 6:
		return `{"$ref":"` + g.one("#/$defs/list", "#/$defs/s") + `"}`
	}
	return g.scalar()
}

var testPatterns = []string{`^[a-z]+$`, `^\\d{3}-[A-F]{2}$`, `x`, `^(foo|bar)+$`, `^[^a-z]{0,5}$`, `^é?[日本]*$`, `^a.c$`}

func (g schemaMaker) scalar() string {
	switch g.IntN(9) {
	case 0:
		return `{"type":"string"}`
	case 1:
		least := g.IntN(5)
		return fmt.Sprintf(`{"type":"string","minLength":%d,"maxLength":%d}`, least, least+g.IntN(20))
	case 2:
		return `{"type":"string","pattern":"` + g.one(testPatterns...) + `"}`
	case 3:
		return `{"enum":["red","green","a \"b\"",` + strconv.Itoa(g.IntN(99)) + `,null,[1,{"x":true}]]}`
	case 4:
		lo := g.IntN(2000) - 1000
		return fmt.Sprintf(`{"type":"integer","minimum":%d,"maximum":%d}`, lo, lo+g.IntN(500))
	case 5:
		lo := float64(g.IntN(20000)-10000) / 1000
		return fmt.Sprintf(`{"type":"number","minimum":%v,"maximum":%v}`, lo, lo+float64(1+g.IntN(1000))/100)
	case 6:
		return fmt.Sprintf(`{"type":"integer","multipleOf":%d}`, 1+g.IntN(12))
	case 7:
		return `{"type":["boolean","null"]}`
	}
	return `{"type":` + g.one(`"number"`, `"integer"`, `"boolean"`, `["string","integer"]`) + `}`
}

func (g schemaMaker) array(depth int) string {
	s := `{"type":"array","items":` + g.schema(depth-1)
	if g.IntN(3) == 0 {
		s += `,"prefixItems":[` + g.schema(depth-1) + `,` + g.scalar() + `]`
	}
	if g.IntN(2) == 0 {
		s += `,"minItems":` + strconv.Itoa(g.IntN(4))
	}
	if g.IntN(2) == 0 {
		s += `,"maxItems":` + strconv.Itoa(3+g.IntN(3))
	}
	return s + `}`
}

func (g schemaMaker) object(depth int) string {
	var props, required []string
	for i := range g.IntN(5) {
		name := fmt.Sprintf(`"%s%d"`, g.one("name", "id", "a b", "é", `q\"`), i)
		props = append(props, name+":"+g.schema(depth-1))
		if g.IntN(2) == 0 {
			required = append(required, name)
		}
	}
	s := `{"type":"object","properties":{` + strings.Join(props, ",") + `},"required":[` + strings.Join(required, ",") + `]`
	switch g.IntN(3) {
	case 0:
		s += `,"additionalProperties":false`
	case 1:
		s += `,"additionalProperties":` + g.scalar()
	}
	return s + `}`
}

// randomInstance makes a value for a schema of randomSchema, without looking at
// how the package understands it: properties in the schema's order, compact.
func randomInstance(rng *rand.Rand, schema string) string {
	root, err := parseValue([]byte(schema))
	if err != nil {
		panic(err)
	}
	return instanceMaker{rng, root}.instance(root, 0)
}

type instanceMaker struct {
	*rand.Rand
	root *value
}

func (g instanceMaker) instance(s *value, depth int) string {
	if ref := s.get("$ref"); ref != nil {
		return g.instance(g.root.get("$defs").get(strings.TrimPrefix(ref.text, "#/$defs/")), depth)
	}
	if any := s.get("anyOf"); any != nil {
		i := g.IntN(len(any.items))
		if depth > 6 {
			i = len(any.items) - 1
		}
		return g.instance(any.items[i], depth)
	}
	if enum := s.get("enum"); enum != nil {
		return render(enum.items[g.IntN(len(enum.items))])
	}
	t := s.get("type")
	if t.kind == kindArray {
		t = t.items[g.IntN(len(t.items))]
	}
	switch t.text {
	case "null":
		return "null"
	case "boolean":
		return []string{"true", "false"}[g.IntN(2)]
	case "integer", "number":
		return g.number(s, t.text == "integer")
	case "string":
		return g.string(s)
	case "array":
		return g.array(s, depth)
	}
	return g.object(s, depth)
}

// render writes a value compactly.
func render(v *value) string {
	var parts []string
	for i, item := range v.items {
		part := render(item)
		if v.kind == kindObject {
			part = quoteJSON(v.keys[i]) + ":" + part
		}
		parts = append(parts, part)
	}
	switch v.kind {
	case kindString:
		return quoteJSON(v.text)
	case kindArray:
		return "[" + strings.Join(parts, ",") + "]"
	case kindObject:
		return "{" + strings.Join(parts, ",") + "}"
	}
	return v.word()
}

func quoteJSON(s string) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		panic(err)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func (g instanceMaker) count(s *value, key string, otherwise int) int {
	if v := s.get(key); v != nil {
		n, _ := strconv.Atoi(v.text)
		return n
	}
	return otherwise
}

func (g instanceMaker) number(s *value, integer bool) string {
	if m := s.get("multipleOf"); m != nil {
		return strconv.Itoa((g.IntN(2000) - 1000) * g.count(s, "multipleOf", 1))
	}
	lo, hi := big.NewRat(-1000000, 1), big.NewRat(1000000, 1)
	if v := s.get("minimum"); v != nil {
		lo = v.rat()
	}
	if v := s.get("maximum"); v != nil {
		hi = v.rat()
	}
	x := new(big.Rat).Sub(hi, lo)
	x.Mul(x, big.NewRat(g.Int64N(1001), 1000)).Add(x, lo)
	if integer {
		q := new(big.Int).Quo(x.Num(), x.Denom())
		return q.String()
	}
	text := x.FloatString(6)
	if back, _ := new(big.Rat).SetString(text); back.Cmp(lo) < 0 || back.Cmp(hi) > 0 {
		text = lo.FloatString(6)
	}
	if strings.Trim(text, "-0.") == "" {
		text = "0"
	}
	return text
}

var testRunes = []rune("abcdefxyzXYZ 0123456789\"\\\n\t\b\x01\x7f/éß日本語😀<>&{}[]:,")

func (g instanceMaker) string(s *value) string {
	if p := s.get("pattern"); p != nil {
		re, err := syntax.Parse(p.text, syntax.Perl)
		if err != nil {
			panic(err)
		}
		return quoteJSON(g.match(re.Simplify()))
	}
	least := g.count(s, "minLength", 0)
	n := least + g.IntN(g.count(s, "maxLength", least+20)-least+1)
	var b strings.Builder
	for range n {
		b.WriteRune(testRunes[g.IntN(len(testRunes))])
	}
	return quoteJSON(b.String())
}

// match makes a text that an expression matches.
func (g instanceMaker) match(re *syntax.Regexp) string {
	var b strings.Builder
	repeat := func(least, most int) {
		for range least + g.IntN(most-least+1) {
			b.WriteString(g.match(re.Sub[0]))
		}
	}
	switch re.Op {
	case syntax.OpLiteral:
		return string(re.Rune)
	case syntax.OpCharClass:
		for {
			i := g.IntN(len(re.Rune)/2) * 2
			r := re.Rune[i] + rune(g.IntN(min(int(re.Rune[i+1]-re.Rune[i])+1, 1000)))
			if r < 0xD800 && r != 0x2028 && r != 0x2029 { // json.Marshal escapes those two
				return string(r)
			}
		}
	case syntax.OpAnyCharNotNL, syntax.OpAnyChar:
		return string(testRunes[g.IntN(10)])
	case syntax.OpStar:
		repeat(0, 5)
	case syntax.OpPlus:
		repeat(1, 5)
	case syntax.OpQuest:
		repeat(0, 1)
	case syntax.OpAlternate:
		return g.match(re.Sub[g.IntN(len(re.Sub))])
	case syntax.OpConcat, syntax.OpCapture:
		for _, sub := range re.Sub {
			b.WriteString(g.match(sub))
		}
	}
	return b.String()
}

func (g instanceMaker) array(s *value, depth int) string {
	least := g.count(s, "minItems", 0)
	n := least + g.IntN(g.count(s, "maxItems", least+3)-least+1)
	var parts []string
	for i := range n {
		item := s.get("items")
		if p := s.get("prefixItems"); p != nil && i < len(p.items) {
			item = p.items[i]
		}
		parts = append(parts, g.instance(item, depth+1))
	}
	return "[" + strings.Join(parts, ",") + "]"
}

func (g instanceMaker) object(s *value, depth int) string {
	var parts []string
	required := map[string]bool{}
	for _, r := range s.get("required").items {
		required[r.text] = true
	}
	props := s.get("properties")
	for i, name := range props.keys {
		if required[name] || g.IntN(2) == 0 {
			parts = append(parts, quoteJSON(name)+":"+g.instance(props.items[i], depth+1))
		}
	}
	if more := s.get("additionalProperties"); more != nil && more.kind == kindObject {
		for i := range g.IntN(3) {
			parts = append(parts, fmt.Sprintf(`"more %d\t":%s`, i, g.instance(more, depth+1)))
		}
	}
	return "{" + strings.Join(parts, ",") + "}"
}
