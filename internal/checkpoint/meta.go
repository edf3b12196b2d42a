package checkpoint

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Meta holds the metadata keys of a GGUF file. The zero value has no keys. The
// typed getters convert between number types where no value is lost, and say
// false when the key is absent or holds something else.
//
// It is immutable; slices it returns may be shared and must not be changed.
type Meta struct {
	keys   []string
	values map[string]any
}

// Keys returns the keys in file order.
func (m Meta) Keys() []string { return m.keys[:len(m.keys):len(m.keys)] }

// Raw returns the value as stored: one of the Go types uint8 … uint64, int8 …
// int64, float32, float64, bool, string, or a slice of one of them; nil when
// the key is absent.
func (m Meta) Raw(key string) any { return m.values[key] }

// Kind returns the Go spelling of the stored value's type ("uint32", "string",
// "[]int32"), "" when the key is absent.
func (m Meta) Kind(key string) string {
	v, ok := m.values[key]
	if !ok {
		return ""
	}
	return fmt.Sprintf("%T", v)
}

// Uint returns any integer that is not negative.
func (m Meta) Uint(key string) (uint64, bool) {
	if v, ok := m.values[key].(uint64); ok {
		return v, true
	}
	v, ok := m.Int(key)
	return uint64(v), ok && v >= 0
}

// Int returns any integer that an int64 holds.
func (m Meta) Int(key string) (int64, bool) {
	switch v := m.values[key].(type) {
	case uint8:
		return int64(v), true
	case int8:
		return int64(v), true
	case uint16:
		return int64(v), true
	case int16:
		return int64(v), true
	case uint32:
		return int64(v), true
	case int32:
		return int64(v), true
	case int64:
		return v, true
	case uint64:
		return int64(v), v <= math.MaxInt64
	}
	return 0, false
}

// Float returns any float, and any integer as the nearest float64.
func (m Meta) Float(key string) (float64, bool) {
	switch v := m.values[key].(type) {
	case float32:
		return float64(v), true
	case float64:
		return v, true
	case uint64:
		return float64(v), true
	}
	v, ok := m.Int(key)
	return float64(v), ok
}

// Bool returns a bool; integers do not count as one.
func (m Meta) Bool(key string) (value, ok bool) {
	value, ok = m.values[key].(bool)
	return value, ok
}

// String returns a string.
func (m Meta) String(key string) (string, bool) {
	v, ok := m.values[key].(string)
	return v, ok
}

// Strings returns an array of strings.
func (m Meta) Strings(key string) ([]string, bool) {
	v, ok := m.values[key].([]string)
	return v, ok
}

// Ints returns any array of integers that int64 holds.
func (m Meta) Ints(key string) ([]int64, bool) {
	switch v := m.values[key].(type) {
	case []uint8:
		return widen[int64](v), true
	case []int8:
		return widen[int64](v), true
	case []uint16:
		return widen[int64](v), true
	case []int16:
		return widen[int64](v), true
	case []uint32:
		return widen[int64](v), true
	case []int32:
		return widen[int64](v), true
	case []int64:
		return v, true
	case []uint64:
		if slices.ContainsFunc(v, func(x uint64) bool { return x > math.MaxInt64 }) {
			return nil, false
		}
		return widen[int64](v), true
	}
	return nil, false
}

// Floats returns any array of floats, and any array of integers as the nearest
// float64s.
func (m Meta) Floats(key string) ([]float64, bool) {
	switch v := m.values[key].(type) {
	case []float32:
		return widen[float64](v), true
	case []float64:
		return v, true
	case []uint64:
		return widen[float64](v), true
	}
	v, ok := m.Ints(key)
	if !ok {
		return nil, false
	}
	return widen[float64](v), true
}

// Bools returns an array of bools, and any array of integers with "not zero"
// as true: writers differ in how they store such arrays.
func (m Meta) Bools(key string) ([]bool, bool) {
	if v, ok := m.values[key].([]bool); ok {
		return v, true
	}
	ints, ok := m.Ints(key)
	if !ok {
		return nil, false
	}
	bools := make([]bool, len(ints))
	for i, v := range ints {
		bools[i] = v != 0
	}
	return bools, true
}

// without returns m less the keys that begin with prefix.
func (m Meta) without(prefix string) Meta {
	out := Meta{values: make(map[string]any, len(m.keys))}
	for _, key := range m.keys {
		if !strings.HasPrefix(key, prefix) {
			out.keys = append(out.keys, key)
			out.values[key] = m.values[key]
		}
	}
	return out
}

type number interface {
	~uint8 | ~int8 | ~uint16 | ~int16 | ~uint32 | ~int32 | ~uint64 | ~int64 | ~float32 | ~float64
}

func widen[To, From number](in []From) []To {
	out := make([]To, len(in))
	for i, v := range in {
		out[i] = To(v)
	}
	return out
}
