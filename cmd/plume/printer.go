package main

import (
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/plume-run/plume"
)

// printer shows an answer while it comes: text on out, thoughts on err, dimmed
// where that is a terminal. Tool calls are results: one JSON object a line on out.
type printer struct {
	out, err io.Writer
	dim      bool // err understands colours
	thinking bool // the cursor stands inside a thought
	last     byte // last byte written to out
	failed   error
}

func newPrinter(out, err io.Writer) *printer {
	return &printer{out: out, err: err, dim: isTerminal(err)}
}

// tee passes events on and shows them. It ends the answer when stdout cannot
// be written any more.
func (p *printer) tee(events iter.Seq2[plume.Event, error]) iter.Seq2[plume.Event, error] {
	return func(yield func(plume.Event, error) bool) {
		for ev, err := range events {
			p.show(ev)
			if !yield(ev, err) || p.failed != nil {
				return
			}
		}
	}
}

func (p *printer) show(ev plume.Event) {
	if p.thinking && ev.Kind != plume.EventThinking {
		p.leaveThought()
	}
	switch ev.Kind {
	case plume.EventText:
		p.write(ev.Text)
	case plume.EventThinking:
		if !p.thinking && p.dim {
			io.WriteString(p.err, "\x1b[2m")
		}
		p.thinking = true
		io.WriteString(p.err, ev.Text)
	case plume.EventToolCall:
		p.call(ev.Call)
	case plume.EventBadCall:
		fmt.Fprintf(p.err, "plume: malformed tool call: %s\n", ev.Text)
	}
}

func (p *printer) leaveThought() {
	p.thinking = false
	if p.dim {
		io.WriteString(p.err, "\x1b[0m")
	}
	io.WriteString(p.err, "\n\n")
}

func (p *printer) call(c *plume.ToolCall) {
	line, err := marshal(struct {
		Name      string          `json:"tool_call"`
		Arguments json.RawMessage `json:"arguments"`
	}{c.Name, c.Arguments})
	if err != nil {
		p.failed = fmt.Errorf("print tool call %s: %w", c.Name, err)
		return
	}
	p.newline()
	p.write(string(line) + "\n")
}

func (p *printer) write(text string) {
	if text == "" || p.failed != nil {
		return
	}
	p.last = text[len(text)-1]
	_, p.failed = io.WriteString(p.out, text)
}

// newline ends the current line, if it has been begun.
func (p *printer) newline() {
	if p.last != 0 && p.last != '\n' {
		p.write("\n")
	}
}

// end closes the answer.
func (p *printer) end() error {
	if p.thinking {
		p.leaveThought()
	}
	p.newline()
	return p.failed
}

// oneLine cuts text for a list.
func oneLine(text string, n int) string {
	text = strings.Join(strings.Fields(text), " ")
	if r := []rune(text); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return text
}
