package load

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const delta = `data: {"choices":[{"delta":{"content":"a"},"finish_reason":null}]}` + "\n\n"

// serve answers all chats with text, and keeps the metrics of a server.
func serve(t *testing.T, status int, text string, header ...string) string {
	t.Helper()
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/metrics" {
			fmt.Fprint(w, "# HELP x y\ngo_goroutines 7\nprocess_resident_memory_bytes 1.5e+06\nplume_requests_running 0\nother{a=\"b\"} 3\n")
			return
		}
		io.Copy(io.Discard, r.Body)
		for _, h := range header {
			key, value, _ := strings.Cut(h, ": ")
			w.Header().Set(key, value)
		}
		w.WriteHeader(status)
		io.WriteString(w, text)
	}))
	t.Cleanup(h.Close)
	return h.URL
}

// Each way in which an answer can come or not come is counted as what it is.
func TestRun(t *testing.T) {
	done := `data: {"choices":[{"delta":{},"finish_reason":"stop"}]}` + "\n\ndata: [DONE]\n\n"
	for _, c := range []struct {
		name   string
		status int
		text   string
		want   func(r *Result) int
		says   string
	}{
		{"whole", 200, delta + ": ping\n\n" + delta + done, func(r *Result) int { return r.Ended }, ""},
		{"refused", 429, "busy", func(r *Result) int { return r.Refused }, ""},
		{"cut off", 200, delta, func(r *Result) int { return r.Failed }, "after 1 tokens: unexpected EOF"},
		{"no reason", 200, delta + "data: [DONE]\n\n", func(r *Result) int { return r.Failed }, "without a reason"},
		{"error in the stream", 200, delta + `data: {"error":{"message":"disk gone"}}` + "\n\n", func(r *Result) int { return r.Failed }, "disk gone"},
		{"no JSON", 200, "data: <html>\n\n", func(r *Result) int { return r.Failed }, "invalid character"},
		{"empty", 200, "", func(r *Result) int { return r.Failed }, "after 0 tokens"},
		{"broken", 500, "oops", func(r *Result) int { return r.Failed }, "status 500: oops"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := Run(t.Context(), Options{URL: serve(t, c.status, c.text), Clients: 3, Rounds: 2, Prompt: "Hi"})
			if c.want(r) != 6 || r.Ended+r.Refused+r.Failed+r.Left != 6 {
				t.Errorf("%+v", *r)
			}
			if text := strings.Join(r.Failures, "; "); !strings.Contains(text, c.says) || (c.says == "") != (text == "") {
				t.Errorf("failures %q, want %q", text, c.says)
			}
			if c.name == "whole" && (r.Tokens != 12 || r.First.Count != 6 || r.Between.Count != 6 || r.Answer.Count != 6 || r.Rate <= 0) {
				t.Errorf("%+v", *r)
			}
		})
	}
	if r := Run(t.Context(), Options{URL: "http://127.0.0.1:1", Clients: 1, Rounds: 7}); r.Failed != 7 || len(r.Failures) != maxFailures {
		t.Errorf("nobody there: %+v", *r)
	}
}

// A server that takes everything as it comes is found out by the rough ones.
func TestRough(t *testing.T) {
	var asked atomic.Int64
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, strings.Repeat(delta, 40)+`data: {"choices":[{"delta":{},"finish_reason":"length"}]}`+"\n\ndata: [DONE]\n\n")
	}))
	defer h.Close()
	r := Run(t.Context(), Options{URL: h.URL, Clients: 8, Rounds: 30, Tokens: 32, Rough: true, TooLarge: 1000})
	if r.Failed == 0 || r.Malformed+r.TooLarge != 0 || r.Left == 0 || r.HungUp == 0 || r.Ended+r.Left+r.Failed+r.HungUp != 240 {
		t.Errorf("%d asked, %+v", asked.Load(), *r)
	}
	text := strings.Join(r.Failures, "; ")
	if !strings.Contains(text, "cut-off JSON: status 200") || !strings.Contains(text, "a body of 1000 bytes: status 200") {
		t.Errorf("failures %q", text)
	}
}

// A body for which there is no room beside others is refused as any request, not failed.
func TestBodiesRefused(t *testing.T) {
	r := &run{o: Options{URL: serve(t, 429, "busy"), TooLarge: 1000}, http: http.DefaultClient}
	r.tooLarge(t.Context(), rand.New(rand.NewPCG(1, 2)))
	if r.out.Refused != 1 || r.out.Failed != 0 || r.out.TooLarge != 0 {
		t.Errorf("%+v", r.out)
	}
}

// A refused client waits as it is told, but not longer than it has patience.
func TestPatience(t *testing.T) {
	url := serve(t, 429, "busy", "Retry-After: 3600")
	begun := time.Now()
	r := Run(t.Context(), Options{URL: url, Clients: 1, Rounds: 2, Patience: 20 * time.Millisecond})
	if took := time.Since(begun); r.Refused != 2 || took < 40*time.Millisecond {
		t.Errorf("%+v after %v", *r, took)
	}
}

func TestUsage(t *testing.T) {
	o := Options{URL: serve(t, 200, "")}
	u, err := Settle(t.Context(), o)
	if err != nil || *u != (Usage{Goroutines: 7, RSS: 1.5e6}) {
		t.Errorf("%+v, %v", u, err)
	}
	o.URL += "/nothing"
	h := httptest.NewServer(http.NotFoundHandler())
	defer h.Close()
	o.URL = h.URL
	if _, err := ReadUsage(t.Context(), o); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("no metrics: %v", err)
	}
}

func TestTimes(t *testing.T) {
	var all []time.Duration
	for i := range 200 {
		all = append(all, time.Duration(200-i)*time.Second)
	}
	if got := newTimes(all); got != (Times{200, 101, 199, 200}) {
		t.Errorf("%+v", got)
	}
	if newTimes(nil) != (Times{}) {
		t.Error("times of nothing")
	}
}
