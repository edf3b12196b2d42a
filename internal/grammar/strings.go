package grammar

import (
	"fmt"
	"slices"
)

// formats are those that are enforced, each by an expression for the whole text.
// Names of hosts have at most four labels of 24 characters, local parts of
// addresses two words of 24 and 16, IPv6 addresses no "::" but "::" and "::1":
// every place in a counted repetition has a mask of its own.
var formats = map[string]string{
	"date":      date,
	"time":      clock,
	"date-time": `(?:` + date + `)T(?:` + clock + `)`,
	"duration":  `P(?:[0-9]{1,6}W|` + days + `(?:` + hours + `)?|` + hours + `)`,
	"uuid":      `[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}`,
	"email":     `[A-Za-z0-9_+-]{1,24}(?:\.[A-Za-z0-9_+-]{1,16})?@` + host,
	"hostname":  host,
	"ipv4":      ipv4,
	"ipv6":      `[0-9a-fA-F]{1,4}(?::[0-9a-fA-F]{1,4}){7}|::1?`,
}

// Formats lists the formats that are enforced; others are annotations.
func Formats() []string {
	var out []string
	for f := range formats {
		out = append(out, f)
	}
	slices.Sort(out)
	return out
}

const (
	leapYear = `(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)`
	date     = `[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))|` +
		leapYear + `-02-29`
	clock = `(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])`
	days  = `(?:[0-9]{1,6}Y(?:[0-9]{1,6}M(?:[0-9]{1,6}D)?)?|[0-9]{1,6}M(?:[0-9]{1,6}D)?|[0-9]{1,6}D)`
	hours = `T(?:[0-9]{1,6}H(?:[0-9]{1,6}M(?:[0-9]{1,6}S)?)?|[0-9]{1,6}M(?:[0-9]{1,6}S)?|[0-9]{1,6}S)`
	label = `[A-Za-z0-9](?:[A-Za-z0-9-]{0,22}[A-Za-z0-9])?`
	host  = label + `(?:\.` + label + `){0,3}`
	octet = `(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])`
	ipv4  = octet + `(?:\.` + octet + `){3}`
)

// pattern is the set of texts that match expr somewhere.
func (c *compiler) pattern(expr string) (*automaton, error) {
	return c.automaton("p"+expr, func() (*automaton, error) { return parsePattern(expr, false) })
}

// format is the set of texts in a format that is enforced.
func (c *compiler) format(name string) (*automaton, error) {
	return c.automaton("f"+name, func() (*automaton, error) { return parsePattern(formats[name], true) })
}

// automaton makes the automaton with this key, once. Expressions are counted,
// because each may take long.
func (c *compiler) automaton(key string, build func() (*automaton, error)) (*automaton, error) {
	if a, ok := c.parsed[key]; ok {
		return a, nil
	}
	if len(c.parsed) >= maxLexemes {
		return nil, tooComplex("more than %d different patterns", maxLexemes)
	}
	a, err := build()
	if err != nil {
		return nil, err
	}
	if c.runeStates += len(a.states); c.runeStates > maxRuneStates {
		return nil, tooComplex("the patterns together need more than %d states", maxRuneStates)
	}
	c.parsed[key] = a
	return a, nil
}

// stringSet is the set of strings s describes, apart from values; nil if it is
// that of all strings.
func (c *compiler) stringSet(s *spec) (*automaton, error) {
	var out *automaton
	and := func(a *automaton, err error) error {
		if err == nil && out != nil {
			a, err = intersect(out, a)
		}
		out = a
		return err
	}
	for _, p := range s.patterns {
		if err := and(c.pattern(p)); err != nil {
			return nil, err
		}
	}
	for _, f := range s.formats {
		if err := and(c.format(f)); err != nil {
			return nil, err
		}
	}
	for _, p := range s.unlike {
		a, err := c.pattern(p)
		if err == nil {
			err = and(complement(a), nil)
		}
		if err != nil {
			return nil, err
		}
	}
	if texts := s.excludedTexts(); len(texts) > 0 {
		a, err := words(texts)
		if err == nil {
			err = and(complement(a), nil)
		}
		if err != nil {
			return nil, err
		}
	}
	if s.minLen > 0 || s.maxLen >= 0 {
		if s.maxLen >= 0 && s.maxLen < s.minLen {
			return &automaton{make([]runeState, 1)}, nil
		}
		if err := and(lengths(s.minLen, s.maxLen)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// excludedTexts are the strings that s must not be, sorted.
func (s *spec) excludedTexts() []string {
	var texts []string
	for _, v := range s.exclude {
		if v.kind == kindString {
			texts = append(texts, v.text)
		}
	}
	slices.Sort(texts)
	return slices.Compact(texts)
}

// stringLexeme is the inside of a string that s describes, and its closing quote.
func (c *compiler) stringLexeme(s *spec) (*lexeme, error) {
	patterns := slices.Sorted(slices.Values(append(slices.Clone(s.patterns), s.formats...)))
	patterns = slices.Compact(patterns)
	unlike := slices.Compact(slices.Sorted(slices.Values(s.unlike)))
	texts := s.excludedTexts()
	key := fmt.Sprintf("string %q %q %q %d %d", patterns, unlike, texts, s.minLen, s.maxLen)
	return c.lexemeFor(key, func() (*lexeme, error) {
		if len(patterns)+len(unlike)+len(texts) > 0 {
			a, err := c.stringSet(s)
			if err != nil {
				return nil, err
			}
			return &lexeme{dfa: encode(a, c.style.quoting())}, nil
		}
		free := freeJSON()
		if c.style.quoting() == rawText {
			free = freeRaw()
		}
		l := &lexeme{dfa: free, counted: s.minLen > 0 || s.maxLen >= 0, min: int32(s.minLen), max: int32(s.maxLen)}
		return l, nil
	})
}

// numberLexeme is a number that s describes.
func (c *compiler) numberLexeme(s *spec) (*lexeme, error) {
	return c.lexemeFor("number "+s.num.key(), func() (*lexeme, error) {
		a, err := s.num.automaton()
		if err != nil {
			return nil, err
		}
		return &lexeme{dfa: encode(a, plain)}, nil
	})
}

// stringHolds reports whether text meets the conditions of s other than values.
func (c *compiler) stringHolds(s *spec, text string) (bool, error) {
	n := len([]rune(text))
	if n < s.minLen || s.maxLen >= 0 && n > s.maxLen {
		return false, nil
	}
	for _, p := range s.patterns {
		if a, err := c.pattern(p); err != nil || !a.accepts(text) {
			return false, err
		}
	}
	for _, p := range s.unlike {
		if a, err := c.pattern(p); err != nil || a.accepts(text) {
			return false, err
		}
	}
	for _, f := range s.formats {
		if a, err := c.format(f); err != nil || !a.accepts(text) {
			return false, err
		}
	}
	return true, nil
}
