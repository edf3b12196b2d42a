package grammar

import "slices"

// spec is what a value must meet in one alternative: schemas that hold all at
// once, without references and branches.
type spec struct {
	members  []*schema
	kinds    kind
	values   []*value        // nil: no condition
	keys     map[string]bool // of values; made when needed
	needs    map[string]bool // the names required yields; made when needed
	minLen   int
	maxLen   int // −1: no bound
	patterns []string
	unlike   []string
	formats  []string
	exclude  []*value
	num      numberSet
}

// ptr is where in the schema the alternative stands.
func (s *spec) ptr() string {
	if len(s.members) == 0 {
		return ""
	}
	return s.members[0].ptr
}

// alternatives are the ways in which all the schemas can hold: allOf and $ref
// joined, anyOf and oneOf multiplied out.
func (c *compiler) alternatives(all []*schema) ([]*spec, error) {
	a := alternatives{c: c}
	err := a.expand(all, nil)
	return a.out, err
}

type alternatives struct {
	c   *compiler
	out []*spec
}

// expand adds the alternatives of all, of which the groups in chosen have been
// decided.
func (a *alternatives) expand(all []*schema, chosen []*group) error {
	members, groups := flatten(all)
	a.c.work++
	for _, s := range members {
		a.c.work += 1 + len(s.exclude) // which merge copies
	}
	if a.c.work > maxWork {
		return at((&spec{members: members}).ptr(), tooComplex("the combinations of anyOf and allOf"))
	}
	kinds := kindAny
	for _, s := range members {
		if s.partly && a.c.comparing > 0 {
			return at(s.ptr, unsupported("the opposite of oneOf within oneOf"))
		}
		if s.never {
			return nil
		}
		kinds &= s.kinds
	}
	if kinds&kindObject != 0 && len(chosen) > 0 && a.c.impossible(members) {
		members, kinds = append(members, a.c.other), kinds&^kindObject
	}
	if kinds == 0 {
		return nil
	}
	for _, g := range groups {
		if slices.Contains(chosen, g) {
			continue
		}
		if err := a.c.checkOneOf(g); err != nil {
			return err
		}
		chosen = append(slices.Clone(chosen), g)
		branches := g.branches
		if g.one && a.c.comparing == 0 {
			branches = g.written
		}
		for _, b := range branches {
			if err := a.expand(append(slices.Clone(members), b), chosen); err != nil {
				return err
			}
		}
		return nil
	}
	if len(a.out) >= maxAlternatives {
		return at(members[0].ptr, tooComplex("more than %d alternatives", maxAlternatives))
	}
	a.out = append(a.out, merge(members))
	return nil
}

// impossible reports whether members require a property that they leave no value, so that
// no object meets them, as far as that can be seen at once. It keeps chains of conditions
// on one property short: of twenty schemas for twenty kinds of a thing, one is chosen. It
// gives up when the work is too much, as the next expand says.
func (c *compiler) impossible(members []*schema) bool {
	seen := map[string]bool{}
	for _, m := range members {
		for _, name := range m.required {
			if c.work++; c.work > maxWork {
				return false
			}
			if seen[name] {
				continue
			}
			seen[name] = true
			if c.work += len(members) / 8; c.noValue(members, name) {
				return true
			}
		}
	}
	return false
}

// noValue is impossible for one property.
func (c *compiler) noValue(members []*schema, name string) bool {
	var own []*schema
	for _, m := range members {
		if s := m.byName[name]; s != nil {
			own = append(own, s)
		}
	}
	all, _ := flatten(own)
	c.work += len(all)
	if anyNever(all) {
		return true
	}
	var left []*value
	lists := 0
	for _, s := range all {
		if s.values == nil {
			continue
		}
		if lists++; lists > 1 {
			c.work += len(left) + len(s.values)
		}
		if c.work > maxWork {
			return false
		}
		left = bothOf(left, s.values)
	}
	return lists > 1 && len(left) == 0
}

// flatten follows $ref and allOf, and lists the groups met.
func flatten(all []*schema) (members []*schema, groups []*group) {
	seen := map[*schema]bool{}
	var visit func(s *schema)
	visit = func(s *schema) {
		if seen[s] {
			return
		}
		seen[s] = true
		members = append(members, s)
		for _, g := range s.groups {
			if !slices.Contains(groups, g) {
				groups = append(groups, g)
			}
		}
		if s.ref != nil {
			visit(s.ref)
		}
		for _, sub := range s.all {
			visit(sub)
		}
	}
	for _, s := range all {
		visit(s)
	}
	return members, groups
}

// merge joins the conditions of members.
func merge(members []*schema) *spec {
	s := &spec{members: members, kinds: kindAny, maxLen: -1}
	for _, m := range members {
		s.kinds &= m.kinds
		s.minLen = max(s.minLen, m.minLen)
		s.maxLen = least(s.maxLen, m.maxLen)
		s.patterns = append(s.patterns, m.patterns...)
		s.unlike = append(s.unlike, m.unlike...)
		s.exclude = append(s.exclude, m.exclude...)
		if _, known := formats[m.format]; known {
			s.formats = append(s.formats, m.format)
		}
		if m.num.min != nil {
			s.num.atLeast(m.num.min, m.num.above)
		}
		if m.num.max != nil {
			s.num.atMost(m.num.max, m.num.below)
		}
		s.num.multiples = append(s.num.multiples, m.num.multiples...)
		s.values = bothOf(s.values, m.values)
	}
	s.num.integer = s.kinds&kindFraction == 0
	s.num.fraction = s.kinds&kindNumber == kindFraction
	if s.values == nil {
		s.leaveOut()
	}
	return s
}

// leaveOut takes excluded values out of kinds, where they are all of their kind. Strings
// are left to stringSet.
func (s *spec) leaveOut() {
	for _, v := range s.exclude {
		if v.kind&(kindNull|kindBoolean) != 0 {
			s.kinds &^= v.kind
		}
	}
}

// least is the smaller of two bounds of which −1 is none.
func least(a, b int) int {
	if a < 0 || b >= 0 && b < a {
		return b
	}
	return a
}

// holds reports whether the value v of an enum meets the other conditions of s.
func (c *compiler) holds(s *spec, v *value) (bool, error) {
	if v.kind&s.kinds == 0 || slices.ContainsFunc(s.exclude, func(x *value) bool { return x.key() == v.key() }) {
		return false, nil
	}
	switch v.kind {
	case kindInteger, kindFraction:
		return s.num.holds(v.rat()), nil
	case kindString:
		return c.stringHolds(s, v.text)
	case kindArray, kindObject:
		for _, m := range s.members {
			if m.constrains(v.kind) {
				return false, at(m.ptr, unsupported("conditions on arrays or objects beside an enum of them"))
			}
		}
	}
	return true, nil
}

// constrains reports whether s has conditions on the inside of arrays or objects.
func (s *schema) constrains(k kind) bool {
	if k == kindArray {
		return s.prefix != nil || s.items != nil || s.minItems > 0 || s.maxItems >= 0 || s.contains != nil || s.unique
	}
	return s.hasProps || s.props != nil || s.patternProps != nil || s.additional != nil || s.names != nil ||
		s.required != nil || s.minProps > 0 || s.maxProps >= 0
}
