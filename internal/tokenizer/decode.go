package tokenizer

import (
	"strings"
	"unicode/utf8"
)

const badRune = "\uFFFD"

// Decode joins the text of ids, special tokens included: '▁' becomes a space,
// none is stripped. A run of consecutive byte tokens is one piece of UTF-8 if
// all of it is valid, and otherwise one U+FFFD for every byte token of the
// run; that is the reference's rule. An id outside the vocabulary becomes
// U+FFFD. The result is always valid UTF-8.
func (t *Tokenizer) Decode(ids []int32) string {
	var b strings.Builder
	d := t.NewDecoder()
	for _, id := range ids {
		b.WriteString(d.Push(id))
	}
	b.WriteString(d.Flush())
	return b.String()
}

// Text is one token's own text: '▁' as space, a byte token as its raw byte
// (which alone need not be valid UTF-8). U+FFFD for an id outside the
// vocabulary. It does not allocate.
func (t *Tokenizer) Text(id int32) string {
	if !t.has(id) {
		return badRune
	}
	if b, ok := t.byteValueOf(id); ok {
		return byteText[b : int(b)+1]
	}
	return t.text.at(id)
}

// Bytes is Text as a new byte slice.
func (t *Tokenizer) Bytes(id int32) []byte { return []byte(t.Text(id)) }

// byteText holds the bytes 0 … 255, so that a one-byte string is a slice of it.
var byteText = func() string {
	var b [256]byte
	for i := range b {
		b[i] = byte(i)
	}
	return string(b[:])
}()

// Decoder decodes ids one at a time. What Push and Flush return, joined, is
// what Decode returns for the same ids, and every part is valid UTF-8: no code
// point is ever split. Byte tokens are held back until their run ends, because
// only then is it known whether the run is valid. Not safe for concurrent use.
type Decoder struct {
	t   *Tokenizer
	run []byte // byte tokens not returned yet
}

// NewDecoder returns a decoder at the beginning of a text.
func (t *Tokenizer) NewDecoder() *Decoder { return &Decoder{t: t} }

// Push takes the next id and returns the text that is now certain, which may
// be empty. It allocates only at the end of a run of byte tokens.
func (d *Decoder) Push(id int32) string {
	if d.t.has(id) {
		if b, ok := d.t.byteValueOf(id); ok {
			d.run = append(d.run, b)
			return ""
		}
	}
	if len(d.run) == 0 {
		return d.t.Text(id)
	}
	return d.Flush() + d.t.Text(id)
}

// Flush ends a run of byte tokens and returns its text. The decoder is then as
// new.
func (d *Decoder) Flush() string {
	if len(d.run) == 0 {
		return ""
	}
	s := string(d.run)
	if !utf8.Valid(d.run) {
		s = strings.Repeat(badRune, len(d.run))
	}
	d.run = d.run[:0]
	return s
}
