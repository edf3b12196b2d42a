package grammar

import (
	"fmt"
	"slices"
)

// literals are the ways to write one of values.
func (c *compiler) literals(values []*value, next int32) []int32 {
	var to []int32
	var texts, words []string
	for _, v := range values {
		switch v.kind {
		case kindString:
			texts = append(texts, c.style.inside(v.text))
		case kindArray, kindObject:
			to = append(to, c.literal(v, next, 0))
		default:
			words = append(words, v.word())
		}
	}
	if len(texts) > 0 {
		to = append(to, c.style.openString(c.builder, c.words(texts, c.style.closing(), next)))
	}
	if len(words) > 0 {
		to = append(to, c.words(words, 0, next))
	}
	return to
}

// words reads one of list and, if it is not 0, the symbol end.
func (c *compiler) words(list []string, end symbol, next int32) int32 {
	slices.Sort(list)
	list = slices.Compact(list)
	l, err := c.lexemeFor(fmt.Sprintf("words %d %q", end, list), func() (*lexeme, error) {
		d, err := sameWords(list, end)
		return &lexeme{dfa: d}, err
	})
	c.fail(err)
	return c.lexeme(l, next)
}

// word is the text of a value that is no string and has no parts.
func (v *value) word() string {
	switch v.kind {
	case kindNull:
		return "null"
	case kindFalse:
		return "false"
	case kindTrue:
		return "true"
	}
	return v.text
}

// literal writes exactly v.
func (c *compiler) literal(v *value, next int32, depth int) int32 {
	if depth > defaultDepth {
		c.fail(tooComplex("a constant nested deeper than %d", defaultDepth))
		return next
	}
	switch v.kind {
	case kindString:
		return c.style.openString(c.builder, c.words([]string{c.style.inside(v.text)}, c.style.closing(), next))
	case kindArray:
		next = c.text("]", next)
	case kindObject:
		next = c.text("}", next)
	default:
		return c.text(v.word(), next)
	}
	for i := len(v.items) - 1; i >= 0; i-- {
		next = c.literal(v.items[i], next, depth+1)
		if v.kind == kindObject {
			next = c.style.key(c.builder, v.keys[i], next)
		}
		if i > 0 {
			next = c.style.comma(c.builder, next)
		}
	}
	if v.kind == kindArray {
		return c.text("[", next)
	}
	return c.text("{", next)
}
