package tokenizer

import "unicode/utf8"

// Encode appends the ids of text to dst and returns it. No BOS is added.
//
// With special set, the texts of special tokens ("<|turn>") become their ids;
// without it they are plain text, which is what untrusted content needs.
// Bytes that are not valid UTF-8 are encoded as U+FFFD, one each.
func (t *Tokenizer) Encode(dst []int32, text string, special bool) []int32 {
	if text == "" {
		return dst
	}
	s := t.pool.Get().(*scratch)
	from := 0
	for special {
		start, end, id, ok := t.special.next(text, from)
		if !ok {
			break
		}
		dst = t.encodePlain(s, dst, text[from:start])
		dst = append(dst, id)
		from = end
	}
	dst = t.encodePlain(s, dst, text[from:])
	s.trim()
	t.pool.Put(s)
	return dst
}

// encodePlain cuts text wherever no merge can cross and encodes the parts.
func (t *Tokenizer) encodePlain(s *scratch, dst []int32, text string) []int32 {
	if text == "" {
		return dst
	}
	cross := t.cross
	start := 0
	prev, i := utf8.DecodeRuneInString(text)
	prev = spaceFromMeta(prev)
	for i < len(text) {
		r, n := rune(text[i]), 1
		if r < utf8.RuneSelf {
			if prev < utf8.RuneSelf {
				// The common case: both ASCII.
				if cross.ascii[prev&127][r>>6]>>(r&63)&1 == 0 {
					dst = t.encodePiece(s, dst, text, start, i)
					start = i
				}
				prev = r
				i++
				continue
			}
		} else {
			r, n = utf8.DecodeRuneInString(text[i:])
		}
		if !cross.open(prev, r) {
			dst = t.encodePiece(s, dst, text, start, i)
			start = i
		}
		prev = spaceFromMeta(r)
		i += n
	}
	return t.encodePiece(s, dst, text, start, len(text))
}

// encodePiece encodes text[start:end], which no merge leaves.
func (t *Tokenizer) encodePiece(s *scratch, dst []int32, text string, start, end int) []int32 {
	piece := text[start:end]
	if len(piece) > maxCached {
		return t.merge(s, dst, piece)
	}
	if len(piece) == 1 && piece[0] < utf8.RuneSelf {
		return t.appendRune(dst, rune(piece[0]))
	}
	key := makeKey(piece)
	e := s.cache.at(&key)
	if e.key == key {
		return append(dst, e.ids[:e.n]...)
	}
	at := len(dst)
	dst = t.merge(s, dst, piece)
	e.put(key, dst[at:])
	return dst
}

// appendRune appends the id of one code point, or its bytes' ids; an
// ASCII space is '▁'.
func (t *Tokenizer) appendRune(dst []int32, r rune) []int32 {
	if r == ' ' {
		r = metaRune
	}
	if id := t.runes.get(r); id >= 0 {
		return append(dst, id)
	}
	var b [utf8.UTFMax]byte
	for _, c := range b[:utf8.EncodeRune(b[:], r)] {
		dst = append(dst, t.byteID[c])
	}
	return dst
}
