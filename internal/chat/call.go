package chat

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// The inside of a call, as Render writes it and the model was taught to:
//
//	call   = "call:" name "{" [ key ":" value { "," key ":" value } ] "}"
//	value  = quote text quote | "{" … "}" | "[" … "]" | "true" | "false" | "null"
//	       | number | bare word, a string
//
// where quote is a token, not characters. The reader below also takes white
// space anywhere between these, quoted keys, JSON strings, commas too many, and
// supplies quotes, braces and values that are missing at the end; whatever it
// had to guess marks the call as repaired.

const maxNameBytes = 256

// callReader reads the inside of a call.
type callReader struct {
	text     string
	quotes   []int // those not yet passed
	at       int
	repaired bool
}

// parse reads the call. closed says that its end token was there.
func (c *callText) parse(closed bool) (Call, error) {
	if c.over {
		return Call{}, fmt.Errorf("read call: longer than %d bytes", maxCallBytes)
	}
	r := callReader{text: c.text.String(), quotes: c.quotes, repaired: !closed}
	name, err := r.name()
	if err != nil {
		return Call{}, fmt.Errorf("read call: %w", err)
	}
	args := value{kind: object}
	if r.here('{') {
		if args, err = r.object(0); err != nil {
			return Call{}, fmt.Errorf("read call of %s: %w", name, err)
		}
	} else {
		r.repaired = true
	}
	r.space()
	if r.at < len(r.text) || len(r.quotes) > 0 {
		r.repaired = true // something behind the last brace: passed over
	}
	return Call{Name: name, Arguments: json.RawMessage(args.appendJSON(nil)), Repaired: r.repaired}, nil
}

// name reads "call:" and the name up to the first brace.
func (r *callReader) name() (string, error) {
	head, _, _ := strings.Cut(r.text, "{")
	name := strings.TrimSpace(head)
	if rest, ok := strings.CutPrefix(name, "call:"); ok {
		name = strings.TrimSpace(rest)
	} else {
		r.repaired = true
	}
	for len(r.quotes) > 0 && r.quotes[0] <= len(head) {
		r.quotes, r.repaired = r.quotes[1:], true // a quoted name
	}
	r.at = len(head)
	switch {
	case name == "":
		return "", errors.New("no name")
	case len(name) > maxNameBytes:
		return "", fmt.Errorf("name longer than %d bytes", maxNameBytes)
	case strings.ContainsFunc(name, unicode.IsControl):
		return "", fmt.Errorf("name %q has control characters", name)
	}
	return name, nil
}

// atQuote reports whether a quote token stands here.
func (r *callReader) atQuote() bool { return len(r.quotes) > 0 && r.quotes[0] == r.at }

// here reports whether the next thing is the character c.
func (r *callReader) here(c byte) bool {
	return !r.atQuote() && r.at < len(r.text) && r.text[r.at] == c
}

// done reports whether nothing is left.
func (r *callReader) done() bool { return r.at >= len(r.text) && !r.atQuote() }

// limit is the offset of the next quote token, or the end.
func (r *callReader) limit() int {
	if len(r.quotes) > 0 {
		return r.quotes[0]
	}
	return len(r.text)
}

// space skips white space up to the next quote token.
func (r *callReader) space() {
	rest := r.text[r.at:r.limit()]
	r.at += len(rest) - len(strings.TrimLeftFunc(rest, unicode.IsSpace))
}

// commas skips white space and commas.
func (r *callReader) commas() {
	for r.space(); r.here(','); r.space() {
		r.at++
	}
}

// object reads from the opening brace to the closing one. depth counts the
// values around it.
func (r *callReader) object(depth int) (value, error) {
	if depth > maxDepth {
		return value{}, fmt.Errorf("nested deeper than %d", maxDepth)
	}
	v := value{kind: object}
	index := map[string]int{}
	r.at++
	for {
		r.commas()
		switch {
		case r.done():
			r.repaired = true
			return v, nil
		case r.here('}'):
			r.at++
			return v, nil
		case r.here(']'):
			r.repaired = true
			if depth > 0 { // an array around may be meant
				return v, nil
			}
			r.at++
			continue
		case r.here('{'), r.here('['): // stray: go on behind it
			r.repaired = true
			r.at++
			continue
		}
		key := r.key()
		item, err := r.field(depth)
		if err != nil {
			return value{}, err
		}
		if i, ok := index[key]; ok { // the last one counts
			v.fields[i].value = item
			continue
		}
		index[key] = len(v.fields)
		v.fields = append(v.fields, field{key, item})
	}
}

