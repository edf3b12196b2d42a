package chat

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/plume-run/plume/internal/tokenizer"
)

// EventKind says what an Event brings.
type EventKind uint8

// The kinds of events.
const (
	// TextEvent brings the next piece of the answer.
	TextEvent EventKind = iota
	// ThoughtEvent brings the next piece of a thought.
	ThoughtEvent
	// CallEvent brings one whole tool call.
	CallEvent
	// BadCallEvent brings what stood where a call should be, as Text, and why it
	// is none, as Err.
	BadCallEvent
)

// String names the kind in lower case.
func (k EventKind) String() string {
	if int(k) >= len(eventNames) {
		return fmt.Sprintf("EventKind(%d)", uint8(k))
	}
	return eventNames[k]
}

var eventNames = [...]string{"text", "thought", "call", "bad call"}

// Event is one piece of the model's output. Text is valid UTF-8 and, of a text
// or thought, never empty.
type Event struct {
	Kind EventKind
	Text string
	Call Call
	Err  error
}

// Call is a tool call the model made.
type Call struct {
	// ID is "call_0", "call_1", … in the order of one parser. It links a call
	// to its response within one message; a server that needs ids unique over
	// a conversation makes its own.
	ID        string
	Name      string
	Arguments json.RawMessage // a JSON object, always valid; keys in the model's order
	// Repaired is set when the call was malformed and its end, a quote or a
	// brace had to be guessed.
	Repaired bool
}

const (
	maxCallBytes    = 1 << 20 // a longer call is surfaced as a bad one
	maxChannelBytes = 64      // a channel's name; longer is the thought itself
)

// mode is where in the output the parser is.
type mode uint8

const (
	inContent mode = iota
	inChannel      // behind "<|channel>", before the newline that ends the name
	inThought
	inCall
)

// Parser turns the ids a model emits into events, one id at a time. Any sequence
// of ids is taken; whatever is no text, thought or call is passed over.
type Parser struct {
	tok     *tokenizer.Tokenizer
	decoder *tokenizer.Decoder
	marks   map[int32]string
	events  []Event

	mode    mode
	outside mode // mode to return to after a call
	held    string
	call    callText
	nCalls  int
}

// NewParser returns a parser for the vocabulary of tok, whose special tokens it
// finds by their text. startInThought is for prompts that end within a thought
// (rendered with thinking on, after tool responses).
func NewParser(tok *tokenizer.Tokenizer, startInThought bool) *Parser {
	p := &Parser{tok: tok, decoder: tok.NewDecoder(), marks: map[int32]string{}}
	for _, mark := range []string{
		markEOS, markTurn, markTurnEnd, markChannel, markChannelEnd, markCall,
		markCallEnd, markResponse, markResponseEnd, markQuote,
		// Never text, whatever kind a file gives them.
		markThink, markTool, markToolEnd, markImage, markAudio, markVideo,
	} {
		if id, ok := tok.ID(mark); ok {
			p.marks[id] = mark
		}
	}
	if startInThought {
		p.mode = inThought
	}
	return p
}

// Push takes the next id and returns the events it brings, usually one or none.
// The slice is overwritten by the next call of Push or Close; what the events
// point to is not.
func (p *Parser) Push(id int32) []Event {
	p.events = p.events[:0]
	if mark, ok := p.marks[id]; ok {
		p.mark(mark)
		return p.events
	}
	if k := p.tok.Kind(id); k == tokenizer.Control || k == tokenizer.Unknown {
		return p.events
	}
	p.text(p.decoder.Push(id))
	return p.events
}

// Close ends the output and returns what was still held back: the rest of a
// text, or a call that was not finished, repaired if possible. The parser is
// then in the state of a new one that starts in content, but goes on counting
// calls.
func (p *Parser) Close() []Event {
	p.events = p.events[:0]
	p.finish()
	return p.events
}

// finish leaves whatever mode the parser is in, for content.
func (p *Parser) finish() {
	p.text(p.decoder.Flush())
	if p.mode == inCall {
		p.endCall(false)
	}
	p.endThought()
}

