package grammar

import (
	"fmt"
	"math/big"
	"slices"
)

// Conditions that depend on others are turned into choices while a schema is read:
//
//	not S                    any of the ways in which S can fail
//	if S then T else E       S and T, or one of the ways in which S fails, and E
//	dependentRequired a: b   no a, or b
//	dependentSchemas a: S    no a, or S
//
// A schema fails if one of its keywords does, so the opposite of each keyword is one
// schema or a few. Where a keyword has no opposite that can be enforced, not and if are
// refused. S may refer to what is still being read, so this waits until all is.

// opposite is a choice that waits for the opposite of a schema.
type opposite struct {
	ptr   string
	of    *schema
	also  *schema // holds beside each of its ways; nil: nothing does
	group *group
}

// maxNegated bounds how deep opposites are looked for.
const maxNegated = 16

// dependent reads the keywords that hold only under conditions.
func (r *reader) dependent(s *schema, key, ptr string, v, whole *value) (known bool, err error) {
	switch key {
	case "not":
		err = r.opposed(s, v, ptr, nil, nil)
	case "if":
		err = r.conditional(s, v, ptr, whole)
	case "then", "else": // read with if, nothing without
	case "dependentRequired", "dependentSchemas", "dependencies":
		if v.kind != kindObject {
			return true, at(ptr, fmt.Errorf("must be an object"))
		}
		if len(v.keys) > maxAlternatives {
			return true, at(ptr, tooComplex("%d dependencies, at most %d are supported", len(v.keys), maxAlternatives))
		}
		for i, name := range v.keys {
			if err = r.dependsOn(s, name, v.items[i], pointer(ptr, name), key); err != nil {
				return true, err
			}
		}
	default:
		return false, nil
	}
	return true, err
}

// opposed adds the choice between first, if there is one, and what goes on when the
// schema v fails, together with also.
func (r *reader) opposed(s *schema, v *value, ptr string, first, also *schema) error {
	of, err := r.read(v, ptr)
	if err != nil {
		return err
	}
	g := &group{ptr: ptr, open: true}
	if first != nil {
		first.all = append(first.all, of)
		g.branches = append(g.branches, first)
	}
	s.groups = append(s.groups, g)
	r.waiting = append(r.waiting, opposite{ptr, of, also, g})
	return nil
}

// conditional reads if, then and else.
func (r *reader) conditional(s *schema, v *value, ptr string, whole *value) error {
	then, other := whole.get("then"), whole.get("else")
	if then == nil && other == nil {
		return nil
	}
	first := r.c.newSchema(ptr)
	var also *schema
	for _, branch := range []struct {
		key string
		v   *value
		to  func(*schema)
	}{{"then", then, func(t *schema) { first.all = append(first.all, t) }}, {"else", other, func(e *schema) { also = e }}} {
		if branch.v == nil {
			continue
		}
		sub, err := r.read(branch.v, pointer(s.ptr, branch.key))
		if err != nil {
			return err
		}
		branch.to(sub)
	}
	return r.opposed(s, v, ptr, first, also)
}

// dependsOn reads what the presence of a property asks for.
func (r *reader) dependsOn(s *schema, name string, v *value, ptr, key string) error {
	var with *schema
	var err error
	if v.kind == kindArray && key != "dependentSchemas" {
		with = r.c.newSchema(ptr)
		_, err = r.objects(with, "required", ptr, v, nil)
	} else if key == "dependentRequired" {
		err = at(ptr, fmt.Errorf("must be an array of strings"))
	} else {
		with, err = r.read(v, ptr)
	}
	if err == nil {
		s.groups = append(s.groups, &group{ptr: ptr, branches: []*schema{r.c.without(ptr, name), with}})
	}
	return err
}

// without is what lacks a property, or is no object.
func (c *compiler) without(ptr, name string) *schema {
	never := c.newSchema(ptr)
	never.never = true
	return c.withProp(ptr, name, never)
}

// withProp holds where the property, if there is one, meets v.
func (c *compiler) withProp(ptr, name string, v *schema) *schema {
	s := c.newSchema(ptr)
	s.props, s.byName = []prop{{name, v}}, map[string]*schema{name: v}
	return s
}

// oppose fills the choices that have waited, in the order in which their schemas were
// complete.
func (r *reader) oppose() error {
	for _, w := range r.waiting {
		n := negation{c: r.c}
		ways, err := n.of(w.of, 0)
		if err != nil {
			return at(w.ptr, err)
		}
		for _, way := range ways {
			if w.also != nil {
				both := r.c.newSchema(w.ptr)
				both.all = []*schema{way, w.also}
				way = both
			}
			w.group.branches = append(w.group.branches, way)
		}
		w.group.open = false
	}
	return nil
}

// negation finds the ways in which a schema fails.
type negation struct {
	c   *compiler
	ptr string
	out []*schema
	err error
}

// of returns schemas of which at least one holds for whatever s does not hold for, and
// none for what it does.
func (n *negation) of(s *schema, depth int) ([]*schema, error) {
	if n.c.work++; depth > maxNegated || n.c.nSchemas > maxSchemas || n.c.work > maxWork {
		return nil, tooComplex("the opposite of what is there")
	}
	own := negation{c: n.c, ptr: s.ptr}
	if s.never {
		own.way(kindAny)
	}
	if s.partly {
		own.refuse("the opposite of oneOf")
	}
	if s.kinds != kindAny {
		own.way(kindAny &^ s.kinds)
	}
	own.scalars(s)
	own.arrays(s, depth)
	own.objects(s, depth)
	subs := s.all
	if s.ref != nil {
		subs = append([]*schema{s.ref}, subs...)
	}
	for _, sub := range subs {
		own.add(own.of(sub, depth+1))
	}
	for _, g := range s.groups {
		own.group(g, depth)
	}
	return own.out, own.err
}