// field reads the colon and the value behind a key; null where they are missing.
func (r *callReader) field(depth int) (value, error) {
	r.space()
	if !r.here(':') {
		r.repaired = true
		return value{kind: null}, nil
	}
	r.at++
	return r.value(depth + 1)
}

// key reads a key, quoted or bare up to its colon.
func (r *callReader) key() string {
	if r.atQuote() {
		return r.quoted()
	}
	if s, ok := r.jsonString(":"); ok {
		return s
	}
	start := r.at
	for r.at < r.limit() && !strings.ContainsRune(":,{}[]", rune(r.text[r.at])) {
		r.at++
	}
	return strings.TrimSpace(r.text[start:r.at])
}

// array reads from the opening bracket to the closing one.
func (r *callReader) array(depth int) (value, error) {
	if depth > maxDepth {
		return value{}, fmt.Errorf("nested deeper than %d", maxDepth)
	}
	v := value{kind: list}
	r.at++
	for {
		r.commas()
		switch {
		case r.done():
			r.repaired = true
			return v, nil
		case r.here(']'):
			r.at++
			return v, nil
		case r.here('}'): // the object around ends
			r.repaired = true
			return v, nil
		}
		item, err := r.value(depth + 1)
		if err != nil {
			return value{}, err
		}
		v.list = append(v.list, item)
	}
}

// value reads one value.
func (r *callReader) value(depth int) (value, error) {
	r.space()
	switch {
	case r.atQuote():
		return value{kind: text, text: r.quoted()}, nil
	case r.here('{'):
		return r.object(depth)
	case r.here('['):
		return r.array(depth)
	}
	if s, ok := r.jsonString(",}]"); ok {
		return value{kind: text, text: s}, nil
	}
	start := r.at
	for r.at < r.limit() && !strings.ContainsRune(",}]", rune(r.text[r.at])) {
		r.at++
	}
	if r.atQuote() { // text and a string run together: two values
		r.repaired = true
	}
	return r.bare(strings.TrimSpace(r.text[start:r.at])), nil
}

// bare is the value of a word without quotes.
func (r *callReader) bare(word string) value {
	switch word {
	case "":
		r.repaired = true
		return value{kind: null}
	case "null":
		return value{kind: null}
	case "true", "false":
		return value{kind: boolean, bool: word == "true"}
	}
	if c := word[0]; (c == '-' || c >= '0' && c <= '9') && json.Valid([]byte(word)) {
		return value{kind: number, text: word}
	}
	return value{kind: text, text: word}
}

// quoted reads the string behind the quote token that stands here, to the next
// one or the end.
func (r *callReader) quoted() string {
	r.quotes = r.quotes[1:]
	end := r.limit()
	if len(r.quotes) > 0 {
		r.quotes = r.quotes[1:]
	} else {
		r.repaired = true
	}
	s := r.text[r.at:end]
	r.at = end
	return s
}

// jsonString reads a string in JSON's quotes if one stands here and one of the
// bytes of ends follows it.
func (r *callReader) jsonString(ends string) (string, bool) {
	if !r.here('"') {
		return "", false
	}
	rest := r.text[r.at:r.limit()]
	end := 1
	for ; end < len(rest) && rest[end] != '"'; end++ {
		if rest[end] == '\\' {
			end++
		}
	}
	if end >= len(rest) {
		return "", false
	}
	after := strings.TrimLeftFunc(rest[end+1:], unicode.IsSpace)
	if after == "" && r.limit() < len(r.text) || after != "" && !strings.Contains(ends, after[:1]) {
		return "", false // not the end of a value
	}
	var s string
	if json.Unmarshal([]byte(rest[:end+1]), &s) != nil {
		return "", false
	}
	r.at += end + 1
	return s, true
}
