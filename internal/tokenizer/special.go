package tokenizer

import (
	"slices"
	"sort"
	"strings"
)

// specialSet finds special tokens in text: the leftmost, and of those that
// begin there the longest. It is the sorted list of their texts, narrowed byte
// by byte, so it costs no memory beyond the ids.
type specialSet struct {
	raw   *pieces
	ids   []int32       // sorted by text
	first [256][2]int32 // range of ids whose text begins with this byte
	only  int           // the first byte if all share it, else −1
}

func newSpecialSet(raw *pieces, ids []int32) specialSet {
	s := specialSet{raw: raw, ids: slices.Clone(ids), only: -1}
	slices.SortFunc(s.ids, func(a, b int32) int { return strings.Compare(raw.at(a), raw.at(b)) })
	s.ids = slices.Compact(s.ids)
	for i, id := range s.ids {
		c := raw.at(id)[0]
		if s.first[c][1] == 0 {
			s.first[c][0] = int32(i)
		}
		s.first[c][1] = int32(i + 1)
	}
	if n := len(s.ids); n > 0 {
		if c := raw.at(s.ids[0])[0]; c == raw.at(s.ids[n-1])[0] {
			s.only = int(c)
		}
	}
	return s
}

// next finds the first special token in text[from:]; ok is false when there is
// none. It lies at text[start:end].
func (s *specialSet) next(text string, from int) (start, end int, id int32, ok bool) {
	if len(s.ids) == 0 {
		return 0, 0, 0, false
	}
	for i := from; i < len(text); i++ {
		if s.only >= 0 {
			at := strings.IndexByte(text[i:], byte(s.only))
			if at < 0 {
				break
			}
			i += at
		} else if s.first[text[i]][1] == 0 {
			continue
		}
		if id, n := s.match(text[i:]); n > 0 {
			return i, i + n, id, true
		}
	}
	return 0, 0, 0, false
}

// match returns the longest special token that text begins with, and its
// length; 0 when there is none.
func (s *specialSet) match(text string) (id int32, n int) {
	r := s.first[text[0]]
	set := s.ids[r[0]:r[1]]
	for depth := 1; len(set) > 0; depth++ {
		// All of set share text[:depth]; a text of that length sorts first.
		if len(s.raw.at(set[0])) == depth {
			id, n = set[0], depth
			set = set[1:]
		}
		if depth == len(text) {
			break
		}
		c := text[depth]
		lo := sort.Search(len(set), func(i int) bool { return s.raw.at(set[i])[depth] >= c })
		hi := lo + sort.Search(len(set)-lo, func(i int) bool { return s.raw.at(set[lo+i])[depth] > c })
		set = set[lo:hi]
	}
	return id, n
}
