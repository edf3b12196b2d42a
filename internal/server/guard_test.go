package server

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/plume-run/plume"
)

const say = `{"messages":[{"role":"user","content":"Hi"}]}`

func hello(plume.Request) string { return "text \"Hello.\"\ndone stop" }

// ask sends a request with headers "key: value" and returns status, header and body.
func ask(t *testing.T, method, url, body string, headers ...string) (int, http.Header, string) {
	t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		key, value, _ := strings.Cut(h, ": ")
		if key == "Host" {
			r.Host = value
		}
		r.Header.Set(key, value)
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
	return resp.StatusCode, resp.Header, string(data)
}

func TestWhoMayAsk(t *testing.T) {
	plain := func(*Options) {}
	keys := func(o *Options) { o.Keys = []string{"one", "two"} }
	open := func(o *Options) { o.Keys, o.OpenMetrics = []string{"one"}, true }
	cors := func(o *Options) { o.CORSOrigins = []string{"https://friend.example"} }
	host := func(o *Options) { o.Hosts = []string{"plume.example"} }
	for _, c := range []struct {
		name    string
		set     func(*Options)
		path    string
		headers []string
		want    int
	}{
		{"nobody asks for a key", plain, "/v1/models", nil, 200},
		{"no key", keys, "/v1/models", nil, 401},
		{"bearer", keys, "/v1/models", []string{"Authorization: Bearer two"}, 200},
		{"bearer in any case", keys, "/v1/models", []string{"Authorization: bearer one"}, 200},
		{"x-api-key", keys, "/v1/models", []string{"X-Api-Key: one"}, 200},
		{"wrong key", keys, "/v1/models", []string{"X-Api-Key: onetwo"}, 401},
		{"empty key", keys, "/v1/models", []string{"Authorization: Bearer "}, 401},
		{"another scheme", keys, "/v1/models", []string{"Authorization: Basic one"}, 401},
		{"metrics need a key", keys, "/metrics", nil, 401},
		{"unless they are open", open, "/metrics", nil, 200},
		{"nothing else is then", open, "/api/plume/stats", nil, 401},
		{"figures need a key", keys, "/api/plume/stats", nil, 401},
		{"ollama needs a key", keys, "/api/tags", nil, 401},
		{"unknown paths need a key", keys, "/nothing", nil, 401},
		{"probes do not", keys, "/health", nil, 200},
		{"nor does the page", keys, "/", nil, 200},
		{"nor do its files", keys, "/app.js", nil, 200},

		{"a rebound name", plain, "/v1/models", []string{"Host: evil.example"}, 403},
		{"even for the page", plain, "/", []string{"Host: evil.example:8080"}, 403},
		{"localhost", plain, "/v1/models", []string{"Host: localhost:8080"}, 200},
		{"below localhost", plain, "/v1/models", []string{"Host: plume.localhost"}, 200},
		{"an address", plain, "/v1/models", []string{"Host: 192.168.1.5:80"}, 200},
		{"an IPv6 address", plain, "/v1/models", []string{"Host: [::1]:80"}, 200},
		{"a name that begins like one", plain, "/v1/models", []string{"Host: 127.0.0.1.evil.example"}, 403},
		{"a name that was allowed", host, "/v1/models", []string{"Host: Plume.Example:80"}, 200},
		{"another name", host, "/v1/models", []string{"Host: x.plume.example"}, 403},

		{"a foreign page", plain, "/v1/models", []string{"Origin: https://evil.example"}, 403},
		{"a page from a file", plain, "/v1/models", []string{"Origin: null"}, 403},
		{"our own page", plain, "/v1/models", []string{"Host: localhost:1", "Origin: http://localhost:1"}, 200},
		{"another port is another origin", plain, "/v1/models", []string{"Host: localhost:1", "Origin: http://localhost:2"}, 403},
		{"a friend's page", cors, "/v1/models", []string{"Origin: https://friend.example"}, 200},
		{"not the friend's", cors, "/v1/models", []string{"Origin: https://friend.example.evil"}, 403},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := testOptions(&fakeEngine{script: hello})
			c.set(&o)
			_, h := newTestServer(t, o)
			status, header, body := ask(t, "GET", h.URL+c.path, "", c.headers...)
			if status != c.want {
				t.Errorf("status %d, want %d: %s", status, c.want, body)
			}
			if status >= 400 && !strings.Contains(body, `"error"`) {
				t.Errorf("no error object: %s", body)
			}
			if status == 401 && header.Get("WWW-Authenticate") == "" {
				t.Error("no WWW-Authenticate")
			}
		})
	}
}

func TestCORS(t *testing.T) {
	o := testOptions(&fakeEngine{script: hello})
	o.CORSOrigins, o.Keys = []string{"https://friend.example"}, []string{"k"}
	_, h := newTestServer(t, o)
	preflight := []string{"Origin: https://friend.example", "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization,content-type"}
	status, header, _ := ask(t, "OPTIONS", h.URL+"/v1/chat/completions", "", preflight...)
	if status != 204 || header.Get("Access-Control-Allow-Origin") != "https://friend.example" ||
		header.Get("Access-Control-Allow-Headers") != "authorization,content-type" || !strings.Contains(header.Get("Access-Control-Allow-Methods"), "POST") {
		t.Errorf("preflight: %d %v", status, header)
	}
	status, header, _ = ask(t, "POST", h.URL+"/v1/chat/completions", say, "Origin: https://friend.example", "Authorization: Bearer k")
	if status != 200 || header.Get("Access-Control-Allow-Origin") != "https://friend.example" || header.Get("Vary") != "Origin" {
		t.Errorf("request: %d %v", status, header)
	}
	preflight[0] = "Origin: https://evil.example"
	if status, header, _ = ask(t, "OPTIONS", h.URL+"/v1/chat/completions", "", preflight...); status != 403 || header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("preflight of a stranger: %d %v", status, header)
	}
}

func TestPagePolicy(t *testing.T) {
	_, h := newTestServer(t, testOptions(&fakeEngine{script: hello}))
	for path := range pageFiles {
		path = strings.TrimSuffix(path, "{$}")
		status, header, body := ask(t, "GET", h.URL+path, "")
		if status != 200 || !strings.Contains(header.Get("Content-Security-Policy"), "default-src 'none'") || header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %v", path, status, header)
		}
		for _, outside := range []string{"https://", "http://"} {
			for rest := body; ; {
				_, after, found := strings.Cut(rest, outside)
				if !found {
					break
				}
				if !strings.HasPrefix(after, "www.w3.org/") && path != "/markdown.js" {
					t.Errorf("%s names another site: %.40s", path, after)
				}
				rest = after
			}
		}
		if bytes.Contains([]byte(body), []byte("innerHTML")) || strings.Contains(body, " style=") || strings.Contains(body, "onclick=") {
			t.Errorf("%s has inline code or parses HTML", path)
		}
	}
}
