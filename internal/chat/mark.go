package chat

import (
	"strings"

	"github.com/plume-run/plume/internal/tokenizer"
)

// The special tokens, by their text. Their ids differ between vocabularies.
const (
	markBOS          = "<bos>"
	markEOS          = "<eos>"
	markTurn         = "<|turn>"
	markTurnEnd      = "<turn|>"
	markThink        = "<|think|>"
	markChannel      = "<|channel>"
	markChannelEnd   = "<channel|>"
	markTool         = "<|tool>"
	markToolEnd      = "<tool|>"
	markCall         = "<|tool_call>"
	markCallEnd      = "<tool_call|>"
	markResponse     = "<|tool_response>"
	markResponseEnd  = "<tool_response|>"
	markQuote        = `<|"|>`
	markImage        = "<|image|>"
	markAudio        = "<|audio|>"
	markVideo        = "<|video|>"
	thoughtName      = "thought"
	emptyThought     = thoughtName + "\n"
	unknownToolsName = "unknown"
)

// StopIDs are the ids that end an answer: "<eos>", "<turn|>" and
// "<|tool_response>" (the model hands over after its calls), as far as the
// vocabulary has them, in that order.
func StopIDs(tok *tokenizer.Tokenizer) []int32 {
	var ids []int32
	for _, mark := range []string{markEOS, markTurnEnd, markResponse} {
		if id, ok := tok.ID(mark); ok {
			ids = append(ids, id)
		}
	}
	return ids
}

// Segment is a stretch of a prompt: one special token the template put there, or
// text between two of them, which may be the user's and may spell anything.
type Segment struct {
	Text    string
	Special bool
}

// Encode appends the ids of segs to dst and returns it. Only special segments
// become special tokens: "<|turn>" within a message stays text, so no message
// can forge a turn or a call. For prompts without such text the ids equal those
// of the joined text encoded with special set. A special token the vocabulary
// lacks is encoded as text, together with its neighbours.
func Encode(dst []int32, tok *tokenizer.Tokenizer, segs []Segment) []int32 {
	var plain strings.Builder
	for _, s := range segs {
		id, ok := int32(0), false
		if s.Special {
			id, ok = tok.ID(s.Text)
		}
		if !ok {
			plain.WriteString(s.Text)
			continue
		}
		dst = tok.Encode(dst, plain.String(), false)
		plain.Reset()
		dst = append(dst, id)
	}
	return tok.Encode(dst, plain.String(), false)
}

// prompt collects segments; neighbouring texts become one.
type prompt struct {
	segs []Segment
	text strings.Builder
}

// special appends one special token.
func (p *prompt) special(mark string) {
	p.flush()
	p.segs = append(p.segs, Segment{mark, true})
}

// plain appends text.
func (p *prompt) plain(s string) { p.text.WriteString(s) }

// quoted appends s between string quotes.
func (p *prompt) quoted(s string) {
	p.special(markQuote)
	p.plain(s)
	p.special(markQuote)
}

// flush ends the current text.
func (p *prompt) flush() {
	if p.text.Len() > 0 {
		p.segs = append(p.segs, Segment{p.text.String(), false})
		p.text.Reset()
	}
}

// append moves q's segments to the end of p.
func (p *prompt) append(q *prompt) {
	q.flush()
	for _, s := range q.segs {
		if s.Special {
			p.special(s.Text)
		} else {
			p.plain(s.Text)
		}
	}
}

// join is the text of segs.
func join(segs []Segment) string {
	var b strings.Builder
	for _, s := range segs {
		b.WriteString(s.Text)
	}
	return b.String()
}
