package plume

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/plume-run/plume/internal/engine"
	"github.com/plume-run/plume/internal/grammar"
)

// form is what an answer must look like, as a constraint on its tokens. The model may
// think first where it was asked to, then it writes text, of a format if there is one,
// or calls.
type form struct {
	marks marks

	thought []uint64 // what a thought is made of, its end included

	text  *grammar.Matcher // format of the text; nil: any
	calls *grammar.Matcher // at the begin of a call; nil: calls of any form

	mayCall   bool
	mustCall  bool // nothing but calls
	callsOnce bool
	mayThink  bool // a thought may begin now

	thinking bool
	begun    bool             // some text has been written
	called   bool             // a call is complete
	call     *grammar.Matcher // the call that is being written
}

// marks are the tokens that a form looks out for, −1 where the vocabulary lacks one.
type marks struct{ think, thinkEnd, call int32 }

func (t *Tokenizer) marks() marks {
	id := func(piece string) int32 {
		if id, ok := t.tok.ID(piece); ok {
			return id
		}
		return -1
	}
	return marks{id("<|channel>"), id("<channel|>"), id("<|tool_call>")}
}

var _ engine.Constraint = (*form)(nil)

// Mask implements engine.Constraint.
func (f *form) Mask(dst []uint64) {
	switch {
	case f.thinking:
		clear(dst[copy(dst, f.thought):])
		return
	case f.call != nil:
		f.call.Mask(dst)
	case f.called && (f.mustCall || f.text != nil):
		clear(dst)
		set(dst, f.marks.call, !f.callsOnce)
	case f.mustCall:
		clear(dst)
		set(dst, f.marks.call, true)
	case f.text != nil:
		f.text.Mask(dst)
		set(dst, f.marks.call, f.mayCall && !f.begun)
	default:
		fill(dst)
		set(dst, f.marks.call, f.mayCall)
		return
	}
	if f.mayThink {
		set(dst, f.marks.think, true)
	}
}

func fill(mask []uint64) {
	for i := range mask {
		mask[i] = ^uint64(0)
	}
}

// set makes an id possible or impossible; −1 is no id.
func set(mask []uint64, id int32, may bool) {
	if id < 0 || int(id) >= 64*len(mask) {
		return
	}
	mask[id/64] &^= 1 << (id % 64)
	if may {
		mask[id/64] |= 1 << (id % 64)
	}
}

// CanEnd implements engine.Constraint.
func (f *form) CanEnd() bool {
	switch {
	case f.thinking || f.call != nil:
		return false
	case f.called:
		return true
	case f.text != nil:
		return f.text.CanEnd()
	}
	return !f.mustCall
}

// Accept implements engine.Constraint.
func (f *form) Accept(id int32) error {
	mayThink := f.mayThink
	f.mayThink = false
	switch {
	case f.thinking:
		f.thinking = id != f.marks.thinkEnd
		return nil
	case mayThink && id == f.marks.think:
		f.thinking = true
		return nil
	case f.call == nil && id == f.marks.call && f.calls != nil:
		f.call = f.calls.Clone() // all others in the batch wait: nothing may be prepared here
	case f.call == nil && id == f.marks.call:
		f.text = nil // a call of any form, and whatever follows
	}
	switch {
	case f.call != nil:
		err := f.call.Accept(id)
		if f.call.CanEnd() {
			f.call, f.called = nil, true
		}
		return err
	case f.text != nil:
		f.begun = true
		return f.text.Accept(id)
	}
	return nil
}

// constraint returns what r asks of its answer's form, nil when that is nothing.
func (a *answer) constraint(r Request) (engine.Constraint, error) {
	choice := r.ToolChoice
	if choice == "" {
		choice = "auto"
	}
	if len(r.Tools) == 0 && choice != "auto" && choice != "none" {
		return nil, requestError{fmt.Errorf("choose tool: %q, but there are no tools", choice)}
	}
	if r.Format == nil && len(r.Tools) == 0 {
		return nil, nil
	}
	t := a.m.text
	vocab, err := t.forms.vocabulary(a.m)
	if err != nil {
		return nil, err
	}
	f := &form{marks: t.marks(), thought: t.forms.thought, mayThink: r.Thinking && !a.inThought, thinking: a.inThought}
	if r.Format != nil {
		g, err := t.forms.format(r.Format)
		if err != nil {
			return nil, err
		}
		f.text = g.NewMatcher(vocab)
	}
	if len(r.Tools) == 0 || choice == "none" {
		return f, nil
	}
	tools, err := choose(r.Tools, choice)
	if err != nil {
		return nil, err
	}
	f.mayCall = true
	f.mustCall, f.callsOnce = choice != "auto", choice != "auto" && choice != "required"
	g, err := t.forms.toolCalls(tools, f.mustCall)
	if err == nil {
		err = vocab.Supports(g)
	}
	switch {
	case err == nil:
		f.calls = g.NewMatcher(vocab)
	case f.mustCall || slices.ContainsFunc(tools, Tool.Strict):
		return nil, markForm(err)
	}
	return f, nil // without a grammar calls are free
}

// choose returns the tools that may be called.
func choose(tools []Tool, choice string) ([]Tool, error) {
	if choice == "auto" || choice == "required" {
		return tools, nil
	}
	for _, t := range tools {
		if t.Name() == choice {
			return []Tool{t}, nil
		}
	}
	return nil, requestError{fmt.Errorf("choose tool: none is called %q", choice)}
}

// markForm gives the grammar's classes of errors the public marks.
func markForm(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, grammar.ErrUnsupported):
		return unsupportedError{err}
	}
	return requestError{err}
}

