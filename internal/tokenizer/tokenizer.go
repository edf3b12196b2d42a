package tokenizer

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// Tokenizer encodes and decodes with one vocabulary. Immutable; safe for
// concurrent use.
type Tokenizer struct {
	raw     pieces // vocabulary text, '▁' as it is
	text    pieces // the same with '▁' replaced by a space
	index   pieceIndex
	kinds   []Kind
	merges  mergeTable
	runes   *runeIDs
	byteID  [256]int32 // id of "<0xHH>"
	isByte  []uint64   // bit set over ids: byte tokens
	cross   *crossings // where text may be cut
	special specialSet // texts matched in raw input
	isSpec  []uint64   // bit set over ids: in special
	pool    sync.Pool  // *scratch
	ids     struct {
		bos, eos, unk, pad int32
	}
	addBOS bool
}

// New checks spec and builds the tables. It keeps no reference to spec.
// Every fault (a hole, a duplicate, an empty or invalid text, a merge whose
// parts or product are no tokens, an id out of range) is an error.
func New(spec Spec) (*Tokenizer, error) {
	t := &Tokenizer{addBOS: spec.AddBOS}
	t.pool.New = func() any { return new(scratch) }
	if err := t.addTokens(spec.Tokens); err != nil {
		return nil, err
	}
	if err := t.addKinds(spec.Kinds); err != nil {
		return nil, err
	}
	if err := t.addSpecial(spec); err != nil {
		return nil, err
	}
	if err := t.addMerges(spec.Merges); err != nil {
		return nil, err
	}
	for _, id := range []struct {
		name string
		from int32
		to   *int32
	}{
		{"bos", spec.BOS, &t.ids.bos}, {"eos", spec.EOS, &t.ids.eos},
		{"unknown", spec.Unknown, &t.ids.unk}, {"padding", spec.Pad, &t.ids.pad},
	} {
		if id.from < -1 || int(id.from) >= t.Len() {
			return nil, fmt.Errorf("read %s id: %d is not in the vocabulary of %d", id.name, id.from, t.Len())
		}
		*id.to = id.from
	}
	return t, nil
}

func (t *Tokenizer) addTokens(tokens []string) error {
	if len(tokens) == 0 {
		return fmt.Errorf("read tokens: the vocabulary is empty")
	}
	if len(tokens) > maxTokens {
		return fmt.Errorf("read tokens: %d tokens, at most %d are supported", len(tokens), maxTokens)
	}
	total := 0
	for id, s := range tokens {
		if s == "" {
			return fmt.Errorf("read token %d: its text is empty or missing", id)
		}
		if !utf8.ValidString(s) {
			return fmt.Errorf("read token %d: %q is not valid UTF-8", id, s)
		}
		if total += len(s); total > maxText {
			return fmt.Errorf("read tokens: more than %d bytes of text", maxText)
		}
	}
	t.raw = joinPieces(tokens, total, false)
	t.text = joinPieces(tokens, total, true)
	t.index = newPieceIndex(len(tokens))
	t.runes = newRuneIDs()
	for id := range int32(len(tokens)) {
		piece := t.raw.at(id)
		same, slot := t.index.find(&t.raw, piece)
		if same >= 0 {
			return fmt.Errorf("read token %d: %q is already token %d", id, piece, same)
		}
		t.index.slots[slot] = id
		if r, n := utf8.DecodeRuneInString(piece); n == len(piece) {
			t.runes.set(r, id)
		}
	}
	return t.findBytes()
}

func joinPieces(tokens []string, total int, decoded bool) pieces {
	var b strings.Builder
	b.Grow(total)
	end := make([]uint32, len(tokens))
	for i, s := range tokens {
		for decoded {
			at := strings.Index(s, metaSpace)
			if at < 0 {
				break
			}
			b.WriteString(s[:at])
			b.WriteByte(' ')
			s = s[at+len(metaSpace):]
		}
		b.WriteString(s)
		end[i] = uint32(b.Len())
	}
	return pieces{b.String(), end}
}