func (n *negation) add(ways []*schema, err error) {
	n.out = append(n.out, ways...)
	if n.err == nil {
		n.err = err
	}
}

// way adds a schema for values of these kinds, to be given conditions.
func (n *negation) way(kinds kind) *schema {
	s := n.c.newSchema(n.ptr)
	s.kinds = kinds
	n.out = append(n.out, s)
	return s
}

func (n *negation) refuse(keyword string) {
	if n.err == nil {
		n.err = unsupported("the opposite of %s cannot be enforced", keyword)
	}
}

// group adds where none of the branches holds. Of a oneOf that leaves out where several
// do, which is right, but not the opposite of the opposite.
func (n *negation) group(g *group, depth int) {
	if g.open {
		n.refuse("a schema that refers to itself")
		return
	}
	none := n.way(kindAny)
	none.partly = g.one
	for _, b := range g.branches {
		ways, err := n.of(b, depth+1)
		if err != nil {
			n.add(nil, err)
			return
		}
		none.groups = append(none.groups, &group{ptr: g.ptr, branches: ways})
	}
}

// scalars adds the opposites of conditions on values without parts, and of enum.
func (n *negation) scalars(s *schema) {
	if s.values != nil {
		n.otherThan(s.values)
	}
	if s.exclude != nil {
		n.way(kindAny).values = s.exclude
	}
	if s.minLen > 0 {
		n.way(kindString).maxLen = s.minLen - 1
	}
	if s.maxLen >= 0 {
		n.way(kindString).minLen = s.maxLen + 1
	}
	for _, p := range s.patterns {
		n.way(kindString).unlike = []string{p}
	}
	for _, p := range s.unlike {
		n.way(kindString).patterns = []string{p}
	}
	if s.format != "" {
		n.refuse("format")
	}
	if s.num.min != nil {
		n.way(kindNumber).num.atMost(s.num.min, !s.num.above)
	}
	if s.num.max != nil {
		n.way(kindNumber).num.atLeast(s.num.max, !s.num.below)
	}
	if s.num.multiples != nil {
		n.refuse("multipleOf")
	}
}

// otherThan adds what is not among values: numbers lie between them, strings and words
// are told apart one by one. Arrays and objects in values are told apart only from those
// of other enums.
func (n *negation) otherThan(values []*value) {
	var numbers []*big.Rat
	for _, v := range values {
		if v.kind&kindNumber == 0 {
			continue
		}
		if len(numbers) == maxAlternatives {
			n.add(nil, tooComplex("the opposite of an enum of more than %d numbers", maxAlternatives))
			return
		}
		numbers = append(numbers, v.rat())
	}
	if numbers == nil {
		n.way(kindAny).exclude = values
		return
	}
	n.way(kindAny &^ kindNumber).exclude = values
	slices.SortFunc(numbers, (*big.Rat).Cmp)
	numbers = slices.CompactFunc(numbers, func(a, b *big.Rat) bool { return a.Cmp(b) == 0 })
	for i := range len(numbers) + 1 {
		between := n.way(kindNumber)
		if i > 0 {
			between.num.atLeast(numbers[i-1], true)
		}
		if i < len(numbers) {
			between.num.atMost(numbers[i], true)
		}
	}
}

// always reports whether it is clear that a schema holds for every value.
func (n *negation) always(s *schema, depth int) bool {
	ways, err := n.of(s, depth+1)
	return err == nil && len(ways) == 0
}

// arrays adds the opposites of conditions on arrays.
func (n *negation) arrays(s *schema, depth int) {
	if s.minItems > 0 {
		n.way(kindArray).maxItems = s.minItems - 1
	}
	switch {
	case s.maxItems >= maxItems: // lowered to that when it was read
		n.refuse(fmt.Sprintf("a maxItems of %d or more", maxItems))
	case s.maxItems >= 0:
		n.way(kindArray).minItems = s.maxItems + 1
	}
	switch {
	case s.prefix != nil:
		n.refuse("prefixItems")
	case s.items != nil && !n.always(s.items, depth):
		n.refuse("items")
	case s.contains != nil:
		n.refuse("contains")
	case s.unique:
		n.refuse("uniqueItems")
	}
}

// objects adds the opposites of conditions on objects.
func (n *negation) objects(s *schema, depth int) {
	for _, p := range s.props {
		ways, err := n.of(p.schema, depth+1)
		if err != nil {
			n.add(nil, at(p.ptr, err))
			return
		}
		if len(ways) == 0 {
			continue // any value will do
		}
		fails := ways[0]
		if len(ways) > 1 {
			fails = n.c.newSchema(p.ptr)
			fails.groups = []*group{{ptr: p.ptr, branches: ways}}
		}
		with := n.c.withProp(p.ptr, p.name, fails)
		with.kinds, with.required = kindObject, []string{p.name}
		n.out = append(n.out, with)
	}
	if len(s.required) > maxAlternatives {
		n.add(nil, tooComplex("the opposite of %d required properties", len(s.required)))
		return
	}
	for _, name := range s.required {
		lacks := n.c.without(n.ptr, name)
		lacks.kinds = kindObject
		n.out = append(n.out, lacks)
	}
	if s.minProps > 0 {
		n.way(kindObject).maxProps = s.minProps - 1
	}
	if s.maxProps >= 0 {
		n.way(kindObject).minProps = s.maxProps + 1
	}
	switch {
	case s.additional != nil && !n.always(s.additional, depth):
		n.refuse("additionalProperties")
	case s.patternProps != nil:
		n.refuse("patternProperties")
	case s.names != nil:
		n.refuse("propertyNames")
	}
}
