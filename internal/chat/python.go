package chat

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"
)

// The reference template is Jinja run by Python, so where it prints, compares or
// trims a value, Python's rules decide. This file holds those rules.

// pyStrip removes white space at both ends as str.strip does: Go's set and the
// four separators U+001C … U+001F.
func pyStrip(s string) string {
	return strings.TrimFunc(s, func(r rune) bool {
		return unicode.IsSpace(r) || r >= 0x1C && r <= 0x1F
	})
}

// pyUpper is str.upper. Of the characters whose upper case is longer than one
// code point only ß is covered: the strings are names of types.
func pyUpper(s string) string { return strings.ToUpper(strings.ReplaceAll(s, "ß", "SS")) }

// pyLower is str.lower, for sorting keys. It differs from Go only for İ, whose
// lower case is two code points, and for Σ at the end of a word (not covered).
func pyLower(s string) string {
	return strings.ToLower(strings.ReplaceAll(s, "İ", "i\u0307"))
}

// truth is Python's bool(v).
func (v value) truth() bool {
	switch v.kind {
	case boolean:
		return v.bool
	case number:
		f, err := strconv.ParseFloat(v.text, 64)
		return err != nil || f != 0
	case text:
		return v.text != ""
	case list:
		return len(v.list) > 0
	case object:
		return len(v.fields) > 0
	}
	return false
}

// str is Python's str(v); "" for undefined.
func (v value) str() string {
	if v.kind == text {
		return v.text
	}
	var b strings.Builder
	v.repr(&b)
	return b.String()
}

// repr writes Python's repr(v).
func (v value) repr(b *strings.Builder) {
	switch v.kind {
	case null:
		b.WriteString("None")
	case boolean:
		if v.bool {
			b.WriteString("True")
		} else {
			b.WriteString("False")
		}
	case number:
		b.WriteString(pyNumber(v.text))
	case text:
		pyQuote(b, v.text)
	case list:
		b.WriteByte('[')
		for i, item := range v.list {
			if i > 0 {
				b.WriteString(", ")
			}
			item.repr(b)
		}
		b.WriteByte(']')
	case object:
		b.WriteByte('{')
		for i, f := range v.fields {
			if i > 0 {
				b.WriteString(", ")
			}
			pyQuote(b, f.key)
			b.WriteString(": ")
			f.value.repr(b)
		}
		b.WriteByte('}')
	}
}

// pyNumber prints a JSON number as Python prints it once read: integers of any
// size digit by digit, the rest as the shortest float64 of that value.
func pyNumber(s string) string {
	if !strings.ContainsAny(s, ".eE") {
		if s == "-0" {
			return "0"
		}
		return s
	}
	f, _ := strconv.ParseFloat(s, 64) // out of range gives ±Inf, as in Python
	if math.IsInf(f, 0) {
		return strings.TrimPrefix(strings.ToLower(strconv.FormatFloat(f, 'g', -1, 64)), "+")
	}
	sci := strconv.FormatFloat(f, 'e', -1, 64)
	mantissa, exp, _ := strings.Cut(sci, "e")
	if e, _ := strconv.Atoi(exp); e < -4 || e >= 16 {
		return mantissa + "e" + exp // Go writes two exponent digits or more, too
	}
	fixed := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(fixed, ".") {
		fixed += ".0"
	}
	return fixed
}

// pyQuote writes repr of a string.
func pyQuote(b *strings.Builder, s string) {
	quote := '\''
	if strings.ContainsRune(s, '\'') && !strings.ContainsRune(s, '"') {
		quote = '"'
	}
	b.WriteRune(quote)
	for _, r := range s {
		switch {
		case r == quote || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r < 0x100:
			fmt.Fprintf(b, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(b, `\u%04x`, r)
		default:
			fmt.Fprintf(b, `\U%08x`, r)
		}
	}
	b.WriteRune(quote)
}
