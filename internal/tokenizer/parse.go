package tokenizer

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxJSON bounds a tokenizer.json (Gemma's is 15 to 33 MB).
const maxJSON = 1 << 30

// ParseSpec reads a Hugging Face tokenizer.json. The file must describe
// Gemma's scheme (see the package comment); anything that would change ids or
// text and is not implemented is an error that names it. Unknown keys are
// skipped. tokenizerJSON is not kept.
//
// Of the flags of an added token, lstrip, rstrip and single_word must be
// false. Normalized may be true only where it makes no difference to the text
// to match (no space in it). Added tokens that are not "special" are treated
// as special ones: matched exactly when Encode's special is set.
func ParseSpec(tokenizerJSON []byte) (Spec, error) {
	if len(tokenizerJSON) > maxJSON {
		return Spec{}, fmt.Errorf("parse tokenizer.json: %d bytes, at most %d are supported", len(tokenizerJSON), maxJSON)
	}
	if !utf8.Valid(tokenizerJSON) {
		return Spec{}, errors.New("parse tokenizer.json: not valid UTF-8")
	}
	p := parser{scanner: scanner{src: tokenizerJSON}}
	if err := p.parse(); err != nil {
		return Spec{}, fmt.Errorf("parse tokenizer.json: %w", err)
	}
	spec, err := p.spec()
	if err != nil {
		return Spec{}, fmt.Errorf("parse tokenizer.json: %w", err)
	}
	return spec, nil
}

// parser collects what a tokenizer.json says. Texts go into one block each, so
// that half a million of them cost no allocation of their own.
type parser struct {
	scanner
	seen   map[string]bool
	vocab  []vocabEntry
	text   []byte // of vocab
	added  []addedToken
	merges []uint32 // ends in mergeText
	mtext  []byte
}

type vocabEntry struct {
	id  int32
	end uint32 // in text
}

type addedToken struct {
	id      int
	content string
	special bool
}

// once refuses a second value for the same key.
func (p *parser) once(key string) error {
	if p.seen[key] {
		return p.errorf("key %q stands twice", key)
	}
	if p.seen == nil {
		p.seen = map[string]bool{}
	}
	p.seen[key] = true
	return nil
}

func (p *parser) parse() error {
	if err := p.object(p.section); err != nil {
		return err
	}
	if p.peek(); p.pos != len(p.src) {
		return p.errorf("text after the end")
	}
	for _, key := range []string{"model", "model.vocab", "model.merges", "normalizer", "decoder"} {
		if !p.seen[key] {
			return fmt.Errorf("key %q is missing", key)
		}
	}
	return nil
}

// section reads one value of the outermost object.
func (p *parser) section(k []byte) error {
	key := string(k)
	var check func(any) error
	switch key {
	case "model", "added_tokens":
	case "normalizer":
		check = checkNormalizer
	case "pre_tokenizer":
		check = checkPreTokenizer
	case "decoder":
		check = checkDecoder
	case "post_processor":
		check = checkPostProcessor
	default:
		return p.skip(0)
	}
	if err := p.once(key); err != nil {
		return err
	}
	switch key {
	case "model":
		return p.model()
	case "added_tokens":
		return p.addedTokens()
	}
	v, err := p.small()
	if err != nil {
		return err
	}
	if err := check(v); err != nil {
		return fmt.Errorf("read %s: %w", key, err)
	}
	return nil
}

func (p *parser) model() error {
	settings := map[string]any{}
	err := p.object(func(k []byte) error {
		key := string(k)
		switch key {
		case "vocab", "merges", "type", "dropout", "byte_fallback", "ignore_merges", "continuing_subword_prefix", "end_of_word_suffix":
			if err := p.once("model." + key); err != nil {
				return err
			}
		}
		switch key {
		case "vocab":
			return p.vocabulary()
		case "merges":
			return p.mergeList()
		case "type", "dropout", "byte_fallback", "ignore_merges", "continuing_subword_prefix", "end_of_word_suffix":
			v, err := p.small()
			settings[key] = v
			return err
		}
		return p.skip(0)
	})
	if err != nil {
		return fmt.Errorf("read model: %w", err)
	}
	if err := checkModel(settings); err != nil {
		return fmt.Errorf("read model: %w", err)
	}
	return nil
}

func (p *parser) vocabulary() error {
	return p.object(func(key []byte) error {
		p.text = append(p.text, key...)
		id, err := p.integer()
		if err != nil {
			return err
		}
		if id >= maxTokens {
			return p.errorf("id %d, at most %d are supported", id, maxTokens)
		}
		p.vocab = append(p.vocab, vocabEntry{int32(id), uint32(len(p.text))})
		return nil
	})
}

// mergeList reads ["a b", …] or [["a", "b"], …] into the form "a b".
func (p *parser) mergeList() error {
	return p.array(func(i int) error {
		if i >= maxMerges {
			return p.errorf("more than %d merges", maxMerges)
		}
		if p.peek() == '"' {
			m, err := p.str()
			p.mtext = append(p.mtext, m...)
			p.merges = append(p.merges, uint32(len(p.mtext)))
			return err
		}
		parts := 0
		err := p.array(func(j int) error {
			s, err := p.str()
			if err == nil && bytes.IndexByte(s, ' ') >= 0 {
				return p.errorf("merge %d: %q has a space in it, which the normalizer leaves none of", i, s)
			}
			if j == 1 {
				p.mtext = append(p.mtext, ' ')
			}
			p.mtext = append(p.mtext, s...)
			parts = j + 1
			return err
		})
		if err == nil && parts != 2 {
			err = p.errorf("merge %d has %d parts, want 2", i, parts)
		}
		p.merges = append(p.merges, uint32(len(p.mtext)))
		return err
	})
}

func (p *parser) addedTokens() error {
	if p.peek() == 'n' {
		return p.skip(0) // null
	}
	return p.array(func(i int) error {
		v, err := p.small()
		if err != nil {
			return err
		}
		a, err := readAdded(v)
		if err != nil {
			return fmt.Errorf("read added_tokens: entry %d: %w", i, err)
		}
		p.added = append(p.added, a)
		return nil
	})
}

func readAdded(v any) (addedToken, error) {
	m, _ := v.(map[string]any)
	id, okID := m["id"].(float64)
	content, okContent := m["content"].(string)
	if !okID || !okContent || id < 0 || id >= maxTokens || id != float64(int(id)) {
		return addedToken{}, fmt.Errorf("want an id below %d and a content", maxTokens)
	}
	for _, flag := range []string{"lstrip", "rstrip", "single_word"} {
		if m[flag] == true {
			return addedToken{}, fmt.Errorf("%q: %s is not supported", content, flag)
		}
	}
	if m["normalized"] == true && strings.ContainsAny(content, " "+metaSpace) {
		return addedToken{}, fmt.Errorf("%q: normalized matching of spaces is not supported", content)
	}
	return addedToken{int(id), content, m["special"] == true}, nil
}

// spec joins the parts: ids must be dense over vocabulary and added tokens.
func (p *parser) spec() (Spec, error) {
	n := len(p.vocab)
	for _, a := range p.added {
		n = max(n, a.id+1)
	}
	if n > len(p.vocab)+len(p.added) {
		return Spec{}, fmt.Errorf("read added_tokens: id %d leaves a hole after %d tokens", n-1, len(p.vocab)+len(p.added))
	}
	s := Spec{Tokens: make([]string, n), Kinds: make([]Kind, n), Special: []int32{}, AddBOS: true}
	text, start := string(p.text), uint32(0)
	for _, e := range p.vocab {
		piece := text[start:e.end]
		start = e.end
		if int(e.id) >= n {
			return Spec{}, fmt.Errorf("read vocab: %q has id %d, but there are %d tokens", piece, e.id, n)
		}
		if s.Kinds[e.id] != 0 {
			return Spec{}, fmt.Errorf("read vocab: id %d is given to both %q and %q", e.id, s.Tokens[e.id], piece)
		}
		s.Tokens[e.id], s.Kinds[e.id] = piece, Normal
		if _, ok := byteValue(piece, false); ok {
			s.Kinds[e.id] = Byte
		}
	}
	if err := p.addTo(&s); err != nil {
		return Spec{}, err
	}
	for id, k := range s.Kinds {
		if k == 0 {
			return Spec{}, fmt.Errorf("read vocab: no token has id %d", id)
		}
	}
	mtext, start := string(p.mtext), uint32(0)
	s.Merges = make([]string, len(p.merges))
	for i, end := range p.merges {
		s.Merges[i] = mtext[start:end]
		start = end
	}
	p.name(&s)
	return s, nil
}

// addTo puts the added tokens into s; those of the vocabulary must agree.
func (p *parser) addTo(s *Spec) error {
	for _, a := range p.added {
		if have := s.Tokens[a.id]; s.Kinds[a.id] != 0 && have != a.content {
			return fmt.Errorf("read added_tokens: id %d is given to both %q and %q", a.id, have, a.content)
		}
		s.Tokens[a.id], s.Kinds[a.id] = a.content, Control
		if !a.special || llamaUserDefined[a.content] {
			s.Kinds[a.id] = UserDefined
		}
		s.Special = append(s.Special, int32(a.id))
	}
	return nil
}

// name fills in the ids that a tokenizer.json names by text only.
func (p *parser) name(s *Spec) {
	id := func(text string) int32 {
		for _, a := range p.added {
			if a.content == text {
				return int32(a.id)
			}
		}
		return -1
	}
	s.BOS, s.EOS, s.Unknown, s.Pad = id("<bos>"), id("<eos>"), id("<unk>"), id("<pad>")
}
