package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/plume-run/plume"
)

// A download reports its progress line by line, and its failure as what it is,
// whether it is streamed or not.
func TestPull(t *testing.T) {
	o := testOptions(&fakeEngine{script: hello})
	o.Pull = func(_ context.Context, name string, progress func(PullProgress)) error {
		progress(PullProgress{Status: "pulling", Total: 10, Completed: 4})
		switch name {
		case "a/missing":
			return fmt.Errorf("a/missing: %w: check the spelling", plume.ErrHubNotFound)
		case "nonsense":
			return fmt.Errorf("nonsense: %w", plume.ErrHubName)
		case "a/gated":
			return fmt.Errorf("a/gated: %w: accept its terms", plume.ErrHubDenied)
		case "a/broken":
			return errors.New("a/broken: the disk is full")
		}
		progress(PullProgress{Status: "pulling", Total: 10, Completed: 10})
		return nil
	}
	_, h := newTestServer(t, o)
	for _, c := range []struct {
		body   string
		status int
		says   string
	}{
		{`{"model":"a/b"}`, 200, `{"status":"pulling","total":10,"completed":4}` + "\n" + `{"status":"pulling","total":10,"completed":10}` + "\n" +
			`{"status":"pulled: to ask \"a/b\", start a server with -m and that name"}` + "\n" + `{"status":"success"}` + "\n"},
		{`{"model":"a/b","stream":false}`, 200, `{"status":"success"}`},
		{`{"model":"a/broken"}`, 200, `{"error":"a/broken: the disk is full"}`},
		{`{"model":"a/broken","stream":false}`, 500, `{"error":"a/broken: the disk is full"}`},
		{`{"model":"a/missing","stream":false}`, 404, "check the spelling"},
		{`{"model":"a/gated","stream":false}`, 403, "accept its terms"},
		{`{"model":"nonsense","stream":false}`, 400, "not a model name"},
	} {
		status, _, body := ask(t, "POST", h.URL+"/api/pull", c.body)
		if status != c.status || !strings.Contains(body, c.says) || strings.Contains(body, "error") && strings.Contains(body, "success") {
			t.Errorf("%s: %d %s", c.body, status, body)
		}
	}
}

// A client that leaves ends its download.
func TestPullLeft(t *testing.T) {
	begun, ended := make(chan bool), make(chan error, 1)
	o := testOptions(&fakeEngine{script: hello})
	o.Pull = func(ctx context.Context, _ string, progress func(PullProgress)) error {
		progress(PullProgress{Status: "pulling"})
		begun <- true
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	}
	_, h := newTestServer(t, o)
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "POST", h.URL+"/api/pull", strings.NewReader(`{"model":"a/b"}`))
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		<-begun
		cancel()
	}()
	if resp, err := http.DefaultClient.Do(r); err == nil {
		resp.Body.Close()
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the download ended with %v", err)
	}
}

// A download that the server's end cuts off says so, however the hub passes that on.
func TestPullShutdown(t *testing.T) {
	for _, c := range []struct {
		name, body string
		status     int
		err        func(context.Context) error
	}{
		{"streamed, cancelled", `{"model":"a/b"}`, 200, context.Context.Err},
		{"whole, cancelled", `{"model":"a/b","stream":false}`, 503, context.Context.Err},
		{"whole, the cause", `{"model":"a/b","stream":false}`, 503, context.Cause},
	} {
		t.Run(c.name, func(t *testing.T) {
			begun := make(chan bool, 1)
			o := testOptions(&fakeEngine{script: hello})
			o.Pull = func(ctx context.Context, _ string, _ func(PullProgress)) error {
				begun <- true
				<-ctx.Done()
				return fmt.Errorf("fetch a/b: %w", c.err(ctx))
			}
			s, _ := newTestServer(t, o)
			url, stop, ended := serveHere(t, s, ListenOptions{Grace: time.Millisecond})
			go func() {
				<-begun
				stop()
			}()
			status, _, body := ask(t, "POST", url+"/api/pull", c.body)
			if status != c.status || !strings.Contains(body, `{"error":"the server is shutting down"}`) {
				t.Errorf("%d %s", status, body)
			}
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}
