package grammar

import (
	"iter"
	"slices"
	"strings"
)

// required are the names that some member of s requires, each once.
func (s *spec) required() iter.Seq[string] {
	return func(yield func(string) bool) {
		seen := map[string]bool{}
		for _, m := range s.members {
			for _, name := range m.required {
				if !seen[name] && !yield(name) {
					return
				}
				seen[name] = true
			}
		}
	}
}

// requires reports whether some member requires the property.
func (s *spec) requires(name string) bool {
	if s.needs == nil {
		s.needs = map[string]bool{}
		for name := range s.required() {
			s.needs[name] = true
		}
	}
	return s.needs[name]
}

// closed reports whether properties that no member names are left out because
// properties are listed and nothing is said about others.
func (s *spec) closed() bool {
	listed := false
	for _, m := range s.members {
		if m.additional != nil {
			return false
		}
		listed = listed || m.hasProps
	}
	return listed
}

// valuesOf are the schemas for the property name; false if there cannot be one.
func (s *spec) valuesOf(c *compiler, name string) ([]*schema, bool) {
	all, named := s.conditions(c, name)
	if !named && s.closed() || anyNever(all) {
		return nil, false
	}
	return all, true
}

func anyNever(all []*schema) bool {
	return slices.ContainsFunc(all, func(s *schema) bool { return s.never })
}

// conditions are the schemas for the property name, and whether any member names it.
func (s *spec) conditions(c *compiler, name string) (all []*schema, named bool) {
	named = s.requires(name)
	for _, m := range s.members {
		own := m.byName[name]
		matched := own != nil
		if matched {
			all = append(all, own)
		}
		for _, p := range m.patternProps {
			if a, err := c.pattern(p.name); err == nil && a.accepts(name) { // it was parsed before
				all = append(all, p.schema)
				matched = true
			}
		}
		if !matched && m.additional != nil {
			all = append(all, m.additional)
		}
		named = named || matched
	}
	return all, named
}

// entry is a property with a known name.
type entry struct {
	name     string
	required bool
	rule     int32
}

// entries are the properties that have names, in the order they are written. ok
// is false if one that is required cannot be.
func (c *compiler) entries(s *spec, names *automaton) (list []entry, ok bool) {
	seen := map[string]bool{}
	add := func(name string) bool {
		if seen[name] {
			return true
		}
		seen[name] = true
		if c.work += 1 + len(s.members)/8; c.work > maxWork {
			c.fail(at(s.ptr(), tooComplex("the properties of schemas that hold at once")))
			return false
		}
		all, may := s.valuesOf(c, name)
		if !may || names != nil && !names.accepts(name) {
			return !s.requires(name)
		}
		list = append(list, entry{name, s.requires(name), c.rule(all)})
		return true
	}
	for _, m := range s.members {
		for _, p := range m.props {
			if !add(p.name) {
				return nil, false
			}
		}
	}
	for name := range s.required() {
		if !add(name) {
			return nil, false
		}
	}
	if c.style.sorted() {
		slices.SortStableFunc(list, func(a, b entry) int {
			return strings.Compare(strings.ToLower(a.name), strings.ToLower(b.name))
		})
	}
	return list, true
}

// extra is a set of further properties: names, nil for any, and their values.
type extra struct {
	names *automaton
	rule  int32
}

// extras are the properties without known names. With patternProperties, each
// combination of patterns is one set.
func (c *compiler) extras(s *spec, names *automaton, known []entry) ([]extra, error) {
	var patterns []string
	listed := map[string]bool{}
	for _, m := range s.members {
		for _, p := range m.patternProps {
			if !slices.Contains(patterns, p.name) {
				patterns = append(patterns, p.name)
			}
		}
		for _, p := range m.props {
			listed[p.name] = true
		}
	}
	for _, e := range known {
		listed[e.name] = true
	}
	if len(patterns) > maxPatterns {
		return nil, tooComplex("%d patternProperties at once, at most %d are supported", len(patterns), maxPatterns)
	}
	free := names
	if len(listed) > 0 {
		var list []string
		for name := range listed {
			list = append(list, name)
		}
		slices.Sort(list)
		known, err := words(list)
		if err != nil {
			return nil, err
		}
		if free, err = c.both(free, complement(known)); err != nil {
			return nil, err
		}
	}
	return c.combine(s, free, patterns)
}

// both is the intersection of two sets of which nil is that of all.
func (c *compiler) both(a, b *automaton) (*automaton, error) {
	switch {
	case a == nil:
		return b, nil
	case b == nil:
		return a, nil
	}
	return intersect(a, b)
}

// combine splits the names of free by the patterns they match.
func (c *compiler) combine(s *spec, free *automaton, patterns []string) ([]extra, error) {
	var out []extra
	for chosen := range 1 << len(patterns) {
		set := free
		matched := map[string]bool{}
		for i, p := range patterns {
			a, err := c.pattern(p)
			if err != nil {
				return nil, err
			}
			if chosen>>i&1 != 0 {
				matched[p] = true
			} else {
				a = complement(a)
			}
			if set, err = c.both(set, a); err != nil {
				return nil, err
			}
		}
		if set != nil && set.empty() || chosen == 0 && s.closed() {
			continue
		}
		if all, ok := s.valuesMatching(matched); ok {
			out = append(out, extra{set, c.rule(all)})
		}
	}
	return out, nil
}