// forms holds what the constraints of one model share. The zero value is ready.
type forms struct {
	building sync.Mutex // one grammar is compiled at a time: each may take much memory meanwhile

	mu      sync.Mutex     // of what follows
	vocab   *grammar.Vocab // nil until it is first needed
	thought []uint64       // what a thought is made of, its end included
	known   map[[sha256.Size]byte]*grammar.Grammar
	held    int64 // bytes of these
	most    int64 // of them all; 0: until vocabulary has set it, maxFormBytes
}

const (
	// maxForms bounds the compiled grammars that are kept: clients send the same few
	// schemas again and again.
	maxForms = 64

	// What formats take of the memory budget: the vocabulary's tree, masks, and compiled
	// grammars, a quarter as much as masks. Grammars that running answers still hold when
	// they are no longer kept come on top, and what one compilation takes meanwhile.
	formTokenBytes = 48
	maxFormBytes   = maxMaskBytes / 4
	maxMaskBytes   = 64 << 20
	minMaskBytes   = 1 << 20
	// minMasks are the masks that there must be room for: a schema with an email address
	// has 206, and one that is not kept costs its 3 ms in every step that needs it
	// (docs/measurements/structured-output.md).
	minMasks = 256
)

// formBytes is what formats take of a vocabulary of n entries, with that much for masks.
func formBytes(n int, masks int64) int64 { return formTokenBytes*int64(n) + masks + masks/4 }

// leastMaskBytes is what masks must have.
func leastMaskBytes(n int) int64 { return max(minMaskBytes, minMasks*int64((n+63)/64)*8) }

// leastFormBytes is what formats need.
func leastFormBytes(n int) int64 { return formBytes(n, leastMaskBytes(n)) }

// vocabulary prepares the vocabulary of m for masks, once, with as much memory for these
// as the budget has room for.
func (f *forms) vocabulary(m *Model) (*grammar.Vocab, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.vocab != nil {
		return f.vocab, nil
	}
	t := m.text
	n := t.tok.Len()
	least := leastMaskBytes(n)
	masks := max(least, maxMaskBytes)
	for ; ; masks = max(least, masks/2) {
		err := m.admit("prepare formats", formBytes(n, masks)-m.plan.formats, 0)
		if err == nil {
			break
		}
		if masks == least {
			return nil, err
		}
	}
	f.vocab = grammar.NewVocab(t.tok)
	f.vocab.Limit(int(masks))
	f.most = masks / 4
	f.thought = make([]uint64, (t.tok.Len()+63)/64)
	for id := range int32(t.tok.Len()) {
		set(f.thought, id, !t.tok.IsSpecial(id))
	}
	set(f.thought, t.marks().thinkEnd, true)
	return f.vocab, nil
}

// format compiles what a format asks for.
func (f *forms) format(o *Format) (*grammar.Grammar, error) {
	switch {
	case o.JSON:
		return grammar.JSONObject(), nil
	case o.Regex != "":
		return f.compile("regex", []byte(o.Regex), func() (*grammar.Grammar, error) {
			return grammar.FromRegex(o.Regex, grammar.Options{})
		})
	}
	return f.compile("schema", o.Schema, func() (*grammar.Grammar, error) {
		return grammar.FromSchema(o.Schema, grammar.Options{})
	})
}

// toolCalls compiles one call of any of tools. Parameters that cannot be enforced are an
// error of tools that are strict, or of all; others then take any object.
func (f *forms) toolCalls(tools []Tool, strict bool) (*grammar.Grammar, error) {
	var all []grammar.Tool
	var key []byte
	for _, t := range tools {
		g := grammar.Tool{Name: t.Name(), Parameters: t.Parameters(), Loose: !strict && !t.Strict()}
		key = binary.BigEndian.AppendUint32(key, uint32(len(g.Name)))
		key = append(key, g.Name...)
		key = binary.BigEndian.AppendUint32(key, uint32(len(g.Parameters)))
		key = append(key, g.Parameters...)
		key = strconv.AppendBool(key, g.Loose)
		all = append(all, g)
	}
	return f.compile("calls", key, func() (*grammar.Grammar, error) { return grammar.Calls(all, grammar.Options{}) })
}

// compile returns the grammar of that kind and text, compiled now or before.
func (f *forms) compile(kind string, text []byte, do func() (*grammar.Grammar, error)) (*grammar.Grammar, error) {
	key := sha256.Sum256(append([]byte(kind+" "), text...))
	if g := f.find(key); g != nil {
		return g, nil
	}
	f.building.Lock()
	defer f.building.Unlock()
	if g := f.find(key); g != nil { // compiled meanwhile
		return g, nil
	}
	g, err := do()
	if err != nil {
		return nil, markForm(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	most := cmp.Or(f.most, maxFormBytes)
	if g.Bytes() > most {
		return nil, requestError{fmt.Errorf("the compiled %s takes %d KiB, memory allows %d KiB: make it simpler", kind, g.Bytes()>>10, most>>10)}
	}
	if f.known == nil || len(f.known) >= maxForms || f.held+g.Bytes() > most {
		f.known, f.held = map[[sha256.Size]byte]*grammar.Grammar{}, 0
	}
	f.known[key], f.held = g, f.held+g.Bytes()
	return g, nil
}

// find returns a grammar that is kept, or nil.
func (f *forms) find(key [sha256.Size]byte) *grammar.Grammar {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.known[key]
}

// validate refuses formats that say nothing or several things.
func (o *Format) validate() error {
	kinds := 0
	for _, set := range []bool{o.JSON, o.Schema != nil, o.Regex != ""} {
		if set {
			kinds++
		}
	}
	if kinds != 1 {
		return fmt.Errorf("read format: %d of json, schema and regex are set, want one", kinds)
	}
	if o.Schema != nil && !json.Valid(bytes.TrimSpace(o.Schema)) {
		return errors.New("read format: the schema is not JSON")
	}
	return nil
}