// mark handles one of the named special tokens.
func (p *Parser) mark(mark string) {
	p.text(p.decoder.Flush())
	switch mark {
	case markChannel:
		if p.mode == inCall {
			p.endCall(false)
		}
		p.endThought()
		p.mode = inChannel
	case markChannelEnd:
		if p.mode != inCall {
			p.endThought()
		}
	case markCall:
		if p.mode == inCall {
			p.endCall(false)
		}
		p.beginCall()
	case markCallEnd:
		if p.mode == inCall {
			p.endCall(true)
		}
	case markQuote:
		if p.mode == inCall {
			p.call.quote()
		}
	case markEOS, markTurn, markTurnEnd, markResponse:
		p.finish()
	}
}

// text takes decoded text in the present mode.
func (p *Parser) text(s string) {
	if s == "" {
		return
	}
	switch p.mode {
	case inContent:
		p.emit(TextEvent, s)
	case inThought:
		p.thought(s)
	case inCall:
		p.call.add(s)
	case inChannel:
		p.held += s
		name, rest, ok := strings.Cut(p.held, "\n")
		if ok && len(name) <= maxChannelBytes {
			p.mode, p.held = inThought, ""
			p.thought(rest)
		} else if len(p.held) > maxChannelBytes {
			p.nameless()
		}
	}
}

// nameless goes on as if a channel had a name and what is held were its thought.
func (p *Parser) nameless() {
	s := p.held
	p.mode, p.held = inThought, ""
	p.thought(s)
}

// thought emits s, but holds back a newline at its end: one that stands before
// the end of the thought belongs to the delimiter.
func (p *Parser) thought(s string) {
	if s == "" {
		return
	}
	s = p.held + s
	p.held = ""
	if strings.HasSuffix(s, "\n") {
		s, p.held = s[:len(s)-1], "\n"
	}
	p.emit(ThoughtEvent, s)
}

// endThought returns to content from a thought or a channel's name. A name that
// no newline ended is dropped if it is the usual one, else it was a thought.
func (p *Parser) endThought() {
	if p.mode == inChannel && strings.TrimSpace(p.held) != thoughtName {
		p.nameless()
	}
	p.mode, p.held = inContent, ""
}

func (p *Parser) emit(kind EventKind, s string) {
	if s != "" {
		p.events = append(p.events, Event{Kind: kind, Text: s})
	}
}

// beginCall enters a call, to return to the thought or the content it stands in.
func (p *Parser) beginCall() {
	if p.mode == inChannel {
		p.endThought()
	}
	p.outside, p.mode = p.mode, inCall
	p.call = callText{}
}

// endCall emits the call that was collected.
func (p *Parser) endCall(closed bool) {
	p.mode = p.outside
	c, err := p.call.parse(closed)
	if err != nil {
		p.events = append(p.events, Event{Kind: BadCallEvent, Text: p.call.String(), Err: err})
		return
	}
	c.ID = fmt.Sprintf("call_%d", p.nCalls)
	p.nCalls++
	p.events = append(p.events, Event{Kind: CallEvent, Call: c})
}

// callText is the inside of a call: decoded text, and where between its bytes
// the quote tokens stood.
type callText struct {
	text   strings.Builder
	quotes []int // ascending byte offsets into text
	over   bool  // more came than maxCallBytes
}

func (c *callText) add(s string) {
	if c.text.Len()+len(s) > maxCallBytes {
		c.over = true
		return
	}
	c.text.WriteString(s)
}

func (c *callText) quote() {
	if len(c.quotes) >= maxCallBytes {
		c.over = true
		return
	}
	c.quotes = append(c.quotes, c.text.Len())
}

// String is the text with the quote tokens written out.
func (c *callText) String() string {
	var b strings.Builder
	s, at := c.text.String(), 0
	for _, q := range c.quotes {
		b.WriteString(s[at:q])
		b.WriteString(markQuote)
		at = q
	}
	b.WriteString(s[at:])
	return b.String()
}
