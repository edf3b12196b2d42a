package server

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/plume-run/plume"
)

var rewrite = flag.Bool("rewrite", false, "write what the server says into testdata/wire")

// TestWire plays the transcripts of testdata/wire. Each file has a script for
// the fake engine, and any number of requests; after each stand what the
// engine was asked and what the client got:
//
//	-- script --
//	-- request --    METHOD PATH, headers, empty line, body
//	-- engine --     one JSON object for each request that reached the engine
//	-- response --   status, type, empty line, body
func TestWire(t *testing.T) {
	files, err := filepath.Glob("testdata/wire/*.txtar")
	if err != nil || len(files) < 10 {
		t.Fatalf("found %d transcripts: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) { playWire(t, file) })
	}
}

func playWire(t *testing.T, file string) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	script := ""
	fake := &fakeEngine{script: func(plume.Request) string { return script }}
	_, h := newTestServer(t, testOptions(fake))
	out := &txtar.Archive{Comment: archive.Comment}
	var request, want []byte
	flush := func() {
		if request == nil {
			return
		}
		fake.seen = nil
		response := exchange(t, h.URL, request)
		got := txtar.File{Name: "engine", Data: requestsJSON(fake.seen)}
		out.Files = append(out.Files, got, txtar.File{Name: "response", Data: response})
		if both := append(bytes.Clone(got.Data), response...); !*rewrite && !bytes.Equal(both, want) {
			t.Errorf("%s\ngot:\n%s\nwant:\n%s", firstLine(request), both, want)
		}
		request, want = nil, nil
	}
	for _, f := range archive.Files {
		switch f.Name {
		case "script":
			flush()
			script = string(f.Data)
			out.Files = append(out.Files, f)
		case "request":
			flush()
			request = f.Data
			out.Files = append(out.Files, f)
		case "engine", "response":
			want = append(want, f.Data...)
		default:
			t.Fatalf("%s: section %q", file, f.Name)
		}
	}
	flush()
	if *rewrite {
		if err := os.WriteFile(file, txtar.Format(out), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func firstLine(b []byte) string { s, _, _ := strings.Cut(string(b), "\n"); return s }

// exchange sends a request in text form and returns the response in text form.
func exchange(t *testing.T, url string, request []byte) []byte {
	t.Helper()
	head, body, _ := strings.Cut(string(request), "\n\n")
	lines := strings.Split(head, "\n")
	method, path, ok := strings.Cut(strings.TrimSpace(lines[0]), " ")
	if !ok {
		t.Fatalf("request %q", lines[0])
	}
	r, err := http.NewRequest(method, url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines[1:] {
		if key, value, ok := strings.Cut(line, ": "); ok {
			r.Header.Set(key, value)
		}
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	id := resp.Header.Get("X-Request-Id")
	text := strings.ReplaceAll(string(data), id, "REQ")
	retry := ""
	if after := resp.Header.Get("Retry-After"); after != "" {
		retry = "Retry-After: " + after + "\n"
	}
	return fmt.Appendf(nil, "%d %s\n%s\n%s", resp.StatusCode, resp.Header.Get("Content-Type"), retry, text)
}

// requestsJSON prints what reached the engine, without what is at its default.
func requestsJSON(rs []plume.Request) []byte {
	var lines []string
	for _, r := range rs {
		m := map[string]any{}
		put := func(key string, v any, zero bool) {
			if !zero {
				m[key] = v
			}
		}
		var messages []any
		for _, msg := range r.Messages {
			messages = append(messages, messageMap(msg))
		}
		var tools []string
		for _, tool := range r.Tools {
			tools = append(tools, tool.Name())
		}
		put("messages", messages, messages == nil)
		put("raw", r.Raw, r.Raw == "")
		put("tokens", r.Tokens, r.Tokens == nil)
		put("tools", tools, tools == nil)
		put("choice", r.ToolChoice, r.ToolChoice == "")
		put("thinking", true, !r.Thinking)
		put("format", r.Format, r.Format == nil)
		put("logprobs", r.Logprobs, r.Logprobs == 0)
		put("max", r.MaxTokens, r.MaxTokens == 0)
		put("stop", r.Stop, r.Stop == nil)
		put("sampling", fmt.Sprint(r.Sampling), r.Sampling == nil || *r.Sampling == testOptions(nil).Model.Sampling)
		line, err := json.Marshal(m)
		if err != nil {
			panic(err)
		}
		lines = append(lines, string(line)+"\n")
	}
	slices.Sort(lines) // choices are computed at once
	return []byte(strings.Join(lines, ""))
}

func messageMap(msg plume.Message) map[string]any {
	m := map[string]any{"role": msg.Role}
	if msg.Parts != nil {
		var parts []string
		for _, p := range msg.Parts {
			parts = append(parts, string(p.Type)+": "+p.Text)
		}
		m["parts"] = parts
	} else {
		m["content"] = msg.Content
	}
	for key, v := range map[string]string{"name": msg.Name, "reasoning": msg.Reasoning, "call": msg.ToolCallID} {
		if v != "" {
			m[key] = v
		}
	}
	var calls []string
	for _, c := range msg.ToolCalls {
		calls = append(calls, fmt.Sprintf("%s: %s %s", c.ID, c.Name, c.Arguments))
	}
	if calls != nil {
		m["calls"] = calls
	}
	return m
}
