package grammar

import (
	"fmt"
	"strings"
	"unicode"
)

// style is how values are written: in JSON or as arguments of a call.
type style interface {
	quoting() quoting
	// openString reads what stands before the inside of a string.
	openString(b *builder, next int32) int32
	// inside is a string between its quotes, and closing the symbol behind it.
	inside(s string) string
	closing() symbol
	// key reads a known key and the colon.
	key(b *builder, name string, next int32) int32
	// anyKey reads a key of the set and the colon; of a nil set any key.
	anyKey(c *compiler, set *automaton, next int32) (int32, error)
	// comma reads a comma; inner what may stand behind an opening bracket and
	// before a closing one.
	comma(b *builder, next int32) int32
	inner(b *builder, next int32) int32
	// sorted says that keys come in alphabetical order.
	sorted() bool
}

// jsonStyle is JSON with some white space.
type jsonStyle struct{ space Whitespace }

func (jsonStyle) quoting() quoting       { return jsonText }
func (jsonStyle) inside(s string) string { return jsonInside(s) }
func (jsonStyle) closing() symbol        { return '"' }
func (jsonStyle) sorted() bool           { return false }

func (jsonStyle) openString(b *builder, next int32) int32 { return b.text(`"`, next) }

func (j jsonStyle) key(b *builder, name string, next int32) int32 {
	return b.text(`"`+jsonInside(name)+`":`, j.spaced(b, next))
}

func (j jsonStyle) anyKey(c *compiler, set *automaton, next int32) (int32, error) {
	l, err := c.keyLexeme(set, jsonText)
	if err != nil {
		return 0, err
	}
	return c.text(`"`, c.lexeme(l, c.text(":", j.spaced(c.builder, next)))), nil
}

func (j jsonStyle) comma(b *builder, next int32) int32 {
	if j.space == Indented {
		return b.text(",", b.choice(next, b.text(" ", next), j.indent(b, next)))
	}
	return b.text(",", j.spaced(b, next))
}

func (j jsonStyle) inner(b *builder, next int32) int32 {
	if j.space == Indented {
		return b.choice(next, j.indent(b, next))
	}
	return next
}

// spaced reads one space or none.
func (j jsonStyle) spaced(b *builder, next int32) int32 {
	if j.space == Compact {
		return next
	}
	return b.choice(next, b.text(" ", next))
}

// indent reads a newline and what indents the next line.
func (j jsonStyle) indent(b *builder, next int32) int32 {
	l, err := b.lexemeFor("indent", func() (*lexeme, error) {
		a, err := parsePattern(`\n(?: {0,32}|\t{0,8})`, true)
		if err != nil {
			return nil, err
		}
		return &lexeme{dfa: encode(a, plain)}, nil
	})
	b.fail(err)
	return b.lexeme(l, next)
}

// callStyle is Gemma's own: strings as they are between quote tokens, keys
// without quotes, no white space.
type callStyle struct{}

func (callStyle) quoting() quoting       { return rawText }
func (callStyle) inside(s string) string { return s }
func (callStyle) closing() symbol        { return quote }
func (callStyle) sorted() bool           { return true }

func (callStyle) openString(b *builder, next int32) int32 { return b.token(quote, next) }
func (callStyle) comma(b *builder, next int32) int32      { return b.text(",", next) }
func (callStyle) inner(_ *builder, next int32) int32      { return next }

func (callStyle) key(b *builder, name string, next int32) int32 {
	next = b.text(":", next)
	if isBareKey(name) {
		return b.text(name, next)
	}
	return b.token(quote, b.text(name, b.token(quote, next)))
}

// isBareKey reports whether name can be read as a key without quotes.
func isBareKey(name string) bool {
	return name != "" && strings.TrimSpace(name) == name && !strings.ContainsAny(name, `:,{}[]"`) &&
		!strings.ContainsFunc(name, unicode.IsControl)
}

// bareKeys are the free keys that are written without quotes.
const bareKeys = `[A-Za-z0-9_$.@/-]+`

// anyKey writes keys of the simple set bareKeys without quotes. Others are left
// out, unless there is none in the set: then all are in quotes.
func (callStyle) anyKey(c *compiler, set *automaton, next int32) (int32, error) {
	bare, err := c.automaton("bare", func() (*automaton, error) { return parsePattern(bareKeys, true) })
	if err == nil && set != nil {
		bare, err = intersect(bare, set)
	}
	if err != nil {
		return 0, err
	}
	if !bare.empty() {
		l, err := c.keyLexeme(bare, bareText)
		return c.lexeme(l, next), err
	}
	l, err := c.keyLexeme(set, rawText)
	return c.token(quote, c.lexeme(l, c.text(":", next))), err
}

// keyLexeme is the inside of a free key and what ends it.
func (c *compiler) keyLexeme(set *automaton, q quoting) (*lexeme, error) {
	if set == nil && q == jsonText {
		return c.lexemeFor(`string [] [] [] 0 -1`, func() (*lexeme, error) { return &lexeme{dfa: freeJSON(), max: -1}, nil })
	}
	if set == nil {
		set = anyText()
	}
	c.nKeys++
	return c.lexemeFor(fmt.Sprint("key ", c.nKeys), func() (*lexeme, error) { return &lexeme{dfa: encode(set, q)}, nil })
}