// valuesMatching are the schemas for properties that are not named and match
// exactly these patterns; false if there cannot be any.
func (s *spec) valuesMatching(matched map[string]bool) ([]*schema, bool) {
	var all []*schema
	for _, m := range s.members {
		any := false
		for _, p := range m.patternProps {
			if matched[p.name] {
				all = append(all, p.schema)
				any = true
			}
		}
		if !any && m.additional != nil {
			all = append(all, m.additional)
		}
	}
	return all, !anyNever(all)
}

// nameSet is the set of names propertyNames allows; nil if it is not there.
func (c *compiler) nameSet(s *spec) (*automaton, error) {
	var all []*schema
	for _, m := range s.members {
		if m.names != nil {
			all = append(all, m.names)
		}
	}
	if all == nil {
		return nil, nil
	}
	specs, err := c.alternatives(all)
	if err != nil {
		return nil, err
	}
	if len(specs) != 1 {
		return nil, at(all[0].ptr, unsupported("propertyNames with branches"))
	}
	n := specs[0]
	if n.kinds&kindString == 0 {
		return &automaton{make([]runeState, 1)}, nil
	}
	if n.values == nil {
		return c.stringSet(n)
	}
	var list []string
	for _, v := range n.values {
		if ok, err := c.holds(n, v); err != nil {
			return nil, err
		} else if ok {
			list = append(list, v.text)
		}
	}
	return words(list)
}

// objectNode reads an object.
func (c *compiler) objectNode(s *spec, next int32) (int32, error) {
	names, err := c.nameSet(s)
	if err != nil {
		return 0, err
	}
	known, ok := c.entries(s, names)
	if !ok {
		return c.choice(), nil
	}
	extras, err := c.extras(s, names, known)
	if err != nil {
		return 0, err
	}
	o := objectBuilder{c: c, known: known, extras: extras}
	if err := o.setCounts(s); err != nil {
		return 0, err
	}
	o.end = c.style.inner(c.builder, c.text("}", next))
	first, err := o.build()
	return c.text("{", c.style.inner(c.builder, first)), err
}

// objectBuilder builds the entries of an object. The program's place is the
// number of known entries passed over or written, and the number written,
// counted no further than matters: to last.
type objectBuilder struct {
	c       *compiler
	known   []entry
	extras  []extra
	min     int
	last    int
	bounded bool // no more than last may be written
	end     int32
}

func (o *objectBuilder) setCounts(s *spec) error {
	most, required := -1, 0
	for _, m := range s.members {
		o.min = max(o.min, m.minProps)
		most = least(most, m.maxProps)
	}
	for _, e := range o.known {
		if e.required {
			required++
		}
	}
	if o.min <= required {
		o.min = 0
	}
	// The same free key may be written twice, and counts once.
	if len(o.extras) > 0 && o.min > required+1 {
		return unsupported("minProperties %d with %d properties required, at most one more can be enforced", o.min, required)
	}
	if o.min > maxCount {
		return tooComplex("minProperties %d, at most %d is supported", o.min, maxCount)
	}
	if most >= 0 && (most < len(o.known) || len(o.extras) > 0) {
		o.last, o.bounded = min(most, max(maxCount, required)), true
		return nil
	}
	o.last = max(o.min, 1)
	return nil
}

// build makes the places from the last known entry to the first and returns the
// one in front.
func (o *objectBuilder) build() (int32, error) {
	behind := make([]int32, o.last+1) // by the number written
	for n := o.last; n >= 0; n-- {
		to := []int32{}
		if n >= o.min {
			to = append(to, o.end)
		}
		loop := n == o.last && !o.bounded
		if loop {
			behind[n] = o.c.add(node{op: opChoice})
		}
		for _, x := range o.extras {
			if n == o.last && o.bounded {
				break
			}
			e, err := o.c.style.anyKey(o.c, x.names, o.c.call(x.rule, behind[min(n+1, o.last)]))
			if err != nil {
				return 0, err
			}
			to = append(to, o.comma(n, e))
		}
		if o.c.err != nil {
			return 0, o.c.err
		}
		if loop {
			o.c.nodes[behind[n]].to = to
		} else {
			behind[n] = o.c.choice(to...)
		}
	}
	for i := len(o.known) - 1; i >= 0; i-- {
		behind = o.entry(o.known[i], behind)
	}
	return behind[0], nil
}

func (o *objectBuilder) comma(written int, next int32) int32 {
	if written == 0 {
		return next
	}
	return o.c.style.comma(o.c.builder, next)
}

// entry puts e before the places behind.
func (o *objectBuilder) entry(e entry, behind []int32) []int32 {
	made := map[int32]int32{}
	commas := map[int32]int32{}
	out := make([]int32, o.last+1)
	for n := range out {
		var to []int32
		if !e.required {
			to = append(to, behind[n])
		}
		if n < o.last || !o.bounded {
			next := behind[min(n+1, o.last)]
			if _, ok := made[next]; !ok {
				made[next] = o.c.style.key(o.c.builder, e.name, o.c.call(e.rule, next))
			}
			first := made[next]
			if n > 0 {
				if _, ok := commas[next]; !ok {
					commas[next] = o.comma(n, first)
				}
				first = commas[next]
			}
			to = append(to, first)
		}
		out[n] = o.c.choice(to...)
	}
	return out
}
