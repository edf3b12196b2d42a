package grammar

import (
	"cmp"
	"fmt"
	"math/big"
	"slices"
	"strings"
)

// numberSet describes numbers in decimal notation.
type numberSet struct {
	integer   bool
	fraction  bool     // no integers
	min, max  *big.Rat // nil: no bound
	above     bool     // min itself is excluded
	below     bool     // max itself is excluded
	multiples []*big.Rat
}

// bounded reports whether the set is other than all numbers or all integers.
func (s *numberSet) bounded() bool { return s.min != nil || s.max != nil || len(s.multiples) > 0 }

// atLeast adds a lower bound; open excludes x itself.
func (s *numberSet) atLeast(x *big.Rat, open bool) {
	if s.min != nil {
		switch c := x.Cmp(s.min); {
		case c < 0:
			return
		case c == 0:
			open = open || s.above
		}
	}
	s.min, s.above = x, open
}

// atMost adds an upper bound.
func (s *numberSet) atMost(x *big.Rat, open bool) {
	if s.max != nil {
		switch c := x.Cmp(s.max); {
		case c > 0:
			return
		case c == 0:
			open = open || s.below
		}
	}
	s.max, s.below = x, open
}

// holds reports whether x is in the set.
func (s *numberSet) holds(x *big.Rat) bool {
	if s.integer && !x.IsInt() || s.fraction && x.IsInt() {
		return false
	}
	if s.min != nil {
		if c := x.Cmp(s.min); c < 0 || c == 0 && s.above {
			return false
		}
	}
	if s.max != nil {
		if c := x.Cmp(s.max); c > 0 || c == 0 && s.below {
			return false
		}
	}
	for _, m := range s.multiples {
		if !new(big.Rat).Quo(x, m).IsInt() {
			return false
		}
	}
	return true
}

// automaton is the set as texts. Zero is never written with a sign where the set
// is bounded. What must not be an integer ends in a digit behind the point, not 0.
func (s *numberSet) automaton() (*automaton, error) {
	if !s.bounded() {
		expr := `-?(0|[1-9][0-9]{0,17})`
		switch {
		case s.fraction:
			expr += `\.[0-9]{0,14}[1-9]`
		case !s.integer:
			expr += `(\.[0-9]{1,15})?([eE][+-]?[0-9]{1,2})?`
		}
		return parsePattern(expr, true)
	}
	a, err := s.interval()
	and := func(b *automaton, e error) {
		if err = cmp.Or(err, e); err == nil {
			a, err = intersect(a, b)
		}
	}
	for _, m := range s.multiples {
		if err == nil {
			and(multiplesOf(m))
		}
	}
	if s.fraction {
		and(parsePattern(`-?[0-9]+\.[0-9]*[1-9]`, true))
	}
	return a, err
}

// interval is the set without multiples: zero and positive numbers, and negative
// ones by their absolute value.
func (s *numberSet) interval() (*automaton, error) {
	n := newNFA()
	end := n.state()
	zero := new(big.Rat)
	if s.max == nil || s.max.Sign() > 0 || s.max.Sign() == 0 && !s.below {
		lo, open := zero, false
		if s.min != nil && s.min.Sign() >= 0 {
			lo, open = s.min, s.above
		}
		if err := n.magnitudes(0, end, bound{lo, open}, bound{s.max, s.below}, s.integer); err != nil {
			return nil, err
		}
	}
	if s.min == nil || s.min.Sign() < 0 {
		minus := n.state()
		n.edge(0, '-', '-', minus)
		lo, hi := bound{zero, true}, bound{nil, s.above}
		if s.max != nil && s.max.Sign() < 0 {
			lo = bound{new(big.Rat).Neg(s.max), s.below}
		}
		if s.min != nil {
			hi.at = new(big.Rat).Neg(s.min)
		}
		if err := n.magnitudes(minus, end, lo, hi, s.integer); err != nil {
			return nil, err
		}
	}
	return n.determinise(end)
}

// bound is one end of an interval; at is nil for an upper end that is not there.
type bound struct {
	at   *big.Rat
	open bool // at itself is excluded
}

// digits splits a number that is not negative into the decimal digits before and
// behind the point.
func digits(x *big.Rat) (whole, frac string, err error) {
	prec, exact := x.FloatPrec()
	if !exact || prec > maxBoundDigits {
		return "", "", tooComplex("a bound with more than %d digits", maxBoundDigits)
	}
	whole, frac, _ = strings.Cut(x.FloatString(prec), ".")
	if len(whole) > maxBoundDigits {
		return "", "", tooComplex("a bound with more than %d digits", maxBoundDigits)
	}
	return whole, strings.TrimRight(frac, "0"), nil
}

