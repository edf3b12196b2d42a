package tokenizer

import "math/bits"

// The piece cache: direct-mapped, one for each running Encode, kept by the
// pool. 16,384 entries of 48 bytes are 768 KiB.
const (
	cacheBits    = 14
	cacheEntries = 1 << cacheBits
	maxCached    = 24 // bytes of a piece
)

// pieceKey holds a whole piece of at most 24 bytes: three possibly overlapping
// words, and the length that says how they overlap, so equal keys are equal
// pieces. A piece is never empty: the zero key is free.
type pieceKey struct {
	a, b, c uint64
	bytes   uint64 // only the low 5 bits are used
}

type cacheEntry struct {
	key pieceKey
	n   int32 // ids in use
	ids [3]int32
}

type pieceCache []cacheEntry

func (c *pieceCache) at(k *pieceKey) *cacheEntry {
	if *c == nil {
		*c = make(pieceCache, cacheEntries)
	}
	hi, lo := bits.Mul64(k.a^0x9E3779B97F4A7C15, k.c^0xD1B54A32D192ED03^k.bytes)
	h := (hi ^ lo ^ k.b) * 0xBF58476D1CE4E5B9
	return &(*c)[h>>(64-cacheBits)]
}

// put stores ids for k unless there are too many.
func (e *cacheEntry) put(k pieceKey, ids []int32) {
	if len(ids) <= len(e.ids) {
		e.key, e.n = k, int32(copy(e.ids[:], ids))
	}
}

func makeKey(s string) pieceKey {
	n := len(s)
	k := pieceKey{bytes: uint64(n)}
	switch {
	case n >= 8:
		k.a, k.c = load64(s), load64(s[n-8:])
		if n > 16 {
			k.b = load64(s[8:])
		}
	case n >= 4:
		k.a = uint64(load32(s))<<32 | uint64(load32(s[n-4:]))
	case n > 0:
		k.a = uint64(s[0])<<16 | uint64(s[n/2])<<8 | uint64(s[n-1])
	}
	return k
}

func load64(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

func load32(s string) uint32 {
	_ = s[3]
	return uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 | uint32(s[3])<<24
}
