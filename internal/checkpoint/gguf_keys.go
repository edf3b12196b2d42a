package checkpoint

import (
	"encoding/binary"
	"math"
	"strings"
)

// Kinds of metadata values, as numbered in the file.
const (
	kindUint8 uint32 = iota
	kindInt8
	kindUint16
	kindInt16
	kindUint32
	kindInt32
	kindFloat32
	kindBool
	kindString
	kindArray
	kindUint64
	kindInt64
	kindFloat64
)

// readKeys reads n keys with their values.
func readKeys(c *cursor, n uint64) Meta {
	m := Meta{values: make(map[string]any, min(n, 256))}
	for i := uint64(0); i < n; i++ {
		at := c.offset()
		key := c.name("key")
		kind := c.u32("kind of value")
		value := readValue(c, key, kind)
		if c.err != nil {
			return Meta{}
		}
		if _, twice := m.values[key]; twice {
			c.fail(at, "key %q occurs twice", key)
			return Meta{}
		}
		m.keys = append(m.keys, key)
		m.values[key] = value
	}
	return m
}

// readValue reads one value; the result means nothing when c.err is set.
func readValue(c *cursor, key string, kind uint32) any {
	switch kind {
	case kindUint8:
		return one(c, key, 1, getUint8)
	case kindInt8:
		return one(c, key, 1, getInt8)
	case kindUint16:
		return one(c, key, 2, binary.LittleEndian.Uint16)
	case kindInt16:
		return one(c, key, 2, getInt16)
	case kindUint32:
		return one(c, key, 4, binary.LittleEndian.Uint32)
	case kindInt32:
		return one(c, key, 4, getInt32)
	case kindUint64:
		return one(c, key, 8, binary.LittleEndian.Uint64)
	case kindInt64:
		return one(c, key, 8, getInt64)
	case kindFloat32:
		return one(c, key, 4, getFloat32)
	case kindFloat64:
		return one(c, key, 8, getFloat64)
	case kindBool:
		return asBool(c, c.offset(), key, one(c, key, 1, getUint8))
	case kindString:
		return c.text(key, maxTextBytes)
	case kindArray:
		return readArray(c, key)
	}
	c.fail(c.offset()-4, "%s: kind of value %d, want at most %d", key, kind, kindFloat64)
	return nil
}

// readArray reads an array. Arrays in arrays are refused: no key has them.
func readArray(c *cursor, key string) any {
	at := c.offset()
	kind := c.u32("kind of elements")
	switch kind {
	case kindUint8:
		return many(c, key, 1, getUint8)
	case kindInt8:
		return many(c, key, 1, getInt8)
	case kindUint16:
		return many(c, key, 2, binary.LittleEndian.Uint16)
	case kindInt16:
		return many(c, key, 2, getInt16)
	case kindUint32:
		return many(c, key, 4, binary.LittleEndian.Uint32)
	case kindInt32:
		return many(c, key, 4, getInt32)
	case kindUint64:
		return many(c, key, 8, binary.LittleEndian.Uint64)
	case kindInt64:
		return many(c, key, 8, getInt64)
	case kindFloat32:
		return many(c, key, 4, getFloat32)
	case kindFloat64:
		return many(c, key, 8, getFloat64)
	case kindBool:
		raw := many(c, key, 1, getUint8)
		bools := make([]bool, len(raw))
		for i, v := range raw {
			bools[i] = asBool(c, c.offset()-int64(len(raw)-i), key, v)
		}
		return bools
	case kindString:
		return manyStrings(c, key)
	case kindArray:
		c.fail(at, "%s: arrays in arrays are not allowed", key)
		return nil
	}
	c.fail(at, "%s: kind of elements %d, want at most %d", key, kind, kindFloat64)
	return nil
}

// one reads a value of width bytes.
func one[T any](c *cursor, key string, width int, get func([]byte) T) (v T) {
	if p := c.take(width, key); p != nil {
		v = get(p)
	}
	return v
}

// many reads a count and that many values of width bytes. The file is known to
// hold them before the slice is made.
func many[T any](c *cursor, key string, width int, get func([]byte) T) []T {
	n := c.count(key, math.MaxInt, uint64(width))
	if c.err != nil {
		return nil
	}
	out := make([]T, n)
	for i := 0; i < len(out); {
		batch := min(len(out)-i, windowBytes/4/width)
		p := c.take(batch*width, key)
		if p == nil {
			return nil
		}
		for j := range batch {
			out[i+j] = get(p[j*width:])
		}
		i += batch
	}
	return out
}

// manyStrings reads an array of strings into one backing string: a vocabulary
// and its merges are 777,000 strings, whose separate allocation would cost more
// than reading them.
func manyStrings(c *cursor, key string) []string {
	n := c.count(key, math.MaxInt, 8)
	if c.err != nil {
		return nil
	}
	// Both grow with what has been read, whatever n claims.
	var text strings.Builder
	ends := make([]uint32, 0, min(n, 1<<16)) // the header is shorter than 2^32
	for i := uint64(0); i < n; i++ {
		length := c.u64(key)
		if !c.checkRoom(length, key) {
			return nil
		}
		for left := int(length); left > 0; {
			p := c.take(min(left, windowBytes/4), key)
			if p == nil {
				return nil
			}
			text.Write(p)
			left -= len(p)
		}
		ends = append(ends, uint32(text.Len()))
	}
	all, begin := text.String(), uint32(0)
	out := make([]string, len(ends))
	for i, end := range ends {
		out[i] = all[begin:end]
		begin = end
	}
	return out
}

// asBool checks that a bool is stored as 0 or 1. at is its place in the file.
func asBool(c *cursor, at int64, key string, v uint8) bool {
	if v > 1 {
		c.fail(at, "%s: bool is %d, want 0 or 1", key, v)
	}
	return v == 1
}

func getUint8(p []byte) uint8     { return p[0] }
func getInt8(p []byte) int8       { return int8(p[0]) }
func getInt16(p []byte) int16     { return int16(binary.LittleEndian.Uint16(p)) }
func getInt32(p []byte) int32     { return int32(binary.LittleEndian.Uint32(p)) }
func getInt64(p []byte) int64     { return int64(binary.LittleEndian.Uint64(p)) }
func getFloat32(p []byte) float32 { return math.Float32frombits(binary.LittleEndian.Uint32(p)) }
func getFloat64(p []byte) float64 { return math.Float64frombits(binary.LittleEndian.Uint64(p)) }