// magnitudes leads from state from to state end on the numbers between lo and hi,
// neither negative. Texts compare digit by digit once the number of digits before
// the point is known, so there is a branch for each.
func (n *nfa) magnitudes(from, end int32, lo, hi bound, integer bool) error {
	loWhole, loFrac, err := digits(lo.at)
	if err != nil {
		return err
	}
	if hi.at == nil {
		most := strings.Repeat("9", max(maxIntDigits, len(loWhole)+1))
		hi.at, _ = new(big.Rat).SetString(most)
	}
	hiWhole, hiFrac, err := digits(hi.at)
	if err != nil {
		return err
	}
	if c := lo.at.Cmp(hi.at); c > 0 || c == 0 && (lo.open || hi.open) {
		return nil
	}
	nFrac := max(len(loFrac), len(hiFrac), maxFracDigits)
	if integer {
		nFrac = 0
		if loFrac != "" { // no integer has these digits
			up := new(big.Int).Add(new(big.Int).Quo(lo.at.Num(), lo.at.Denom()), big.NewInt(1))
			return n.magnitudes(from, end, bound{new(big.Rat).SetInt(up), false}, hi, true)
		}
		if hiFrac != "" {
			down := new(big.Int).Quo(hi.at.Num(), hi.at.Denom())
			return n.magnitudes(from, end, lo, bound{new(big.Rat).SetInt(down), false}, true)
		}
	}
	for size := len(loWhole); size <= len(hiWhole); size++ {
		c := comparison{
			n: n, end: end, whole: size, total: size + nFrac,
			lo: pad(loWhole+loFrac, size+nFrac), hi: pad(hiWhole+hiFrac, size+nFrac),
			loOpen: lo.open, hiOpen: hi.open, made: map[place]int32{},
		}
		n.skip(from, c.state(place{0, size == len(loWhole), size == len(hiWhole), false}))
	}
	return nil
}

func pad(digits string, n int) string { return digits + strings.Repeat("0", max(0, n-len(digits))) }

// comparison builds the numbers with a given count of digits before the point.
type comparison struct {
	n              *nfa
	end            int32
	whole, total   int    // digits before the point, and at most in all
	lo, hi         string // total digits, or more; compared only where the counts agree
	loOpen, hiOpen bool
	made           map[place]int32
}

// place is how far a number has been read: at so many digits, which are, if atLo
// or atHi is set, those of the bound.
type place struct {
	at         int
	atLo, atHi bool
	point      bool // the point has just been read
}

func (c *comparison) state(p place) int32 {
	if q, ok := c.made[p]; ok {
		return q
	}
	q := c.n.state()
	c.made[p] = q
	if p.at >= c.whole && !p.point && c.mayEnd(p) {
		c.n.skip(q, c.end)
	}
	if p.at == c.total {
		return q
	}
	if p.at == c.whole && !p.point {
		c.n.edge(q, '.', '.', c.state(place{p.at, p.atLo, p.atHi, true}))
		return q
	}
	first, last := byte('0'), byte('9')
	if p.at == 0 && c.whole > 1 {
		first = '1'
	}
	if p.atLo {
		first = max(first, c.lo[p.at])
	}
	if p.atHi {
		last = min(last, c.hi[p.at])
	}
	for d := first; d <= last; d++ {
		to := place{p.at + 1, p.atLo && d == c.lo[p.at], p.atHi && d == c.hi[p.at], false}
		c.n.edge(q, rune(d), rune(d), c.state(to))
	}
	return q
}

// mayEnd reports whether the digits read, with zeros behind them, are within the
// bounds.
func (c *comparison) mayEnd(p place) bool {
	if p.atLo {
		switch rest := strings.Trim(c.lo[p.at:], "0"); {
		case rest != "", c.loOpen:
			return false
		}
	}
	return !p.atHi || !c.hiOpen || strings.Trim(c.hi[p.at:], "0") != ""
}

// multiplesOf is the set of texts of decimals that are multiples of m: digits
// are read while the remainder of the division by m's own digits is kept.
func multiplesOf(m *big.Rat) (*automaton, error) {
	whole, frac, err := digits(m)
	if err != nil {
		return nil, err
	}
	n, ok := new(big.Int).SetString(whole+frac, 10)
	if !ok || !n.IsInt64() || n.Int64() > maxDivisor || n.Int64()*int64(len(frac)+1) >= maxStates/2 {
		return nil, tooComplex("multipleOf %s, at most %d digits and steps are supported", m.RatString(), maxDivisor)
	}
	mod, scale := int(n.Int64()), len(frac)
	a := &automaton{}
	// States: 0 start, 1 behind the sign, then by digits behind the point and
	// remainder; behind the point itself are states of their own.
	id := func(nFrac, rem int) int32 { return int32(2 + nFrac*mod + rem) }
	point := int32(2 + (scale+1)*mod)
	a.states = make([]runeState, int(point)+mod)
	digitsTo := func(nFrac, rem int) (edges []runeEdge) {
		for d := range 10 {
			edges = append(edges, runeEdge{'0' + rune(d), '0' + rune(d), id(nFrac, (rem*10+d)%mod)})
		}
		return edges
	}
	a.states[0].edges = append([]runeEdge{{'-', '-', 1}}, digitsTo(0, 0)...)
	a.states[1].edges = digitsTo(0, 0)
	for rem := range mod {
		for nFrac := range scale + 1 {
			s := &a.states[id(nFrac, rem)]
			left := rem
			for range scale - nFrac {
				left = left * 10 % mod
			}
			s.accept = left == 0
			if nFrac == 0 && scale > 0 {
				s.edges = append(s.edges, runeEdge{'.', '.', point + int32(rem)})
				a.states[point+int32(rem)].edges = digitsTo(1, rem)
			}
			switch {
			case nFrac == 0:
				s.edges = append(s.edges, digitsTo(0, rem)...)
			case nFrac < scale:
				s.edges = append(s.edges, digitsTo(nFrac+1, rem)...)
			}
		}
	}
	return a.trim(), nil
}

// key tells sets of numbers apart.
func (s *numberSet) key() string {
	var b strings.Builder
	fmt.Fprint(&b, s.integer, s.fraction, s.above, s.below)
	for _, x := range append(slices.Clone(s.multiples), s.min, s.max) {
		if x == nil {
			b.WriteString(" none")
		} else {
			fmt.Fprint(&b, " ", x.RatString())
		}
	}
	return b.String()
}