// findBytes fills the byte tables. Decoding takes every spelling that the
// reference takes, encoding wants all 256 in upper case.
func (t *Tokenizer) findBytes() error {
	n := t.Len()
	t.isByte = make([]uint64, (n+63)/64)
	for b := range t.byteID {
		t.byteID[b] = -1
	}
	for id := range int32(n) {
		piece := t.raw.at(id)
		if _, ok := byteValue(piece, false); ok {
			t.isByte[id>>6] |= 1 << (id & 63)
		}
		if b, ok := byteValue(piece, true); ok {
			t.byteID[b] = id
		}
	}
	for b, id := range t.byteID {
		if id < 0 {
			return fmt.Errorf("read tokens: the byte token <0x%02X> is missing", b)
		}
	}
	return nil
}

func (t *Tokenizer) addKinds(kinds []Kind) error {
	t.kinds = make([]Kind, t.Len())
	if kinds != nil && len(kinds) != len(t.kinds) {
		return fmt.Errorf("read token kinds: %d kinds for %d tokens", len(kinds), len(t.kinds))
	}
	for i := range t.kinds {
		k := Normal
		if kinds != nil {
			k = kinds[i]
		}
		_, isByte := t.byteValueOf(int32(i))
		switch {
		case k < Normal || k > Byte:
			return fmt.Errorf("read token %d: kind %d is unknown", i, k)
		case isByte:
			k = Byte // some writers mark byte tokens as normal
		case k == Byte:
			return fmt.Errorf("read token %d: %q is marked as a byte", i, t.raw.at(int32(i)))
		}
		t.kinds[i] = k
	}
	return nil
}

func (t *Tokenizer) addSpecial(spec Spec) error {
	ids := spec.Special
	if ids == nil {
		for i, k := range t.kinds {
			if k == Control || k == UserDefined || k == Unknown {
				ids = append(ids, int32(i))
			}
		}
	}
	t.isSpec = make([]uint64, len(t.isByte))
	for _, id := range ids {
		if id < 0 || int(id) >= t.Len() {
			return fmt.Errorf("read special tokens: id %d is not in the vocabulary of %d", id, t.Len())
		}
		t.isSpec[id>>6] |= 1 << (id & 63)
		if spec.Kinds == nil && t.kinds[id] == Normal {
			t.kinds[id] = Control
		}
	}
	t.special = newSpecialSet(&t.raw, ids)
	return nil
}

func (t *Tokenizer) addMerges(merges []string) error {
	if len(merges) >= maxMerges {
		return fmt.Errorf("read merges: %d merges, fewer than %d are supported", len(merges), maxMerges)
	}
	t.merges = newMergeTable(len(merges))
	t.cross = newCrossings(len(merges))
	var joined []byte
	for rank, m := range merges {
		left, right, err := splitMerge(m)
		if err != nil {
			return fmt.Errorf("read merge %d: %q: %w", rank, m, err)
		}
		joined = append(append(joined[:0], left...), right...)
		l, errL := t.mergePart(left)
		r, errR := t.mergePart(right)
		product, _ := t.index.find(&t.raw, string(joined)) // find does not keep its argument
		switch {
		case errL != nil:
			return fmt.Errorf("read merge %d: %w", rank, errL)
		case errR != nil:
			return fmt.Errorf("read merge %d: %w", rank, errR)
		case product < 0:
			return fmt.Errorf("read merge %d: its product %q is no token", rank, joined)
		case !t.merges.add(l, r, product):
			return fmt.Errorf("read merge %d: %q is listed twice", rank, m)
		}
		x, _ := utf8.DecodeLastRuneInString(left)
		y, _ := utf8.DecodeRuneInString(right)
		t.cross.add(x, y)
	}
	return nil
}

