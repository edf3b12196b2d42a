package grammar

import "math/bits"

// arrayBuilder builds the items of an array from the last to the first. The program's
// place is the number of items read and how many of them are sure to be such as the
// array must contain, counted to need.
type arrayBuilder struct {
	c            *compiler
	s            *spec
	fewest, most int // items; most −1: no bound
	prefix       int
	contains     *schema // nil: nothing special
	need         int     // items of that
	end          int32
}

const (
	maxContained   = 64     // minContains
	maxArrayPlaces = 20_000 // items times what is counted beside
	maxAnyOrder    = 7      // different values that may come in any order
)

// arrayNode reads an array.
func (c *compiler) arrayNode(s *spec, next int32) int32 {
	a := arrayBuilder{c: c, s: s, most: -1}
	var unique, special string // where they stand
	for _, m := range s.members {
		a.fewest = max(a.fewest, m.minItems)
		a.most = least(a.most, m.maxItems)
		a.prefix = max(a.prefix, len(m.prefix))
		if m.unique {
			unique = pointer(m.ptr, "uniqueItems")
		}
		if m.contains == nil || m.minContains == 0 {
			continue
		}
		if a.contains != nil && a.contains != m.contains {
			c.fail(at(m.contains.ptr, unsupported("contains twice")))
		}
		a.contains, a.need, special = m.contains, max(a.need, m.minContains), m.contains.ptr
	}
	if a.need > maxContained {
		c.fail(at(special, tooComplex("minContains %d, at most %d is supported", a.need, maxContained)))
		return next
	}
	a.fewest = max(a.fewest, a.need)
	if a.most >= 0 && a.most < a.fewest {
		return c.choice()
	}
	a.end = c.style.inner(c.builder, c.text("]", next))
	var first int32
	var err error
	if unique != "" && a.most != 0 && a.most != 1 {
		first, err = a.unique()
		c.fail(at(unique, err))
	} else {
		first, err = a.build()
		c.fail(at(special, err))
	}
	return c.text("[", c.style.inner(c.builder, first))
}

// build makes the places and returns the first.
func (a *arrayBuilder) build() (int32, error) {
	c, last := a.c, a.most
	behind := make([]int32, a.need+1) // by what is counted
	for n := range behind {
		behind[n] = c.choice()
	}
	behind[a.need] = a.end
	if a.most < 0 { // from here on all items are alike
		last = max(a.prefix, a.fewest, 1)
		a.loop(behind, last)
	}
	if last*(a.need+1) > maxArrayPlaces {
		return 0, tooComplex("%d items of which %d are special", last, a.need)
	}
	for i := last - 1; i >= 0 && c.err == nil; i-- {
		before := make([]int32, len(behind))
		for n := range before {
			to := a.item(i, n, behind)
			if i >= a.fewest && n == a.need {
				to = append([]int32{a.end}, to...)
			}
			before[n] = c.choice(to...)
		}
		behind = before
	}
	return behind[0], nil
}

// loop makes the places behind which any number of items may follow.
func (a *arrayBuilder) loop(behind []int32, at int) {
	c := a.c
	for n := range behind {
		behind[n] = c.add(node{op: opChoice})
	}
	for n := range behind {
		to := a.item(at, n, behind)
		if n == a.need {
			to = append([]int32{a.end}, to...)
		}
		if c.err != nil {
			return
		}
		c.nodes[behind[n]].to = to
	}
}

// item are the ways to read the item at index i when n special ones are counted.
func (a *arrayBuilder) item(i, n int, behind []int32) []int32 {
	c, all := a.c, a.s.itemAt(i)
	comma := func(item int32) int32 {
		if i > 0 {
			item = c.style.comma(c.builder, item)
		}
		return item
	}
	to := []int32{comma(c.call(c.rule(all), behind[n]))}
	if n < a.need {
		special := append(all[:len(all):len(all)], a.contains)
		to = append(to, comma(c.call(c.rule(special), behind[n+1])))
	}
	return to
}

// unique reads items that differ, which must be few known values. Up to maxAnyOrder of
// them come in any order, more in that of the schema.
func (a *arrayBuilder) unique() (int32, error) {
	if a.need > 0 || a.prefix > 0 {
		return 0, unsupported("uniqueItems beside contains or prefixItems")
	}
	values, err := a.c.known(a.s.itemAt(0))
	if err != nil {
		return 0, err
	}
	n := len(values)
	if a.most < 0 || a.most > n {
		a.most = n
	}
	if a.fewest > n {
		return a.c.choice(), nil
	}
	if n <= maxAnyOrder {
		return a.anyOrder(values), nil
	}
	if n*(a.most+1) > maxArrayPlaces {
		return 0, tooComplex("uniqueItems of %d values", n)
	}
	return a.inOrder(values), nil
}

// anyOrder makes one place for each set of values that are taken.
func (a *arrayBuilder) anyOrder(values []*value) int32 {
	c, all := a.c, 1<<len(values)
	places := make([]int32, all)
	for taken := all - 1; taken >= 0; taken-- {
		written := bits.OnesCount(uint(taken))
		var to []int32
		if written >= a.fewest {
			to = append(to, a.end)
		}
		for i, v := range values {
			if taken>>i&1 == 0 && written < a.most {
				to = append(to, a.value(written, v, places[taken|1<<i]))
			}
		}
		places[taken] = c.choice(to...)
	}
	return places[0]
}

// inOrder makes one place for each value that may come next and number of values
// written: behind[n] is where no value before index i may come any more.
func (a *arrayBuilder) inOrder(values []*value) int32 {
	c := a.c
	behind := make([]int32, a.most+1)
	for n := range behind {
		behind[n] = c.choice()
		if n >= a.fewest {
			behind[n] = a.end
		}
	}
	for i := len(values) - 1; i >= 0; i-- {
		before := make([]int32, len(behind))
		for n := range before {
			to := []int32{behind[n]}
			if n < a.most {
				to = append(to, a.value(n, values[i], behind[n+1]))
			}
			before[n] = c.choice(to...)
		}
		behind = before
	}
	return behind[0]
}

// value writes one of the values behind others.
func (a *arrayBuilder) value(written int, v *value, next int32) int32 {
	first := a.c.choice(a.c.literals([]*value{v}, next)...)
	if written > 0 {
		first = a.c.style.comma(a.c.builder, first)
	}
	return first
}

// known are the values that the schemas together allow, when that is a short list.
func (c *compiler) known(all []*schema) ([]*value, error) {
	specs, err := c.alternatives(all)
	if err != nil {
		return nil, err
	}
	var list []*value
	seen := map[string]bool{}
	for _, s := range specs {
		values := s.values
		if values == nil && s.kinds&^(kindNull|kindBoolean) != 0 {
			return nil, unsupported("uniqueItems, unless the items are one of a list of values")
		}
		if values == nil {
			values = []*value{{kind: kindNull}, {kind: kindFalse}, {kind: kindTrue}}
		}
		for _, v := range values {
			ok, err := c.holds(s, v)
			if err != nil {
				return nil, err
			}
			if ok && !seen[v.key()] {
				seen[v.key()] = true
				list = append(list, v)
			}
		}
	}
	return list, nil
}

// itemAt are the schemas for the item at index i.
func (s *spec) itemAt(i int) []*schema {
	var all []*schema
	for _, m := range s.members {
		switch {
		case i < len(m.prefix):
			all = append(all, m.prefix[i])
		case m.items != nil:
			all = append(all, m.items)
		}
	}
	return all
}
