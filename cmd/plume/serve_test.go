package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/plume-run/plume"
	"github.com/plume-run/plume/demo"
)

// shared is a buffer that one goroutine writes and another reads.
type shared struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *shared) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(p)
}

func (s *shared) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

// served is a `plume serve` of the demo model.
type served struct {
	url string
	log *shared
	end func() error
}

// serveDemo starts one and returns when it has said where it is.
func serveDemo(t *testing.T, flags ...string) served {
	t.Helper()
	t.Setenv(keyVariable, "")
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	var out shared
	root := newRoot()
	root.SetArgs(append([]string{"serve", "--listen", "127.0.0.1:0"}, flags...))
	root.SetErr(&out)
	root.SetOut(io.Discard)
	ended := make(chan error, 1)
	go func(c *cobra.Command) { ended <- c.ExecuteContext(ctx) }(root)
	for {
		select {
		case err := <-ended:
			t.Fatalf("ended: %v\n%s", err, out.String())
		case <-time.After(10 * time.Millisecond):
			if m := regexp.MustCompile(`serving demo on (http://\S+)`).FindStringSubmatch(out.String()); m != nil {
				return served{m[1], &out, func() error { cancel(); return <-ended }}
			}
		}
	}
}

// call asks path, with a body if there is one, and returns what comes with status 200.
func (s served) call(t *testing.T, path, body string) string {
	t.Helper()
	ask := func() (*http.Response, error) { return http.Get(s.url + path) }
	if body != "" {
		ask = func() (*http.Response, error) {
			return http.Post(s.url+path, "application/json", strings.NewReader(body))
		}
	}
	resp, err := ask()
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 {
		t.Errorf("%s: %d %.200s, %v", path, resp.StatusCode, text, err)
	}
	return string(text)
}

// An answer that repeats itself and runs alone is guessed, which /metrics counts, unless
// that is turned off.
func TestServeDrafts(t *testing.T) {
	none := "\nplume_draft_tokens_total 0\n"
	form, err := json.Marshal(map[string]any{"enum": []string{strings.Repeat("one fox and ", 30)}})
	if err != nil {
		t.Fatal(err)
	}
	for _, flag := range []string{"--no-draft=false", "--no-draft"} {
		s := serveDemo(t, "--ctx", "1024", "--sequences", "1", flag)
		s.call(t, "/v1/completions", `{"prompt":"Once","max_tokens":400,"response_format":{"type":"json_schema","schema":`+string(form)+`}}`)
		if off := flag == "--no-draft"; strings.Contains(s.call(t, "/metrics", ""), none) != off {
			t.Errorf("%s: %s", flag, s.call(t, "/api/plume/stats", ""))
		}
		if err := s.end(); err != nil {
			t.Errorf("ended: %v", err)
		}
	}
}

// Where the budget has no room for formats the server says so, answers all else, and sends
// nobody away for two seconds.
func TestServeWithoutFormats(t *testing.T) {
	path, _, err := demo.Path()
	if err != nil {
		t.Fatal(err)
	}
	least, err := plume.Plan(path, plume.Options{RAM: -1, Threads: 1, Context: 64})
	if err != nil {
		t.Fatal(err)
	}
	s := serveDemo(t, "--ctx", "64", "--sequences", "1", "--threads", "1", "--prefix-cache", "0", "--ram", strconv.FormatInt(least.Minimum(), 10))
	if !strings.Contains(s.log.String(), "no room for response formats and tools") {
		t.Errorf("the greeting is\n%s", s.log.String())
	}
	s.call(t, "/v1/completions", `{"prompt":"Once","max_tokens":3}`)
	resp, err := http.Post(s.url+"/v1/completions", "application/json", strings.NewReader(`{"prompt":"Once","max_tokens":3,"response_format":{"type":"json_object"}}`))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "" {
		t.Errorf("a format: %d, %v", resp.StatusCode, resp.Header)
	}
	if err := s.end(); err != nil {
		t.Errorf("ended: %v", err)
	}
}

// A call that the answer's length has cut off is told from a whole one, also where the answer
// ends behind its first call.
func TestServeCutOffCall(t *testing.T) {
	s := serveDemo(t, "--ctx", "512", "--sequences", "1")
	for _, c := range []struct{ min, tokens, chat, messages string }{
		{"400", "30", `"finish_reason":"length"`, `"stop_reason":"max_tokens"`},
		{"1", "60", `"finish_reason":"tool_calls"`, `"stop_reason":"tool_use"`},
	} {
		schema := `{"type":"object","properties":{"a":{"type":"string","minLength":` + c.min + `,"maxLength":` + c.min + `}},"required":["a"]}`
		body := s.call(t, "/v1/chat/completions", `{"messages":[{"role":"user","content":"Hi"}],"max_tokens":`+c.tokens+`,"parallel_tool_calls":false,"tool_choice":"required",
			"tools":[{"type":"function","function":{"name":"f","parameters":`+schema+`}}]}`)
		if !strings.Contains(body, c.chat) || !strings.Contains(body, `"name":"f"`) {
			t.Errorf("chat completions: %s", body)
		}
		body = s.call(t, "/v1/messages", `{"model":"demo","messages":[{"role":"user","content":"Hi"}],"max_tokens":`+c.tokens+`,
			"tools":[{"name":"f","input_schema":`+schema+`}],"tool_choice":{"type":"tool","name":"f","disable_parallel_tool_use":true}}`)
		if !strings.Contains(body, c.messages) || !strings.Contains(body, `"name":"f"`) {
			t.Errorf("messages: %s", body)
		}
	}
	if err := s.end(); err != nil {
		t.Errorf("ended: %v", err)
	}
}

// The demo model is served without configuration, and the address that is
// printed works, page included, until the command is told to end.
func TestServeDemo(t *testing.T) {
	s := serveDemo(t, "--ctx", "128", "--sequences", "2")
	for path, want := range map[string]string{"/": "<title>plume</title>", "/v1/models": `"demo"`, "/ready": "ready", "/metrics": "plume_ple_rows_total", "/api/tags": "gemma4"} {
		if body := s.call(t, path, ""); !strings.Contains(body, want) {
			t.Errorf("%s: %.200s", path, body)
		}
	}
	body := s.call(t, "/v1/chat/completions", `{"messages":[{"role":"user","content":"Hi"}],"max_tokens":3,"response_format":{"type":"json_schema","json_schema":{"name":"a","schema":{"enum":["yes"]}}}}`)
	if !strings.Contains(body, `\"`) {
		t.Errorf("%s", body)
	}
	if err := s.end(); err != nil {
		t.Errorf("ended: %v", err)
	}
	if strings.Contains(s.log.String(), "Hi") {
		t.Errorf("the log has a prompt:\n%s", s.log.String())
	}
}
