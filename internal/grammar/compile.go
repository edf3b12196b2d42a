package grammar

import (
	"encoding/binary"
	"slices"
	"sync"
)

// FromSchema compiles a JSON Schema. Errors name the place in the schema by its
// JSON pointer and are marked ErrUnsupported or ErrTooComplex where the schema is
// valid but cannot be enforced.
func FromSchema(text []byte, o Options) (*Grammar, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	c := newCompiler(jsonStyle{o.Whitespace})
	root, err := c.readSchema(text)
	if err != nil {
		return nil, err
	}
	start := c.call(c.rule([]*schema{root}), c.ret())
	return c.grammar(start, o)
}

// FromRegex compiles a regular expression in RE2's syntax, which the whole answer
// must match.
func FromRegex(expr string, _ Options) (*Grammar, error) {
	a, err := parsePattern(expr, true)
	if err != nil {
		return nil, err
	}
	b := newBuilder()
	l, err := b.lexemeFor("", func() (*lexeme, error) { return &lexeme{dfa: encode(a, plain)}, nil })
	if err != nil {
		return nil, err
	}
	if l.dfa.empty() {
		return nil, unsupported("no text matches the expression")
	}
	p, err := b.finish(b.lexeme(l, b.ret()), 0)
	if err != nil {
		return nil, err
	}
	return &Grammar{p: p}, nil
}

// JSON is any JSON value.
func JSON() *Grammar { return anyJSON() }

// JSONObject is any JSON object.
func JSONObject() *Grammar { return anyObject() }

var (
	anyJSON   = sync.OnceValue(func() *Grammar { return mustSchema(`true`) })
	anyObject = sync.OnceValue(func() *Grammar { return mustSchema(`{"type":"object"}`) })
)

func mustSchema(s string) *Grammar {
	g, err := FromSchema([]byte(s), Options{})
	if err != nil {
		panic("grammar: internal error: " + err.Error())
	}
	return g
}

// compiler turns schemas into a program. A value that several schemas must hold
// for is one rule, named by their set; recursion is rules calling each other.
type compiler struct {
	*builder
	style      style
	nSchemas   int
	work       int                   // against maxWork
	nKeys      int                   // key lexemes made
	runeStates int                   // of parsed
	parsed     map[string]*automaton // patterns, by their text
	named      map[string]int32      // rules, by their sets of schemas
	todo       []job
	object     *schema // {"type":"object"}
	other      *schema // all but objects
	comparing  int     // calls of checkOneOf, one within the other
}

// job is a rule that is called and not built yet.
type job struct {
	rule int32
	all  []*schema
}

func newCompiler(s style) *compiler {
	c := &compiler{builder: newBuilder(), style: s, parsed: map[string]*automaton{}, named: map[string]int32{}}
	c.object = c.newSchema("")
	c.object.kinds = kindObject
	c.other = c.newSchema("")
	c.other.kinds = kindAny &^ kindObject
	return c
}

// readSchema reads one document.
func (c *compiler) readSchema(text []byte) (*schema, error) {
	v, err := parseValue(text)
	if err != nil {
		return nil, err
	}
	r := reader{c: c, root: v, made: map[*value]*schema{}}
	s, err := r.read(v, "")
	if err != nil {
		return nil, err
	}
	if err := r.oppose(); err != nil {
		return nil, err
	}
	loops := map[*schema]int{}
	for _, s := range r.made {
		if err := checkLoops(s, loops); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// grammar builds all rules that are called, and ends the compilation.
func (c *compiler) grammar(start int32, o Options) (*Grammar, error) {
	for len(c.todo) > 0 && c.err == nil {
		j := c.todo[len(c.todo)-1]
		c.todo = c.todo[:len(c.todo)-1]
		c.rules[j.rule] = c.build(j.all)
	}
	p, err := c.finish(start, o.MaxDepth+1)
	if err != nil {
		return nil, err
	}
	return &Grammar{p: p}, nil
}

// setKey names a set of schemas.
func setKey(all []*schema) string {
	ids := make([]int, len(all))
	for i, s := range all {
		ids[i] = s.id
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	key := make([]byte, 0, 4*len(ids))
	for _, id := range ids {
		key = binary.LittleEndian.AppendUint32(key, uint32(id))
	}
	return string(key)
}

// rule is the rule for values that all the schemas hold for.
func (c *compiler) rule(all []*schema) int32 {
	key := setKey(all)
	r, ok := c.named[key]
	if !ok {
		if len(c.rules) >= maxRules {
			c.fail(tooComplex("more than %d combinations of schemas", maxRules))
			return 0
		}
		r = c.newRule()
		c.named[key] = r
		c.todo = append(c.todo, job{r, all})
	}
	return r
}

// build makes the body of a rule: a choice between all alternatives.
func (c *compiler) build(all []*schema) int32 {
	specs, err := c.alternatives(all)
	if err != nil {
		c.fail(err)
		return 0
	}
	next := c.ret()
	var to []int32
	var values []*value
	for _, s := range specs {
		if s.values == nil {
			to = append(to, c.kindNodes(s, next)...)
			if c.err != nil {
				return 0
			}
			continue
		}
		for _, v := range s.values {
			ok, err := c.holds(s, v)
			if err != nil {
				c.fail(err)
				return 0
			}
			if ok {
				values = append(values, v)
			}
		}
	}
	return c.choice(append(to, c.literals(values, next)...)...)
}

// kindNodes are the ways to write a value that s describes, by its kind.
func (c *compiler) kindNodes(s *spec, next int32) []int32 {
	var to []int32
	for _, v := range s.exclude {
		if v.kind&s.kinds&(kindArray|kindObject) != 0 {
			c.check(s, unsupported("an array or object that must differ from a given one"))
			return nil
		}
	}
	if s.kinds&kindNull != 0 {
		to = append(to, c.text("null", next))
	}
	if s.kinds&kindTrue != 0 {
		to = append(to, c.text("true", next))
	}
	if s.kinds&kindFalse != 0 {
		to = append(to, c.text("false", next))
	}
	if s.kinds&kindNumber != 0 {
		l, err := c.numberLexeme(s)
		c.check(s, err)
		to = append(to, c.lexeme(l, next))
	}
	if s.kinds&kindString != 0 {
		l, err := c.stringLexeme(s)
		c.check(s, err)
		to = append(to, c.style.openString(c.builder, c.lexeme(l, next)))
	}
	if s.kinds&kindArray != 0 {
		to = append(to, c.arrayNode(s, next))
	}
	if s.kinds&kindObject != 0 {
		n, err := c.objectNode(s, next)
		c.check(s, err)
		to = append(to, n)
	}
	return to
}

// check notes an error at the place of s.
func (c *compiler) check(s *spec, err error) {
	if err != nil {
		c.fail(at(s.ptr(), err))
	}
}
