package server

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plume-run/plume"
)

func TestBodyLimits(t *testing.T) {
	o := testOptions(&fakeEngine{script: hello})
	o.MaxBody, o.MaxBodies = 1000, 1500
	s, h := newTestServer(t, o)
	url := h.URL + "/v1/chat/completions"
	large := strings.Replace(say, "Hi", strings.Repeat("x", 2000), 1)
	if status, _, body := ask(t, "POST", url, large); status != 413 || !strings.Contains(body, "1000 B") {
		t.Errorf("announced length: %d %s", status, body)
	}
	r, _ := http.NewRequest("POST", url, io.MultiReader(strings.NewReader(large))) // sent in chunks
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 413 {
		t.Errorf("unannounced length: %d", resp.StatusCode)
	}
	if status, _, _ := ask(t, "POST", url, say, "Content-Encoding: gzip"); status != 400 {
		t.Errorf("compressed: %d", status)
	}
	s.bodies.Store(1490) // other requests hold most of it
	if status, header, _ := ask(t, "POST", url, say); status != 429 || header.Get("Retry-After") == "" {
		t.Errorf("together too large: %d %v", status, header)
	}
	s.bodies.Add(-1490)
	if status, _, body := ask(t, "POST", url, say); status != 200 || s.bodies.Load() != 0 {
		t.Errorf("%d %s; %d bytes are still held", status, body, s.bodies.Load())
	}
}

