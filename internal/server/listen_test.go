package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/plume-run/plume"
)

// serveHere starts Serve on a free port; stop ends it, and ended has its error.
func serveHere(t *testing.T, s *Server, o ListenOptions) (url string, stop func(), ended chan error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	ended = make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l, o) }()
	return "http://" + l.Addr().String(), stop, ended
}

// Shutting down finishes what runs, and cuts off what does not end in time.
func TestShutdown(t *testing.T) {
	for _, c := range []struct {
		name   string
		grace  time.Duration
		finish bool // the answer ends by itself while the server waits
	}{
		{"an answer finishes", time.Minute, true},
		{"an answer is cut off", 30 * time.Millisecond, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			more := make(chan bool)
			fake := &slowEngine{begun: make(chan bool, 1), more: more}
			o := testOptions(fake)
			var log bytes.Buffer
			o.Log = slog.New(slog.NewTextHandler(&log, nil))
			s, _ := newTestServer(t, o)
			url, stop, ended := serveHere(t, s, ListenOptions{Grace: c.grace})
			answer := make(chan string, 1)
			go func() {
				resp, err := http.Post(url+"/v1/chat/completions", "application/json", strings.NewReader(strings.TrimSuffix(say, "}")+`,"stream":true}`))
				if err != nil {
					answer <- err.Error()
					return
				}
				defer resp.Body.Close()
				data, _ := io.ReadAll(resp.Body)
				answer <- string(data)
			}()
			<-fake.begun
			stop()
			if c.finish {
				for !s.closing.Load() {
					time.Sleep(time.Millisecond)
				}
				close(more)
			}
			got := <-answer
			if whole := strings.HasSuffix(got, "data: [DONE]\n\n"); whole != c.finish {
				t.Errorf("whole: %v, want %v: %s", whole, c.finish, got)
			}
			if told := strings.Contains(got, `"code":"shutting_down"`); told == c.finish {
				t.Errorf("the client was told of the end: %v: %s", told, got)
			}
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if why := strings.Contains(log.String(), `error="the server is shutting down"`); why == c.finish || strings.Contains(log.String(), "client_gone") {
				t.Errorf("the log does not say why the answer ended: %s", log.String())
			}
			if _, err := net.DialTimeout("tcp", strings.TrimPrefix(url, "http://"), time.Second); err == nil {
				t.Error("the port is still open")
			}
		})
	}
}

// slowEngine answers when it is told to.
type slowEngine struct {
	fakeEngine
	begun chan bool
	more  chan bool
}

func (f *slowEngine) Generate(ctx context.Context, r plume.Request) iter.Seq2[plume.Event, error] {
	return func(yield func(plume.Event, error) bool) {
		yield(plume.Event{Kind: plume.EventText, Text: "a"}, nil)
		f.begun <- true
		select {
		case <-f.more:
			yield(plume.Event{Kind: plume.EventDone, Result: result("stop")}, nil)
		case <-ctx.Done():
			yield(plume.Event{Kind: plume.EventDone, Result: result("cancelled")}, ctx.Err())
		}
	}
}

func TestReady(t *testing.T) {
	fake := &fakeEngine{script: hello}
	fake.stats.Queue = 2
	s, h := newTestServer(t, testOptions(fake))
	if status, _, _ := ask(t, "GET", h.URL+"/ready", ""); status != 200 {
		t.Errorf("idle: %d", status)
	}
	fake.stats.Waiting = 2
	if status, _, body := ask(t, "GET", h.URL+"/ready", ""); status != 200 {
		t.Errorf("a full queue takes the server out of its service: %d %s", status, body)
	}
	fake.stats.Waiting = 0
	s.Drain()
	if status, _, _ := ask(t, "GET", h.URL+"/ready", ""); status != 503 {
		t.Errorf("draining: %d", status)
	}
	if status, header, _ := ask(t, "POST", h.URL+"/v1/messages", `{"max_tokens":1,"messages":[{"role":"user","content":"Hi"}]}`); status != 503 || header.Get("Retry-After") == "" {
		t.Errorf("a request while draining: %d", status)
	}
}

// More connections than allowed wait until one closes.
func TestConnectionLimit(t *testing.T) {
	s, _ := newTestServer(t, testOptions(&fakeEngine{script: hello}))
	url, _, _ := serveHere(t, s, ListenOptions{Connections: 1})
	addr := strings.TrimPrefix(url, "http://")
	first, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	talk := func(c net.Conn) error {
		if _, err := io.WriteString(c, "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			return err
		}
		_, err := c.Read(make([]byte, 1))
		return err
	}
	if err := talk(first); err != nil {
		t.Fatal(err)
	}
	second, err := net.Dial("tcp", addr) // the system accepts it, the server not yet
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	second.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	var timeout net.Error
	if err := talk(second); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("a second connection was served: %v", err)
	}
	first.Close()
	second.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := second.Read(make([]byte, 1)); err != nil {
		t.Errorf("after the first closed: %v", err)
	}
}

func TestMetrics(t *testing.T) {
	fake := &fakeEngine{script: hello, stats: plume.ServiceStats{Running: 2, Waiting: 3, Left: 4, KVTokens: 25, KVCapacity: 100}}
	o := testOptions(fake)
	o.Figures = func() plume.Stats {
		var st plume.Stats
		st.PLE.Rows, st.Memory.Used, st.Memory.Left = 41, 5000, 300
		st.PLE.WaitP50, st.Weights.ExpertHits, st.Weights.ExpertMisses = 2*time.Millisecond, 7, 3
		st.Memory.Roles = []plume.MemoryUse{{Role: "ffn", Bytes: 40}, {Role: "ffn", Bytes: 2}}
		return st
	}
	_, h := newTestServer(t, o)
	ask(t, "POST", h.URL+"/v1/chat/completions", say)
	ask(t, "POST", h.URL+"/v1/chat/completions", "{")
	_, _, text := ask(t, "GET", h.URL+"/metrics", "")
	for _, want := range []string{
		`vllm:num_requests_running{model_name="tiny"} 2`, `vllm:num_requests_waiting{model_name="tiny"} 3`, `vllm:kv_cache_usage_perc{model_name="tiny"} 0.25`, `vllm:gpu_cache_usage_perc{model_name="tiny"} 0.25`,
		`plume_http_requests_total{route="/v1/chat/completions",status="200"} 1`, `plume_http_requests_total{route="/v1/chat/completions",status="400"} 1`,
		`plume_answers_total{finish="stop"} 1`, "plume_prompt_tokens_total 7", "plume_generated_tokens_total 3", "plume_time_to_first_token_seconds_count 1",
		"plume_ple_rows_total 41", "plume_queue_left_total 4", "plume_memory_used_bytes 5000", "plume_memory_left_bytes 300",
		"plume_ple_wait_p50_seconds 0.002", "plume_expert_hits_total 7", "plume_expert_misses_total 3", `plume_memory_role_bytes{role="ffn"} 42`, "go_goroutines",
	} {
		if !strings.Contains(text, want+"\n") && !strings.Contains(text, want+" ") {
			t.Errorf("no %s", want)
		}
	}
}
