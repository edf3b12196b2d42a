package grammar

import (
	"fmt"
	"slices"
)

// checkOneOf makes sure that no value holds for two branches of a oneOf, which
// is then the same as an anyOf.
func (c *compiler) checkOneOf(g *group) error {
	if !g.one || g.checked {
		return nil
	}
	g.checked = true // before the branches, which may lead here again
	g.written = slices.Clone(g.branches)
	c.comparing++
	defer func() { c.comparing-- }()
	budget := 20_000
	for i := range g.branches {
		for j := range i {
			apart, err := c.apart([]*schema{g.branches[i]}, []*schema{g.branches[j]}, &budget)
			if err == nil && !apart && budget >= 0 {
				apart, err = c.setApart(g, i, j)
			}
			if err != nil {
				return err
			}
			if !apart {
				return at(g.ptr, unsupported("oneOf whose branches %d and %d may both hold; use anyOf, or a property with a const in each", j, i))
			}
		}
	}
	return nil
}

// setApart makes sure that what is written for one of two branches of g does not meet the
// other, if both are for objects that are closed, and each requires a property that the
// other does not name: it is not written for that. Being closed is no reason by itself: it
// is how answers are written, what is beside g may open them, and a validator knows
// nothing of it. For the same reason, branches as they are written are never compared.
func (c *compiler) setApart(g *group, i, j int) (bool, error) {
	as, err := c.alternatives(g.branches[i : i+1])
	if err != nil {
		return false, err
	}
	bs, err := c.alternatives(g.branches[j : j+1])
	if err != nil || len(as) != 1 || len(bs) != 1 || as[0].kinds&bs[0].kinds != kindObject {
		return false, err
	}
	ofA, ok := c.lacking(as[0], bs[0])
	ofB, ok2 := c.lacking(bs[0], as[0])
	if ok && ok2 {
		g.written[i] = c.lacks(g.written[i], ofB)
		g.written[j] = c.lacks(g.written[j], ofA)
	}
	return ok && ok2, nil
}

// lacking finds a property that x requires and y, which is closed, does not name. It
// looks at maxCount of them.
func (c *compiler) lacking(x, y *spec) (name string, ok bool) {
	if !y.closed() {
		return "", false
	}
	n := 0
	for name := range x.required() {
		if _, named := y.conditions(c, name); !named {
			return name, true
		}
		if n++; n == maxCount {
			break
		}
	}
	return "", false
}

// lacks is s without objects that have the property.
func (c *compiler) lacks(s *schema, name string) *schema {
	both := c.newSchema(s.ptr)
	both.all = []*schema{s, c.without(s.ptr, name)}
	return both
}

// apart reports whether it is clear that no value satisfies both a and b. It
// gives up, with false, when the budget is used up.
func (c *compiler) apart(a, b []*schema, budget *int) (bool, error) {
	if *budget--; *budget < 0 {
		return false, nil
	}
	as, err := c.alternatives(a)
	if err != nil {
		return false, fmt.Errorf("compare branches: %w", err)
	}
	bs, err := c.alternatives(b)
	if err != nil {
		return false, fmt.Errorf("compare branches: %w", err)
	}
	for _, x := range as {
		for _, y := range bs {
			if *budget--; *budget < 0 {
				return false, nil
			}
			ok, err := c.specsApart(x, y, budget)
			if !ok || err != nil {
				return false, err
			}
		}
	}
	return true, nil
}

// specsApart is apart for single alternatives. Kinds must differ, or what both
// say about the one kind they share.
func (c *compiler) specsApart(x, y *spec, budget *int) (bool, error) {
	kinds := x.kinds & y.kinds
	if x.values != nil || y.values != nil {
		if x.values == nil {
			x, y = y, x
		}
		for _, v := range x.values {
			in, err := c.mayHold(y, v)
			if in || err != nil {
				return false, err
			}
		}
		return true, nil
	}
	if kinds&(kindNull|kindBoolean|kindArray) != 0 {
		return false, nil
	}
	if kinds&kindNumber != 0 && !numbersApart(&x.num, &y.num) {
		return false, nil
	}
	if kinds&kindString != 0 {
		if ok, err := c.stringsApart(x, y); !ok || err != nil {
			return false, err
		}
	}
	if kinds&kindObject != 0 {
		return c.objectsApart(x, y, budget)
	}
	return true, nil
}

// mayHold reports whether v meets s, or whether that is not clear.
func (c *compiler) mayHold(s *spec, v *value) (bool, error) {
	if s.values != nil && s.keys == nil {
		s.keys = keySet(s.values)
	}
	if s.values != nil && !s.keys[v.key()] || v.kind&s.kinds == 0 {
		return false, nil
	}
	if v.kind&(kindArray|kindObject) != 0 {
		return true, nil
	}
	return c.holds(s, v)
}

func numbersApart(x, y *numberSet) bool {
	for _, p := range [][2]*numberSet{{x, y}, {y, x}} {
		if lo, hi := p[0], p[1]; lo.min != nil && hi.max != nil {
			if c := lo.min.Cmp(hi.max); c > 0 || c == 0 && (lo.above || hi.below) {
				return true
			}
		}
	}
	return false
}

// objectsApart looks for a property that one requires and that cannot be the same
// in both.
func (c *compiler) objectsApart(x, y *spec, budget *int) (bool, error) {
	for _, p := range [][2]*spec{{x, y}, {y, x}} {
		for name := range p[0].required() {
			of, _ := p[1].conditions(c, name)
			if anyNever(of) {
				return true, nil // the other cannot have it
			}
			mine, _ := p[0].conditions(c, name)
			if apart, err := c.apart(mine, of, budget); apart || err != nil {
				return apart, err
			}
		}
	}
	return false, nil
}

// stringsApart reports whether no string meets both x and y.
func (c *compiler) stringsApart(x, y *spec) (bool, error) {
	a, err := c.stringSet(x)
	if err != nil || a == nil {
		return false, err
	}
	b, err := c.stringSet(y)
	if err != nil || b == nil {
		return false, err
	}
	both, err := intersect(a, b)
	return err == nil && both.empty(), err
}