func TestSlowBody(t *testing.T) {
	o := testOptions(&fakeEngine{script: hello})
	o.ReadTimeout = 50 * time.Millisecond
	_, h := newTestServer(t, o)
	c, err := net.Dial("tcp", h.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
	reply, err := io.ReadAll(c) // the server answers and hangs up; nothing more is sent
	if err != nil || !bytes.Contains(reply, []byte("400 Bad Request")) || !bytes.Contains(reply, []byte("did not arrive in time")) {
		t.Errorf("%v: %s", err, reply)
	}
}

func TestTokenLimits(t *testing.T) {
	fake := &fakeEngine{script: hello}
	o := testOptions(fake)
	o.MaxPrompt, o.MaxTokens = 10, 100
	_, h := newTestServer(t, o)
	url := h.URL + "/v1/chat/completions"
	if status, _, body := ask(t, "POST", url, strings.Replace(say, "Hi", "a long message", 1)); status != 400 || !strings.Contains(body, "context_length_exceeded") {
		t.Errorf("prompt: %d %s", status, body)
	}
	for asked, want := range map[string]int{"": 100, `,"max_tokens":7`: 7, `,"max_tokens":700`: 100} {
		ask(t, "POST", url, strings.TrimSuffix(say, "}")+asked+"}")
		if got := fake.seen[len(fake.seen)-1].MaxTokens; got != want {
			t.Errorf("max tokens%s: %d, want %d", asked, got, want)
		}
	}
}

// A client that goes away must cancel its answer, in whole and in part.
func TestDisconnect(t *testing.T) {
	for _, path := range []string{"/v1/chat/completions", "/v1/responses", "/v1/messages", "/api/chat", "/v1/completions"} {
		for _, stream := range []bool{false, true} {
			t.Run(fmt.Sprint(path, " ", stream), func(t *testing.T) {
				begun := make(chan bool, 8)
				fake := &fakeEngine{script: func(plume.Request) string { begun <- true; return "text \"a\"\nwait\ndone stop" }}
				_, h := newTestServer(t, testOptions(fake))
				body := fmt.Sprintf(`{"model":"tiny","stream":%v,"max_tokens":5,"messages":[{"role":"user","content":"Hi"}]}`, stream)
				switch path {
				case "/v1/responses":
					body = fmt.Sprintf(`{"stream":%v,"input":"Hi"}`, stream)
				case "/v1/completions":
					body = fmt.Sprintf(`{"stream":%v,"prompt":"Hi","n":2}`, stream)
				case "/api/chat":
					body = strings.Replace(body, `"max_tokens":5,`, "", 1)
				}
				ctx, cancel := context.WithCancel(t.Context())
				r, _ := http.NewRequestWithContext(ctx, "POST", h.URL+path, strings.NewReader(body))
				failed := make(chan error, 1)
				go func() {
					resp, err := http.DefaultClient.Do(r)
					if err == nil {
						_, err = io.ReadAll(resp.Body)
						resp.Body.Close()
					}
					failed <- err
				}()
				<-begun
				cancel()
				if err := <-failed; err == nil {
					t.Error("the client got an answer")
				}
				h.Close() // waits for the handlers
				if n := fake.running(); n != 0 {
					t.Errorf("%d answers still run", n)
				}
			})
		}
	}
}

func TestAnswerTimeout(t *testing.T) {
	for stream, want := range map[bool]string{false: "504", true: "504"} {
		o := testOptions(&fakeEngine{script: func(plume.Request) string { return "wait\ndone stop" }})
		o.AnswerTimeout = 30 * time.Millisecond
		_, h := newTestServer(t, o)
		status, _, body := ask(t, "POST", h.URL+"/v1/chat/completions", fmt.Sprintf(`{"stream":%v,"messages":[{"role":"user","content":"Hi"}]}`, stream))
		if fmt.Sprint(status) != want || !strings.Contains(body, "longer than this server allows") {
			t.Errorf("stream %v: %d %s", stream, status, body)
		}
	}
}

// A long silence begins the stream and keeps it alive, each dialect in its way.
func TestKeepAlive(t *testing.T) {
	for path, want := range map[string]string{
		"/v1/chat/completions": ": waiting", "/v1/completions": ": waiting", "/v1/responses": ": waiting",
		"/v1/messages": `{"type":"ping"}`, "/api/chat": `"content":""},"done":false}`,
	} {
		o := testOptions(&fakeEngine{script: func(plume.Request) string { return "wait\ndone stop" }})
		o.KeepAlive, o.AnswerTimeout = 10*time.Millisecond, 200*time.Millisecond
		_, h := newTestServer(t, o)
		body := map[string]string{"/v1/completions": `{"stream":true,"prompt":"Hi"}`, "/v1/responses": `{"stream":true,"input":"Hi"}`,
			"/v1/messages": `{"stream":true,"max_tokens":1,"messages":[{"role":"user","content":"Hi"}]}`,
			"/api/chat":    `{"model":"tiny","messages":[{"role":"user","content":"Hi"}]}`}[path]
		if body == "" {
			body = `{"stream":true,"messages":[{"role":"user","content":"Hi"}]}`
		}
		status, _, text := ask(t, "POST", h.URL+path, body)
		if status != 200 || !strings.Contains(text, want) || !strings.Contains(text, "longer than this server allows") {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
}

// An error of one choice fails the request and stops the others.
func TestChoiceFails(t *testing.T) {
	var once sync.Once
	fake := &fakeEngine{}
	fake.script = func(plume.Request) string {
		script := "text \"a\"\nwait\ndone stop"
		once.Do(func() { script = "error overloaded" })
		return script
	}
	fake.stats.RetryAfter = 1700 * time.Millisecond
	_, h := newTestServer(t, testOptions(fake))
	status, header, body := ask(t, "POST", h.URL+"/v1/chat/completions", strings.TrimSuffix(say, "}")+`,"n":3}`)
	if status != 429 || header.Get("Retry-After") != "2" || fake.running() != 0 {
		t.Errorf("%d %v %s, %d still run", status, header, body, fake.running())
	}
}

// A bug in the engine costs one request.
func TestPanic(t *testing.T) {
	o := testOptions(&fakeEngine{script: func(plume.Request) string { return "nonsense" }})
	var log bytes.Buffer
	o.Log = slog.New(slog.NewTextHandler(&log, nil))
	_, h := newTestServer(t, o)
	status, _, body := ask(t, "POST", h.URL+"/api/show", `{"model":"tiny"}`)
	if status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	status, _, body = ask(t, "POST", h.URL+"/v1/chat/completions", say)
	if status != 500 || !strings.Contains(body, "bug") {
		t.Errorf("%d %s", status, body)
	}
	if status, _, _ = ask(t, "GET", h.URL+"/health", ""); status != 200 {
		t.Errorf("afterwards: %d", status)
	}
}

// What a client sent comes back cut to a sensible length, in its answer and in the log.
func TestErrorsAreShort(t *testing.T) {
	var log bytes.Buffer
	o := testOptions(&fakeEngine{script: hello})
	o.Log = slog.New(slog.NewTextHandler(&log, nil))
	_, h := newTestServer(t, o)
	long := strings.Repeat("x", 1<<20)
	digits := strings.Repeat("7", 1<<20)
	messages := `"messages":[{"role":"user","content":"Hi"}]`
	for _, c := range []struct{ path, body string }{
		{"/v1/chat/completions", `{` + messages + `,"` + long + `":1}`},
		{"/v1/chat/completions", `{` + messages + `,"reasoning_effort":"` + long + `"}`},
		{"/v1/chat/completions", `{` + messages + `,"max_tokens":` + digits + `}`},
		{"/v1/chat/completions", `{` + messages + `,"tools":[{"type":"function","function":{"name":"` + long + `","parameters":7}}]}`},
		{"/v1/messages", `{` + messages + `,"max_tokens":5,"` + long + `":1}`},
		{"/v1/responses", `{"input":"Hi","reasoning":{"effort":"` + long + `"}}`},
		{"/api/chat", `{"model":"` + long + `",` + messages + `}`},
		{"/api/chat", `{"model":"tiny",` + messages + `,"think":"` + long + `"}`},
	} {
		log.Reset()
		status, _, body := ask(t, "POST", h.URL+c.path, c.body)
		if status < 400 || status >= 500 || len(body) > 4<<10 || log.Len() > 8<<10 || log.Len() == 0 {
			t.Errorf("%s %.40s…: %d, an answer of %d bytes, %d logged", c.path, c.body, status, len(body), log.Len())
		}
	}
}

// A server that takes any name takes none that would swell its answers.
func TestLongModelName(t *testing.T) {
	o := testOptions(&fakeEngine{script: hello})
	o.Aliases = []string{"*"}
	_, h := newTestServer(t, o)
	for n, want := range map[int]int{maxName: 200, maxName + 1: 400} {
		name := `"model":"` + strings.Repeat("x", n) + `",`
		if status, _, body := ask(t, "POST", h.URL+"/v1/chat/completions", `{`+name+`"messages":[{"role":"user","content":"Hi"}]}`); status != want {
			t.Errorf("a name of %d bytes: %d %s", n, status, body)
		}
	}
}
