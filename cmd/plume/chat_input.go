package main

import (
	"bufio"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// lineReader reads what people type, or lines from a pipe.
type lineReader interface {
	// read returns the next line without its end, io.EOF after the last.
	read(prompt string) (string, error)
	interactive() bool
}

// newLineReader edits lines where both ends are a terminal.
func newLineReader(in io.Reader, out io.Writer) lineReader {
	tty, ok := in.(*os.File)
	if ok && isTerminal(in) && isTerminal(out) {
		return &terminalReader{in: tty, out: out, history: &lineHistory{}}
	}
	return &pipeReader{in: bufio.NewReader(in)}
}

// pipeReader reads lines without prompt.
type pipeReader struct{ in *bufio.Reader }

func (p *pipeReader) interactive() bool { return false }

func (p *pipeReader) read(string) (string, error) {
	line, err := readLine(p.in)
	return string(line), err
}

// terminalReader edits lines. The terminal is in raw mode only while a line is
// read, so that during an answer Ctrl-C is a signal as usual.
type terminalReader struct {
	in      *os.File
	out     io.Writer
	keys    *keyReader
	editor  *term.Terminal
	history *lineHistory
}

func (t *terminalReader) interactive() bool { return true }

// read returns a line, or several that were pasted at once. Ctrl-C throws the
// line away and asks again.
func (t *terminalReader) read(prompt string) (string, error) {
	state, err := term.MakeRaw(int(t.in.Fd()))
	if err != nil {
		return "", err
	}
	defer term.Restore(int(t.in.Fd()), state)
	var pasted []string
	for {
		t.prepare(prompt)
		line, err := t.editor.ReadLine()
		t.editor.SetBracketedPasteMode(false)
		switch {
		case err == term.ErrPasteIndicator:
			pasted = append(pasted, line)
		case err == io.EOF && t.keys.interrupted:
			io.WriteString(t.out, "^C\r\n")
			t.editor, pasted = nil, nil
		case err == io.EOF:
			io.WriteString(t.out, "\r\n")
			return "", io.EOF
		default:
			return strings.Join(append(pasted, line), "\n"), err
		}
	}
}

// prepare makes the editor ready for a line.
func (t *terminalReader) prepare(prompt string) {
	if t.editor == nil {
		t.keys = &keyReader{in: t.in}
		t.editor = term.NewTerminal(struct {
			io.Reader
			io.Writer
		}{t.keys, t.out}, prompt)
		t.editor.History = t.history
	}
	t.editor.SetPrompt(prompt)
	if width, height, err := term.GetSize(int(t.in.Fd())); err == nil && width > 0 {
		t.editor.SetSize(width, height)
	}
	t.editor.SetBracketedPasteMode(true)
}

// keyReader tells Ctrl-C from Ctrl-D, which end a line editor's line alike.
type keyReader struct {
	in          io.Reader
	interrupted bool
}

const ctrlC = 3

func (k *keyReader) Read(p []byte) (int, error) {
	n, err := k.in.Read(p[:min(len(p), 1)]) // so that Ctrl-C is the last key seen
	if n > 0 && p[0] == ctrlC {
		k.interrupted = true
	}
	return n, err
}

// lineHistory is what the arrow keys go through, the newest line at index 0.
type lineHistory struct{ lines []string }

// maxHistory bounds the lines kept.
const maxHistory = 1000

// Add keeps a line unless it is blank or repeats the last one.
func (h *lineHistory) Add(line string) {
	if strings.TrimSpace(line) == "" || len(h.lines) > 0 && h.lines[len(h.lines)-1] == line {
		return
	}
	h.lines = append(h.lines, line)
	if len(h.lines) > maxHistory {
		h.lines = h.lines[1:]
	}
}

// Len returns the number of lines.
func (h *lineHistory) Len() int { return len(h.lines) }

// At returns the line idx lines back.
func (h *lineHistory) At(idx int) string { return h.lines[len(h.lines)-1-idx] }
