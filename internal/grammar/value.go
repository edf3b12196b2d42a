package grammar

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strconv"
	"strings"
)

// value is a JSON value that keeps the order of keys and the text of numbers.
type value struct {
	kind  kind
	text  string   // of a string, or a number's digits
	keys  []string // of an object, parallel to items
	items []*value
	index map[string]int // of keys, where there are many
}

// kind is a JSON type; kinds are combined to sets.
type kind uint8

const (
	kindNull kind = 1 << iota
	kindFalse
	kindTrue
	kindInteger // numbers without a fraction
	kindFraction
	kindString
	kindArray
	kindObject

	kindBoolean = kindFalse | kindTrue
	kindNumber  = kindInteger | kindFraction
	kindAny     = kind(255)
)

// get looks up a key; nil when v is no object or lacks it.
func (v *value) get(key string) *value {
	if v.index != nil {
		if i, ok := v.index[key]; ok {
			return v.items[i]
		}
		return nil
	}
	for i, k := range v.keys {
		if k == key {
			return v.items[i]
		}
	}
	return nil
}

// parseValue reads one JSON text.
func parseValue(data []byte) (*value, error) {
	if len(data) > maxSchemaBytes {
		return nil, tooComplex("a schema of %d bytes, at most %d are supported", len(data), maxSchemaBytes)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	v, err := readValue(d, 0)
	if err != nil {
		return nil, fmt.Errorf("read schema: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("read schema: there is something behind it")
	}
	return v, nil
}

func readValue(d *json.Decoder, depth int) (*value, error) {
	if depth > maxSchemaDepth {
		return nil, tooComplex("nested deeper than %d", maxSchemaDepth)
	}
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case nil:
		return &value{kind: kindNull}, nil
	case bool:
		if t {
			return &value{kind: kindTrue}, nil
		}
		return &value{kind: kindFalse}, nil
	case string:
		return &value{kind: kindString, text: t}, nil
	case json.Number:
		return readNumber(t.String())
	case json.Delim:
		if t == '[' {
			return readItems(d, &value{kind: kindArray}, depth)
		}
		return readItems(d, &value{kind: kindObject}, depth)
	}
	panic("grammar: internal error: unknown JSON token")
}

// readItems reads the rest of an array or an object.
func readItems(d *json.Decoder, v *value, depth int) (*value, error) {
	seen := map[string]int{}
	for d.More() {
		if v.kind == kindObject {
			t, err := d.Token()
			if err != nil {
				return nil, err
			}
			key := t.(string) // the decoder sees to it
			if _, ok := seen[key]; ok {
				return nil, fmt.Errorf("key %s occurs twice", clip(key))
			}
			seen[key] = len(v.keys)
			v.keys = append(v.keys, key)
		}
		item, err := readValue(d, depth+1)
		if err != nil {
			return nil, err
		}
		v.items = append(v.items, item)
	}
	if len(v.keys) > 8 {
		v.index = seen
	}
	_, err := d.Token()
	return v, err
}

func readNumber(text string) (*value, error) {
	x, err := rational(text)
	if err != nil {
		return nil, err
	}
	if x.IsInt() {
		return &value{kind: kindInteger, text: text}, nil
	}
	return &value{kind: kindFraction, text: text}, nil
}

// rational is the exact value of a number, if it can be written out in a bounded
// number of digits.
func rational(text string) (*big.Rat, error) {
	mantissa, exp, ok := strings.Cut(strings.ToLower(text), "e")
	n := 0
	if ok {
		var err error
		if n, err = strconv.Atoi(exp); err != nil {
			n = maxBoundDigits + 1
		}
	}
	if len(mantissa) > maxBoundDigits || n > maxBoundDigits || n < -maxBoundDigits {
		return nil, tooComplex("the number %s has more than %d digits", clip(text), maxBoundDigits)
	}
	x, ok := new(big.Rat).SetString(text)
	if !ok {
		return nil, fmt.Errorf("the number %s cannot be read", clip(text))
	}
	return x, nil
}

// key is the same for values that are equal as JSON Schema has it: numbers by
// value, objects regardless of order.
func (v *value) key() string {
	var b strings.Builder
	v.appendKey(&b)
	return b.String()
}

func (v *value) appendKey(b *strings.Builder) {
	fmt.Fprintf(b, "%d", v.kind)
	switch v.kind {
	case kindString:
		b.WriteString(strconv.Quote(v.text))
	case kindInteger, kindFraction:
		b.WriteString(v.rat().RatString())
	case kindArray, kindObject:
		parts := make([]string, len(v.items))
		for i, item := range v.items {
			parts[i] = item.key()
			if v.kind == kindObject {
				parts[i] = strconv.Quote(v.keys[i]) + parts[i]
			}
		}
		if v.kind == kindObject {
			slices.Sort(parts)
		}
		fmt.Fprintf(b, "[%s]", strings.Join(parts, ","))
	}
}

// bothOf are the values of a that are also in b; a itself if b is nil, which
// stands for all values, and the reverse.
func bothOf(a, b []*value) []*value {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	in := keySet(b)
	both := []*value{}
	for _, v := range a {
		if in[v.key()] {
			both = append(both, v)
		}
	}
	return both
}

func keySet(list []*value) map[string]bool {
	set := make(map[string]bool, len(list))
	for _, v := range list {
		set[v.key()] = true
	}
	return set
}

// rat is the value of a number that readNumber has read.
func (v *value) rat() *big.Rat {
	x, err := rational(v.text)
	if err != nil {
		panic("grammar: internal error: a number that was read before: " + err.Error())
	}
	return x
}

// jsonInside is s between quotes in JSON, with no escapes but those needed.
func jsonInside(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case !mustEscape(r):
			b.WriteRune(r)
			continue
		case strings.ContainsRune("\"\\", r):
			b.WriteByte('\\')
			b.WriteRune(r)
			continue
		}
		for _, e := range shortEscapes {
			if e.is == r {
				b.WriteByte('\\')
				b.WriteByte(e.letter)
			}
		}
		if !strings.ContainsRune("\b\f\n\r\t", r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}
