package tokenizer

import (
	"errors"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// scanner reads JSON values in the order they stand, without building a tree:
// half a million merges are read in the time one map of them would take. It
// accepts exactly the JSON grammar; src must be valid UTF-8.
type scanner struct {
	src []byte
	pos int
	buf []byte // the last string that had escapes
}

// maxDepth bounds recursion; a tokenizer.json is six levels deep.
const maxDepth = 64

func (s *scanner) errorf(format string, args ...any) error {
	return fmt.Errorf("read JSON at byte %d: %w", s.pos, fmt.Errorf(format, args...))
}

// peek skips white space and returns the next byte, 0 at the end.
func (s *scanner) peek() byte {
	for s.pos < len(s.src) {
		switch c := s.src[s.pos]; c {
		case ' ', '\n', '\t', '\r':
			s.pos++
		default:
			return c
		}
	}
	return 0
}

func (s *scanner) expect(c byte) error {
	if got := s.peek(); got != c {
		if s.pos >= len(s.src) {
			return s.errorf("the text ends where %q should be", c)
		}
		return s.errorf("found %q, want %q", got, c)
	}
	s.pos++
	return nil
}

// str reads a string. The result is valid until the next str.
func (s *scanner) str() ([]byte, error) {
	if err := s.expect('"'); err != nil {
		return nil, err
	}
	start := s.pos
	for s.pos < len(s.src) {
		switch c := s.src[s.pos]; {
		case c == '"':
			s.pos++
			return s.src[start : s.pos-1], nil
		case c == '\\':
			s.buf = append(s.buf[:0], s.src[start:s.pos]...)
			return s.escaped()
		case c < 0x20:
			return nil, s.errorf("control character %q in a string", c)
		}
		s.pos++
	}
	return nil, s.errorf("the text ends inside a string")
}

// escaped goes on with a string from its first backslash.
func (s *scanner) escaped() ([]byte, error) {
	for s.pos < len(s.src) {
		c := s.src[s.pos]
		s.pos++
		switch {
		case c == '"':
			return s.buf, nil
		case c < 0x20:
			return nil, s.errorf("control character %q in a string", c)
		case c != '\\':
			s.buf = append(s.buf, c)
			continue
		}
		if err := s.escape(); err != nil {
			return nil, err
		}
	}
	return nil, s.errorf("the text ends inside a string")
}

// escape reads what follows a backslash.
func (s *scanner) escape() error {
	if s.pos >= len(s.src) {
		return s.errorf("the text ends inside a string")
	}
	c := s.src[s.pos]
	s.pos++
	switch c {
	case '"', '\\', '/':
	case 'b':
		c = '\b'
	case 'f':
		c = '\f'
	case 'n':
		c = '\n'
	case 'r':
		c = '\r'
	case 't':
		c = '\t'
	case 'u':
		r, err := s.unicode()
		s.buf = utf8.AppendRune(s.buf, r)
		return err
	default:
		return s.errorf("unknown escape \\%c", c)
	}
	s.buf = append(s.buf, c)
	return nil
}

// unicode reads the digits of \uXXXX, and the second half of a surrogate pair.
func (s *scanner) unicode() (rune, error) {
	r, err := s.hex4()
	if err != nil || !utf16.IsSurrogate(r) {
		return r, err
	}
	if s.pos+2 <= len(s.src) && s.src[s.pos] == '\\' && s.src[s.pos+1] == 'u' {
		s.pos += 2
		low, err := s.hex4()
		if err != nil {
			return 0, err
		}
		if full := utf16.DecodeRune(r, low); full != utf8.RuneError {
			return full, nil
		}
	}
	return 0, s.errorf("half a surrogate pair, \\u%04x", r)
}

func (s *scanner) hex4() (rune, error) {
	if s.pos+4 > len(s.src) {
		return 0, s.errorf("the text ends inside a string")
	}
	r := rune(0)
	for _, c := range s.src[s.pos : s.pos+4] {
		d, ok := hexDigit(c, false)
		if !ok {
			return 0, s.errorf("%q is no hexadecimal digit", c)
		}
		r = r<<4 | rune(d)
	}
	s.pos += 4
	return r, nil
}

// integer reads a whole number of at most nine digits, which ids are.
func (s *scanner) integer() (int, error) {
	s.peek()
	n, start := 0, s.pos
	for s.pos < len(s.src) && '0' <= s.src[s.pos] && s.src[s.pos] <= '9' {
		if s.pos-start == 9 {
			return 0, s.errorf("number out of range")
		}
		n = 10*n + int(s.src[s.pos]-'0')
		s.pos++
	}
	switch c := s.peek(); {
	case s.pos == start, s.src[start] == '0' && n != 0, c == '.', c == 'e', c == 'E':
		s.pos = start
		return 0, s.errorf("want a whole number")
	}
	return n, nil
}

// object reads {…}; f is called after each key and must read the value. The
// key is valid until the next string is read.
func (s *scanner) object(f func(key []byte) error) error {
	if err := s.expect('{'); err != nil {
		return err
	}
	if s.peek() == '}' {
		s.pos++
		return nil
	}
	for {
		key, err := s.str()
		if err != nil {
			return err
		}
		if err := s.expect(':'); err != nil {
			return err
		}
		if err := f(key); err != nil {
			return err
		}
		if s.peek() != ',' {
			return s.expect('}')
		}
		s.pos++
	}
}

// array reads […]; f is called before each element and must read it.
func (s *scanner) array(f func(i int) error) error {
	if err := s.expect('['); err != nil {
		return err
	}
	if s.peek() == ']' {
		s.pos++
		return nil
	}
	for i := 0; ; i++ {
		if err := f(i); err != nil {
			return err
		}
		if s.peek() != ',' {
			return s.expect(']')
		}
		s.pos++
	}
}

// maxSmall bounds the values that are built as trees.
const maxSmall = 1 << 20

// small is value for one that takes at most 1 MiB of text, so that a hostile
// file cannot turn "{},{},{}…" into many times its size.
func (s *scanner) small() (any, error) {
	start := s.pos
	if err := s.skip(0); err != nil {
		return nil, err
	}
	if s.pos-start > maxSmall {
		return nil, s.errorf("a value of %d bytes, at most %d are supported here", s.pos-start, maxSmall)
	}
	s.pos = start
	return s.value(0)
}

// skip checks any value and passes over it.
func (s *scanner) skip(depth int) (err error) {
	if depth > maxDepth {
		return s.errorf("nested deeper than %d", maxDepth)
	}
	switch s.peek() {
	case '{':
		return s.object(func([]byte) error { return s.skip(depth + 1) })
	case '[':
		return s.array(func(int) error { return s.skip(depth + 1) })
	case '"':
		_, err = s.str()
	default:
		_, err = s.literal()
	}
	return err
}

// value reads any value into nil, bool, float64, string, []any or
// map[string]any, for the small parts of a file.
func (s *scanner) value(depth int) (v any, err error) {
	if depth > maxDepth {
		return nil, s.errorf("nested deeper than %d", maxDepth)
	}
	switch c := s.peek(); c {
	case '{':
		m := map[string]any{}
		err = s.object(func(key []byte) error {
			k := string(key)
			if _, dup := m[k]; dup {
				return s.errorf("key %q stands twice", k)
			}
			m[k], err = s.value(depth + 1)
			return err
		})
		return m, err
	case '[':
		a := []any{}
		err = s.array(func(int) error {
			e, err := s.value(depth + 1)
			a = append(a, e)
			return err
		})
		return a, err
	case '"':
		b, err := s.str()
		return string(b), err
	}
	return s.literal()
}

// literal reads true, false, null or a number.
func (s *scanner) literal() (any, error) {
	start := s.pos
	for s.pos < len(s.src) {
		c := s.src[s.pos]
		if !('0' <= c && c <= '9' || 'a' <= c && c <= 'z' || c == '-' || c == '+' || c == '.' || c == 'E') {
			break
		}
		s.pos++
	}
	word := string(s.src[start:s.pos])
	switch word {
	case "true":
		return true, nil
	case "false":
		return false, nil
	case "null":
		return nil, nil
	}
	if jsonNumber(word) {
		if f, err := strconv.ParseFloat(word, 64); err == nil || errors.Is(err, strconv.ErrRange) {
			return f, nil
		}
	}
	s.pos = start
	return nil, s.errorf("want a value")
}

// jsonNumber reports whether w is a number by JSON's grammar, which is
// narrower than strconv's.
func jsonNumber(w string) bool {
	digits := func() bool {
		n := 0
		for n < len(w) && '0' <= w[n] && w[n] <= '9' {
			n++
		}
		w = w[n:]
		return n > 0
	}
	if w != "" && w[0] == '-' {
		w = w[1:]
	}
	if w != "" && w[0] == '0' {
		w = w[1:]
	} else if !digits() {
		return false
	}
	if w != "" && w[0] == '.' {
		if w = w[1:]; !digits() {
			return false
		}
	}
	if w != "" && (w[0] == 'e' || w[0] == 'E') {
		if w = w[1:]; w != "" && (w[0] == '+' || w[0] == '-') {
			w = w[1:]
		}
		if !digits() {
			return false
		}
	}
	return w == ""
}