// mergePart is the id of one side of a merge. Byte tokens are refused: the
// cuts in the text are derived from code points, which such a part has not.
func (t *Tokenizer) mergePart(piece string) (int32, error) {
	id, _ := t.index.find(&t.raw, piece)
	if id < 0 {
		return 0, fmt.Errorf("%q is no token", piece)
	}
	if _, ok := t.byteValueOf(id); ok {
		return 0, fmt.Errorf("merging the byte token %q is not supported", piece)
	}
	return id, nil
}

// byteValueOf returns the byte that id stands for, if it is a byte token.
func (t *Tokenizer) byteValueOf(id int32) (byte, bool) {
	if t.isByte[id>>6]>>(id&63)&1 == 0 {
		return 0, false
	}
	return byteValue(t.raw.at(id), false)
}

func (t *Tokenizer) has(id int32) bool { return id >= 0 && int(id) < len(t.raw.end) }

// Len is the number of tokens; ids are 0 … Len()−1.
func (t *Tokenizer) Len() int { return len(t.raw.end) }

// Merges is the number of merges.
func (t *Tokenizer) Merges() int { return len(t.merges.result) }

// ID finds a token by its exact vocabulary text ('▁' for space), such as
// "<|turn>".
func (t *Tokenizer) ID(piece string) (int32, bool) {
	id, _ := t.index.find(&t.raw, piece)
	return max(id, 0), id >= 0
}

// Piece is the vocabulary text of id, '▁' left as it is; "" for an id outside
// the vocabulary.
func (t *Tokenizer) Piece(id int32) string {
	if !t.has(id) {
		return ""
	}
	return t.raw.at(id)
}

// Kind is the class of id; Unknown for an id outside the vocabulary.
func (t *Tokenizer) Kind(id int32) Kind {
	if !t.has(id) {
		return Unknown
	}
	return t.kinds[id]
}

// IsSpecial reports whether the text of id is matched in raw input by
// Encode(…, special=true).
func (t *Tokenizer) IsSpecial(id int32) bool {
	return t.has(id) && t.isSpec[id>>6]>>(id&63)&1 != 0
}

// BOS is the beginning-of-sequence id, if the vocabulary names one.
func (t *Tokenizer) BOS() (int32, bool) { return max(t.ids.bos, 0), t.ids.bos >= 0 }

// EOS is the end-of-sequence id, if the vocabulary names one.
func (t *Tokenizer) EOS() (int32, bool) { return max(t.ids.eos, 0), t.ids.eos >= 0 }

// Unknown is the id of "<unk>", if the vocabulary names one. Encode never
// returns it for text that does not spell it out.
func (t *Tokenizer) Unknown() (int32, bool) { return max(t.ids.unk, 0), t.ids.unk >= 0 }

// Pad is the padding id, if the vocabulary names one.
func (t *Tokenizer) Pad() (int32, bool) { return max(t.ids.pad, 0), t.ids.pad >= 0 }

// AddBOS says whether a prompt should begin with BOS.
func (t *Tokenizer) AddBOS() bool { return t.addBOS }

// Spec rebuilds the description, for writers: a new copy each time, with
// Kinds and Special filled in.
func (t *Tokenizer) Spec() Spec {
	s := Spec{
		Tokens:  make([]string, t.Len()),
		Kinds:   slices.Clone(t.kinds),
		Merges:  make([]string, len(t.merges.result)),
		Special: []int32{},
		BOS:     t.ids.bos, EOS: t.ids.eos, Unknown: t.ids.unk, Pad: t.ids.pad,
		AddBOS: t.addBOS,
	}
	for id := range int32(t.Len()) {
		s.Tokens[id] = t.raw.at(id)
		if t.IsSpecial(id) {
			s.Special = append(s.Special, id)
		}
	}
	t.merges.pairs(func(left, right int32, rank int) {
		s.Merges[rank] = t.raw.at(left) + " " + t.raw.at(right)
	})
	return s
}
