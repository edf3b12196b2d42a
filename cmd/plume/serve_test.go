package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"
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

// The demo model is served without configuration, and the address that is
// printed works, page included, until the command is told to end.
func TestServeDemo(t *testing.T) {
	t.Setenv(keyVariable, "")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var out shared
	root := newRoot()
	root.SetArgs([]string{"serve", "--listen", "127.0.0.1:0", "--ctx", "128", "--sequences", "2"})
	root.SetErr(&out)
	root.SetOut(io.Discard)
	ended := make(chan error, 1)
	go func(c *cobra.Command) { ended <- c.ExecuteContext(ctx) }(root)
	url := ""
	for url == "" {
		select {
		case err := <-ended:
			t.Fatalf("ended: %v\n%s", err, out.String())
		case <-time.After(10 * time.Millisecond):
			if m := regexp.MustCompile(`serving demo on (http://\S+)`).FindStringSubmatch(out.String()); m != nil {
				url = m[1]
			}
		}
	}
	for path, want := range map[string]string{"/": "<title>plume</title>", "/v1/models": `"demo"`, "/ready": "ready", "/metrics": "plume_ple_rows_total", "/api/tags": "gemma4"} {
		resp, err := http.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 200 || !strings.Contains(string(body), want) {
			t.Errorf("%s: %d %.200s", path, resp.StatusCode, body)
		}
	}
	resp, err := http.Post(url+"/v1/chat/completions", "application/json", strings.NewReader(`{"messages":[{"role":"user","content":"Hi"}],"max_tokens":3,"response_format":{"type":"json_schema","json_schema":{"name":"a","schema":{"enum":["yes"]}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != 200 || !strings.Contains(string(body), `\"`) {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("ended: %v", err)
	}
	if strings.Contains(out.String(), "Hi") {
		t.Errorf("the log has a prompt:\n%s", out.String())
	}
}
