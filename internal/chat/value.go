package chat

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// maxDepth bounds how deep JSON values and call arguments may nest.
const maxDepth = 100

// kind is the type of a value.
type kind uint8

// undefined is what looking up an absent key gives; it is not null.
const (
	undefined kind = iota
	null
	boolean
	number
	text
	list
	object
)

func (k kind) String() string {
	return [...]string{"nothing", "null", "a boolean", "a number", "a string", "an array", "an object"}[k]
}

// value is a JSON value that keeps the order of keys and the text of numbers.
// The zero value is undefined.
type value struct {
	kind   kind
	bool   bool
	text   string // of a string, or the digits of a number
	list   []value
	fields []field // keys are distinct
	raw    []byte  // the JSON text this was read from; nil when built
}

type field struct {
	key string
	value
}

// get looks a key up; undefined when v is no object or lacks it.
func (v value) get(key string) value {
	for _, f := range v.fields {
		if f.key == key {
			return f.value
		}
	}
	return value{}
}

// parseValue reads one JSON text. Of a repeated key the last value counts, at
// the place of the first, as in Python. data must not change afterwards.
func parseValue(data []byte) (value, error) {
	if !json.Valid(data) {
		var v any
		if err := json.Unmarshal(data, &v); err != nil {
			return value{}, fmt.Errorf("read JSON: %w", err)
		}
		return value{}, errors.New("read JSON: malformed text")
	}
	r := reader{data: data}
	return r.value(0)
}

// reader walks JSON text that json.Valid has passed, so it checks only depth.
type reader struct {
	data []byte
	at   int
}

func (r *reader) value(depth int) (value, error) {
	if depth > maxDepth {
		return value{}, fmt.Errorf("read JSON: nested deeper than %d at byte %d", maxDepth, r.at)
	}
	r.space()
	start := r.at
	v, err := value{}, error(nil)
	switch r.data[r.at] {
	case '{':
		v, err = r.object(depth)
	case '[':
		v, err = r.array(depth)
	case '"':
		v = value{kind: text, text: r.string()}
	case 't', 'f':
		v = value{kind: boolean, bool: r.data[r.at] == 't'}
		r.word()
	case 'n':
		v = value{kind: null}
		r.word()
	default:
		r.word()
		v = value{kind: number, text: string(r.data[start:r.at])}
	}
	v.raw = r.data[start:r.at]
	return v, err
}

func (r *reader) object(depth int) (value, error) {
	v := value{kind: object}
	index := map[string]int{}
	for r.at++; r.space() != '}'; {
		if r.data[r.at] == ',' {
			r.at++
			r.space()
		}
		key := r.string()
		r.space()
		r.at++ // the colon
		item, err := r.value(depth + 1)
		if err != nil {
			return value{}, err
		}
		if i, ok := index[key]; ok {
			v.fields[i].value = item
			continue
		}
		index[key] = len(v.fields)
		v.fields = append(v.fields, field{key, item})
	}
	r.at++
	return v, nil
}

func (r *reader) array(depth int) (value, error) {
	v := value{kind: list}
	for r.at++; r.space() != ']'; {
		if r.data[r.at] == ',' {
			r.at++
		}
		item, err := r.value(depth + 1)
		if err != nil {
			return value{}, err
		}
		v.list = append(v.list, item)
	}
	r.at++
	return v, nil
}

// string reads a quoted string.
func (r *reader) string() string {
	start := r.at
	for r.at++; r.data[r.at] != '"'; r.at++ {
		if r.data[r.at] == '\\' {
			r.at++
		}
	}
	r.at++
	var s string
	if err := json.Unmarshal(r.data[start:r.at], &s); err != nil {
		panic("chat: internal error: valid JSON has a malformed string: " + err.Error())
	}
	return s
}

// space skips white space and returns the byte after it.
func (r *reader) space() byte {
	for ; ; r.at++ {
		switch c := r.data[r.at]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
}

// word skips a literal or a number.
func (r *reader) word() {
	for ; r.at < len(r.data); r.at++ {
		switch r.data[r.at] {
		case ' ', '\t', '\n', '\r', ',', ']', '}':
			return
		}
	}
}

// appendJSON writes v as JSON; undefined as null.
func (v value) appendJSON(dst []byte) []byte {
	switch v.kind {
	case boolean:
		if v.bool {
			return append(dst, "true"...)
		}
		return append(dst, "false"...)
	case number:
		return append(dst, v.text...)
	case text:
		return appendString(dst, v.text)
	case list:
		dst = append(dst, '[')
		for i, item := range v.list {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = item.appendJSON(dst)
		}
		return append(dst, ']')
	case object:
		dst = append(dst, '{')
		for i, f := range v.fields {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(appendString(dst, f.key), ':')
			dst = f.value.appendJSON(dst)
		}
		return append(dst, '}')
	}
	return append(dst, "null"...)
}

// appendString writes s as a JSON string, with <, > and & left readable.
func appendString(dst []byte, s string) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		panic("chat: internal error: encode a string: " + err.Error())
	}
	return append(dst, bytes.TrimSuffix(b.Bytes(), []byte("\n"))...)
}

// sorted returns the fields ordered by lower-cased key, equal ones in the order
// they came.
func (v value) sorted() []field {
	out := slices.Clone(v.fields)
	keys := make(map[string]string, len(out))
	for _, f := range out {
		keys[f.key] = pyLower(f.key)
	}
	slices.SortStableFunc(out, func(a, b field) int {
		// Byte order of UTF-8 is code point order, which is Python's.
		return strings.Compare(keys[a.key], keys[b.key])
	})
	return out
}
