package main

import (
	"bufio"
	"strings"
	"testing"
)

// A measurement finds the address whatever the model is called, and tells what a server
// that did not start has said.
func TestAwaitServed(t *testing.T) {
	for _, c := range []struct{ says, url, failure string }{
		{"plume: serving demo on http://127.0.0.1:1 (2 answers at once, 9 tokens each)\nmore", "http://127.0.0.1:1", ""},
		{"reading\nplume: serving my model on disk on http://[::1]:2 (2 answers", "http://[::1]:2", ""},
		{"  no hint\nplume: open x: there is no such file\n       list models: plume list\n       get one: plume pull\nlast words", "",
			"open x: there is no such file\n       list models: plume list\n       get one: plume pull"},
		{"plume: first\n  hint\nplume: then", "", "then"},
		{"", "", ""},
	} {
		url, failure := awaitServed(bufio.NewScanner(strings.NewReader(c.says)))
		if url != c.url || failure != c.failure {
			t.Errorf("%q: %q, %q, want %q, %q", c.says, url, failure, c.url, c.failure)
		}
	}
}
