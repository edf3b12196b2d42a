package hub

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestPull: a model from each kind of source, whole and verified.
func TestPull(t *testing.T) {
	w := newWorld(t)
	name, data := w.gguf()
	h := w.open()
	m := pull(t, h, name, data)
	if m.Files[0].Verified != "sha256" || m.Revision != w.commit || m.Format != "gguf" || filepath.Base(m.Path) != "tiny-Q4_0.gguf" || m.Pulled.IsZero() {
		t.Errorf("model %+v", m)
	}
	if m := pull(t, h, "ollama:gemma4:e2b", data); m.Files[0].Name != "gemma4-e2b.gguf" || !strings.HasPrefix(m.Revision, "sha256:") {
		t.Errorf("model %+v", m)
	}
	file := w.put("files", "dir/other.gguf", noise(2, 5*testChunk))
	w.tags["dir/other.gguf"] = `"v1"`
	m = pull(t, h, w.hub.URL+"/dir/other.gguf?key=1", file)
	if m.Name != w.hub.URL+"/dir/other.gguf" || m.Files[0].Verified != "" {
		t.Errorf("model %+v", m)
	}
	if list, err := h.Models(); err != nil || len(list) != 3 {
		t.Errorf("models %v, %v", list, err)
	}
}

// TestPullFolder: safetensors with everything beside them, small files verified
// by Git's sum, and nothing else from the repository.
func TestPullFolder(t *testing.T) {
	w := newWorld(t)
	const repo = "google/gemma-tiny-it"
	config := w.put(repo, "config.json", []byte(`{"model_type":"gemma4"}`))
	tokenizer := w.put(repo, "tokenizer.json", noise(3, 3*testChunk))
	index := w.put(repo, "model.safetensors.index.json", []byte(`{"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors","c":"model-00001-of-00002.safetensors"}}`))
	one := w.put(repo, "model-00001-of-00002.safetensors", noise(4, 9*testChunk))
	w.fault(nil, nil)
	two := w.put(repo, "model-00002-of-00002.safetensors", noise(5, 2*testChunk+1))
	w.put(repo, "README.md", []byte("no"))
	w.put(repo, "original/consolidated.safetensors", noise(6, testChunk))
	m := pull(t, w.open(), repo, config, tokenizer, index, one, two)
	if m.Format != "safetensors" || m.Files[0].Verified != "git-sha1" || m.Files[3].Verified != "sha256" {
		t.Errorf("model %+v", m)
	}
	if info, err := os.Stat(m.Path); err != nil || !info.IsDir() {
		t.Errorf("path %s: %v", m.Path, err)
	}
}

// TestTroubles: servers that misbehave and then heal, or do not matter.
func TestTroubles(t *testing.T) {
	cases := []struct {
		name   string
		onHub  func(w *world) func(http.ResponseWriter, *http.Request) bool
		onBlob func(w *world) func(http.ResponseWriter, *http.Request) bool
	}{
		{name: "drops in the middle of a body", onBlob: func(w *world) func(http.ResponseWriter, *http.Request) bool {
			return first(4, func(res http.ResponseWriter, r *http.Request) {
				http.ServeContent(&cutter{ResponseWriter: res, left: 700}, r, "", time.Time{}, bytes.NewReader(w.blob(r)))
				hangUp()
			})
		}},
		{name: "drops before the header", onHub: func(*world) func(http.ResponseWriter, *http.Request) bool {
			return first(3, func(http.ResponseWriter, *http.Request) { hangUp() })
		}},
		{name: "ends early without saying so", onBlob: func(w *world) func(http.ResponseWriter, *http.Request) bool {
			return first(5, func(res http.ResponseWriter, r *http.Request) {
				http.ServeContent(&cutter{ResponseWriter: res, left: 1500, noLength: true}, r, "", time.Time{}, bytes.NewReader(w.blob(r)))
			})
		}},
		{name: "answers ranges with everything", onBlob: func(w *world) func(http.ResponseWriter, *http.Request) bool {
			return always(func(res http.ResponseWriter, r *http.Request) { res.Write(w.blob(r)) })
		}},
		{name: "answers ranges with everything, and drops", onBlob: func(w *world) func(http.ResponseWriter, *http.Request) bool {
			var n atomic.Int64
			return always(func(res http.ResponseWriter, r *http.Request) {
				data := w.blob(r)
				res.Header().Set("Content-Length", strconv.Itoa(len(data)))
				res.Write(data[:min(len(data), int(n.Add(1))*9*testChunk+5)])
			})
		}},
		{name: "answers some ranges with everything", onBlob: func(w *world) func(http.ResponseWriter, *http.Request) bool {
			return first(2, func(res http.ResponseWriter, r *http.Request) { res.Write(w.blob(r)) })
		}},
		{name: "sends other ranges", onBlob: func(w *world) func(http.ResponseWriter, *http.Request) bool {
			return first(4, func(res http.ResponseWriter, r *http.Request) {
				r.Header.Set("Range", "bytes=17-2000")
				http.ServeContent(res, r, "", time.Time{}, bytes.NewReader(w.blob(r)))
			})
		}},
		{name: "sends ranges without saying which", onBlob: func(w *world) func(http.ResponseWriter, *http.Request) bool {
			return first(4, func(res http.ResponseWriter, r *http.Request) { res.WriteHeader(206); res.Write(noise(9, 100)) })
		}},
		{name: "sends shorter ranges", onBlob: func(w *world) func(http.ResponseWriter, *http.Request) bool {
			return always(func(res http.ResponseWriter, r *http.Request) {
				first, last, _ := strings.Cut(strings.TrimPrefix(r.Header.Get("Range"), "bytes="), "-")
				from, _ := strconv.Atoi(first)
				to, _ := strconv.Atoi(last)
				// At least two thirds each time, or a piece, whichever is more.
				r.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, min(to, max(from+(to-from)*2/3, from+testChunk))))
				http.ServeContent(res, r, "", time.Time{}, bytes.NewReader(w.blob(r)))
			})
		}},
		{name: "429 with Retry-After", onHub: func(*world) func(http.ResponseWriter, *http.Request) bool {
			return first(3, func(res http.ResponseWriter, r *http.Request) {
				res.Header().Set("Retry-After", "7")
				res.WriteHeader(http.StatusTooManyRequests)
			})
		}},
		{name: "503", onBlob: func(*world) func(http.ResponseWriter, *http.Request) bool {
			return first(5, func(res http.ResponseWriter, r *http.Request) { res.WriteHeader(http.StatusServiceUnavailable) })
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			name, data := w.gguf()
			var onHub, onBlob func(http.ResponseWriter, *http.Request) bool
			if c.onHub != nil {
				onHub = c.onHub(w)
			}
			if c.onBlob != nil {
				onBlob = c.onBlob(w)
			}
			w.fault(onHub, onBlob)
			pull(t, w.open(), name, data)
		})
	}
}

// cutter passes on the first bytes of an answer only.
type cutter struct {
	http.ResponseWriter
	left     int
	noLength bool
}

func (c *cutter) WriteHeader(code int) {
	if c.noLength {
		c.Header().Del("Content-Length")
	}
	c.ResponseWriter.WriteHeader(code)
}

func (c *cutter) Write(p []byte) (int, error) {
	if c.left < len(p) {
		c.ResponseWriter.Write(p[:c.left])
		c.ResponseWriter.(http.Flusher).Flush()
		c.left = 0
		return 0, errors.New("enough")
	}
	c.left -= len(p)
	return c.ResponseWriter.Write(p)
}

// TestWaits: backoff grows, Retry-After is obeyed by all connections, and a
// wait for hours is refused.
func TestWaits(t *testing.T) {
	w := newWorld(t)
	name, data := w.gguf()
	h := w.open()
	var mu sync.Mutex
	var waits []time.Duration
	h.sleep = func(_ context.Context, d time.Duration) error {
		mu.Lock()
		defer mu.Unlock()
		waits = append(waits, d)
		return nil
	}
	w.fault(first(1, func(res http.ResponseWriter, r *http.Request) {
		res.Header().Set("Retry-After", "90")
		res.WriteHeader(http.StatusTooManyRequests)
	}), nil)
	var events []Event
	if _, err := h.Pull(t.Context(), name, func(e Event) { events = append(events, e) }); err != nil {
		t.Fatal(err)
	}
	if waits[0] != 90*time.Second || len(waits) < 2 || waits[1] < 80*time.Second {
		t.Errorf("waits %v, want 90 s, and the same for the next request", waits)
	}
	if events[0].Kind != EventRetry || events[0].Wait != 90*time.Second || !strings.Contains(events[0].Text, "429") {
		t.Errorf("events begin with %+v", events[0])
	}

	h = w.open()
	w.fault(always(func(res http.ResponseWriter, r *http.Request) {
		res.Header().Set("Retry-After", "7200")
		res.WriteHeader(http.StatusServiceUnavailable)
	}), nil)
	fails(t, h, name, nil, "503", "come back in 2h")
	w.fault(always(func(res http.ResponseWriter, r *http.Request) { res.WriteHeader(http.StatusBadGateway) }), nil)
	waits = nil
	h.sleep = func(_ context.Context, d time.Duration) error { waits = append(waits, d); return nil }
	fails(t, h, name, nil, "given up after 6 attempts", "502")
	if len(waits) != maxTries-1 || waits[4] < 4*time.Second || waits[0] > time.Second {
		t.Errorf("waits %v", waits)
	}
	w.fault(nil, nil)
	pull(t, w.open(), name, data)
}

// TestLikeTheRealOnes: what public services do that a plain file server does
// not: a renamed repository's relative redirect, JSON that a proxy packs, storage
// behind addresses that are signed for one request and soon, that knows no HEAD
// and tags its files weakly now and then, and a limit that says when it ends
// without Retry-After.
func TestLikeTheRealOnes(t *testing.T) {
	w := newWorld(t)
	data := w.put("me/new-GGUF", "tiny-Q4_0.gguf", noise(1, 37*testChunk+11))
	w.put("me/new-GGUF", "README.md", []byte("no"))
	var mu sync.Mutex
	signed := map[string]bool{} // signatures that are good for one more request
	limited := first(1, func(res http.ResponseWriter, r *http.Request) {
		res.Header().Set("RateLimit", `"resolvers";r=0;t=55`)
		res.Header().Set("RateLimit-Policy", `"fixed window";"resolvers";q=3000;w=300`)
		res.WriteHeader(http.StatusTooManyRequests)
	})
	n := 0
	w.fault(func(res http.ResponseWriter, r *http.Request) bool {
		if rest, old := strings.CutPrefix(r.URL.Path, "/api/models/me/old-GGUF"); old {
			res.Header().Set("Location", "/api/models/me/new-GGUF"+rest+"?"+r.URL.RawQuery)
			res.WriteHeader(http.StatusTemporaryRedirect)
			return true
		}
		if strings.HasPrefix(r.URL.Path, "/api/models/") {
			res.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(res)
			defer z.Close()
			json.NewEncoder(z).Encode(map[string]any{"sha": w.commit, "gated": false, "siblings": siblings(w.repos["me/new-GGUF"])})
			return true
		}
		if rest, old := strings.CutPrefix(r.URL.Path, "/me/old-GGUF/"); old {
			res.Header().Set("Location", "/me/new-GGUF/"+rest)
			res.WriteHeader(http.StatusTemporaryRedirect)
			return true
		}
		if limited(res, r) {
			return true
		}
		mu.Lock()
		defer mu.Unlock()
		n++
		signature := strconv.Itoa(n)
		signed[signature] = true
		res.Header().Set("X-Linked-Etag", `"`+sumOf(data)+`"`)
		res.Header().Set("X-Linked-Size", strconv.Itoa(len(data)))
		res.Header().Set("Location", w.cdn.URL+"/"+sumOf(data)+"?X-Signature="+signature)
		res.WriteHeader(http.StatusFound)
		return true
	}, func(res http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		signature := r.URL.Query().Get("X-Signature")
		if r.Method != http.MethodGet || !signed[signature] {
			res.WriteHeader(http.StatusForbidden)
			return true
		}
		delete(signed, signature)
		res.Header().Set("ETag", []string{`"tag"`, `W/"tag"`}[len(signature)%2])
		return false
	})
	h := w.open()
	var waited []time.Duration
	h.sleep = func(ctx context.Context, d time.Duration) error {
		mu.Lock()
		defer mu.Unlock()
		waited = append(waited, d)
		return ctx.Err()
	}
	pull(t, h, "me/old-GGUF", data)
	if len(waited) == 0 || waited[0] != 55*time.Second {
		t.Errorf("waits %v, want 55 s first", waited)
	}
	if n < 3 {
		t.Errorf("%d signatures: not fetched in pieces", n)
	}
}

// TestVersion: what is the same version for us.
func TestVersion(t *testing.T) {
	for _, c := range []struct{ etag, modified, want string }{
		{`"a"`, "Mon", `"a"`}, {`W/"a"`, "Mon", `"a"`}, {"a", "", "a"}, {"", "Mon", "Mon"}, {"", "", ""},
	} {
		h := http.Header{}
		h.Set("ETag", c.etag)
		h.Set("Last-Modified", c.modified)
		if got := version(h); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

// TestStall: a connection that brings nothing is given up and replaced.
func TestStall(t *testing.T) {
	w := newWorld(t)
	name, data := w.gguf()
	release := make(chan struct{})
	stuck := first(1, func(res http.ResponseWriter, r *http.Request) {
		res.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", testChunk, len(data)))
		res.WriteHeader(206)
		res.(http.Flusher).Flush()
		<-release
	})
	w.fault(nil, func(res http.ResponseWriter, r *http.Request) bool {
		return strings.HasPrefix(r.Header.Get("Range"), "bytes=0-") && stuck(res, r)
	})
	defer close(release)
	h := w.open(func(o *Options) { o.Stall = 500 * time.Millisecond })
	var stalls int
	_, err := h.Pull(t.Context(), name, func(e Event) {
		if e.Kind == EventRetry && strings.Contains(e.Text, "the server sends nothing for 500ms") {
			stalls++
		}
	})
	if err != nil || stalls == 0 { // more on a busy machine
		t.Errorf("error %v, %d stalls noticed", err, stalls)
	}
}

// TestRefusals: what does not heal fails at once, with advice.
func TestRefusals(t *testing.T) {
	answer := func(code int, kind string) func(http.ResponseWriter, *http.Request) bool {
		return always(func(res http.ResponseWriter, r *http.Request) {
			if kind != "" {
				res.Header().Set("X-Error-Code", kind)
			}
			res.WriteHeader(code)
		})
	}
	// The hub shows everybody the list of a gated repository's files, not the files.
	gated := func(code int) func(http.ResponseWriter, *http.Request) bool {
		return func(res http.ResponseWriter, r *http.Request) bool {
			return strings.Contains(r.URL.Path, "/resolve/") && answer(code, "GatedRepo")(res, r)
		}
	}
	cases := []struct {
		name, token string
		onHub       func(http.ResponseWriter, *http.Request) bool
		class       error
		says        []string
	}{
		{"gated, no token", "", answer(401, "GatedRepo"), ErrDenied, []string{"me/tiny-GGUF is gated", "accept its terms at http", "HF_TOKEN"}},
		{"gated, token", "t", answer(403, "GatedRepo"), ErrDenied, []string{"the token may not read me/tiny-GGUF"}},
		{"forbidden", "t", answer(403, ""), ErrDenied, []string{"what the token allows"}},
		{"bad token", "t", answer(401, ""), ErrDenied, []string{"the token is not valid"}},
		{"private or missing", "", answer(401, "RepoNotFound"), ErrDenied, []string{"does not exist or is private", "HF_TOKEN"}},
		{"missing", "", answer(404, "RepoNotFound"), ErrNotFound, []string{"check the spelling"}},
		{"revision", "", answer(404, "RevisionNotFound"), ErrNotFound, []string{"no revision"}},
		{"html", "", always(func(res http.ResponseWriter, r *http.Request) { res.Write([]byte("<html>sign in</html>")) }), nil, []string{"a web page"}},
		{"endless", "", always(func(res http.ResponseWriter, r *http.Request) {
			block := bytes.Repeat([]byte(" "), 1<<20)
			for range maxInfoBytes>>20 + 2 {
				res.Write(block)
			}
		}), nil, []string{"is longer than"}},
		{"compressed", "", always(func(res http.ResponseWriter, r *http.Request) {
			res.Header().Set("Content-Encoding", "br")
			res.Write([]byte("\x1f\x8b"))
		}), nil, []string{"compressed data (br)"}},
		{"a small answer that unpacks to a large one", "", always(func(res http.ResponseWriter, r *http.Request) {
			res.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(res)
			z.Write(bytes.Repeat([]byte(" "), maxInfoBytes+1<<20))
			z.Close()
		}), nil, []string{"is longer than"}},
		{"files that nobody may read, no token", "", gated(401), ErrDenied, []string{"me/tiny-GGUF is gated", "accept its terms at http", "HF_TOKEN"}},
		{"files that nobody may read, token", "t", gated(403), ErrDenied, []string{"the token may not read me/tiny-GGUF"}},
		{"redirects for ever", "", always(func(res http.ResponseWriter, r *http.Request) { http.Redirect(res, r, r.URL.Path, http.StatusFound) }), nil, []string{"more than 10 redirects"}},
		{"redirect to a file", "", always(func(res http.ResponseWriter, r *http.Request) {
			res.Header().Set("Location", "file:///etc/passwd")
			res.WriteHeader(302)
		}), nil, []string{"refused"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			name, _ := w.gguf()
			w.fault(c.onHub, nil)
			h := w.open(func(o *Options) { o.Token = c.token })
			fails(t, h, name, c.class, c.says...)
			if n := len(w.requests()); n > 11 {
				t.Errorf("%d requests for what does not heal", n)
			}
		})
	}
}

// TestWrongContent: bytes that are not what the source says are deleted, and a
// later pull begins anew.
func TestWrongContent(t *testing.T) {
	w := newWorld(t)
	name, data := w.gguf()
	h := w.open()
	w.fault(nil, always(func(res http.ResponseWriter, r *http.Request) {
		bad := bytes.Clone(w.blob(r))
		bad[20*testChunk]++
		http.ServeContent(res, r, "", time.Time{}, bytes.NewReader(bad))
	}))
	fails(t, h, name, ErrDamaged, "SHA-256 is", "the source says "+sumOf(data))
	if u, _ := h.Unfinished(); len(u) != 1 || u[0].Done != 0 {
		t.Errorf("left over: %+v", u)
	}
	w.fault(nil, nil)
	pull(t, h, name, data)

	w.put("me/folder", "config.json", []byte(`{"a":1}`))
	w.put("me/folder", "model.safetensors", noise(8, 300))
	w.fault(func(res http.ResponseWriter, r *http.Request) bool {
		bad := strings.HasSuffix(r.URL.Path, "/config.json")
		if bad {
			http.ServeContent(res, r, "", time.Time{}, strings.NewReader(`{"a":2}`))
		}
		return bad
	}, nil)
	fails(t, w.open(), "me/folder", ErrDamaged, "config.json", "Git's SHA-1")
}

// TestLies: lengths that differ from what was announced.
func TestLies(t *testing.T) {
	w := newWorld(t)
	name, data := w.gguf()
	w.fault(nil, always(func(res http.ResponseWriter, r *http.Request) {
		res.Header().Set("Content-Range", "bytes 0-9/9000000000000")
		res.WriteHeader(206)
		res.Write(data[:10])
	}))
	fails(t, w.open(), name, nil) // wrong range or wrong length, whichever request is first
	w.fault(nil, always(func(res http.ResponseWriter, r *http.Request) {
		res.Header().Set("Content-Length", "9000000000000")
		res.Write(data)
	}))
	fails(t, w.open(), name, nil, "9000000000000 bytes, expected "+strconv.Itoa(len(data)))
	w.fault(func(res http.ResponseWriter, r *http.Request) bool {
		ok := strings.HasPrefix(r.URL.Path, "/api/")
		if ok {
			fmt.Fprintf(res, `{"sha":"%s","siblings":[{"rfilename":"a.gguf","size":1,"lfs":{"sha256":"%s","size":-5}}]}`, w.commit, sumOf(data))
		}
		return ok
	}, nil)
	fails(t, w.open(), name, nil, "-5 bytes cannot be")
}

// TestToken: the token goes to its origin and nowhere else.
func TestToken(t *testing.T) {
	w := newWorld(t)
	name, data := w.gguf()
	other := strings.Replace(w.cdn.URL, "127.0.0.1", "localhost", 1)
	w.fault(func(res http.ResponseWriter, r *http.Request) bool {
		ok := strings.Contains(r.URL.Path, "/resolve/")
		if ok { // another name of the same machine is another origin
			http.Redirect(res, r, other+"/"+sumOf(data)+"?signature=secret", http.StatusFound)
		}
		return ok
	}, nil)
	pull(t, w.open(func(o *Options) { o.Token = "hf_secret" }), name, data)
	hubHost := strings.TrimPrefix(w.hub.URL, "http://")
	var with, without int
	for _, r := range w.requests() {
		switch {
		case r.host == hubHost && r.auth == "Bearer hf_secret":
			with++
		case r.host != hubHost && r.auth == "" && r.referer == "":
			without++
		default:
			t.Errorf("request %+v", r)
		}
	}
	if with == 0 || without == 0 {
		t.Errorf("%d requests with token, %d without", with, without)
	}

	// $HF_TOKEN belongs to the Hugging Face endpoint alone.
	w.forget()
	w.fault(nil, nil)
	h := w.open()
	t.Setenv(HFTokenVariable, "hf_env")
	h2, err := New(Options{Dir: h.o.Dir, HFEndpoint: w.hub.URL, OllamaRegistry: w.cdn.URL})
	if err != nil {
		t.Fatal(err)
	}
	h2.quick()
	if _, err := h2.Pull(t.Context(), "ollama:gemma4:e2b", nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("error %v", err)
	}
	if r := w.requests(); len(r) != 1 || r[0].auth != "" {
		t.Errorf("requests %+v", r)
	}
	pull(t, h2, name, data)
	if r := w.requests(); r[1].auth != "Bearer hf_env" {
		t.Errorf("requests %+v", r)
	}
	if _, err := New(Options{Token: "a\nb"}); err == nil {
		t.Error("a token with a line break was accepted")
	}
	h3, err := New(Options{Dir: h.o.Dir, HFEndpoint: "http://mirror.example"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h3.Pull(t.Context(), name, nil); err == nil || !strings.Contains(err.Error(), "not encrypted") {
		t.Errorf("error %v", err)
	}
}

// TestDowngrade: https does not become http.
func TestDowngrade(t *testing.T) {
	w := newWorld(t)
	secure := httptest.NewTLSServer(http.RedirectHandler(w.hub.URL, http.StatusFound))
	defer secure.Close()
	c := secure.Client()
	c.CheckRedirect = checkRedirect
	_, err := c.Get(secure.URL)
	if err == nil || temporary(err) || len(w.requests()) != 0 {
		t.Errorf("error %v, requests %v", err, w.requests())
	}
}

// hold lets requests for later bytes hang until the client goes away.
func hold(from int) func(http.ResponseWriter, *http.Request) bool {
	return func(res http.ResponseWriter, r *http.Request) bool {
		first, _, _ := strings.Cut(strings.TrimPrefix(r.Header.Get("Range"), "bytes="), "-")
		n, _ := strconv.Atoi(first)
		if n >= from {
			<-r.Context().Done()
		}
		return n >= from
	}
}

// TestResume: what has arrived before an interruption is not fetched again.
func TestResume(t *testing.T) {
	w := newWorld(t)
	name, data := w.gguf()
	h := w.open()
	stop := errors.New("stop")
	w.fault(nil, hold(16*testChunk))
	ctx, cancel := context.WithCancelCause(t.Context())
	_, err := h.Pull(ctx, name, func(e Event) {
		if e.Kind == EventProgress && e.Done >= 10*testChunk {
			cancel(stop)
		}
	})
	if !errors.Is(err, stop) {
		t.Fatalf("error %v", err)
	}
	noLeaks(t, h)
	u, err := h.Unfinished()
	if err != nil || len(u) != 1 || u[0].Name != name || u[0].Done < 10*testChunk || u[0].Bytes != int64(len(data)) {
		t.Fatalf("unfinished: %+v, %v", u, err)
	}
	if _, err := h.Find(name); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "was cut off") {
		t.Errorf("error %v", err)
	}
	before := u[0].Done
	w.forget()
	w.fault(nil, nil)
	var found Event
	m, err := h.Pull(t.Context(), name, func(e Event) {
		if e.Kind == EventFound {
			found = e
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	checkModel(t, h, m, data)
	if found.Done != before || w.blobBytes() > int64(len(data))-before {
		t.Errorf("%d bytes were there, %d asked for, of %d", found.Done, w.blobBytes(), len(data))
	}
	// And once whole, nothing is fetched any more.
	w.forget()
	pull(t, h, name, data)
	if w.blobBytes() != 0 {
		t.Error("a whole model was fetched again")
	}
	if u, _ := h.Unfinished(); len(u) != 0 {
		t.Errorf("unfinished: %+v", u)
	}
}

// blobBytes sums the ranges asked of the second server.
func (w *world) blobBytes() (n int64) {
	for _, r := range w.requests() {
		if first, last, ok := strings.Cut(strings.TrimPrefix(r.rng, "bytes="), "-"); ok && "http://"+r.host == w.cdn.URL {
			a, _ := strconv.ParseInt(first, 10, 64)
			b, _ := strconv.ParseInt(last, 10, 64)
			n += b - a + 1
		}
	}
	return n
}

// TestChangedETag: a file at a URL that changed between two pulls, or during
// one, is never put together from both versions.
func TestChangedETag(t *testing.T) {
	w := newWorld(t)
	w.put("files", "m.gguf", noise(1, 20*testChunk))
	w.tags["m.gguf"] = `"one"`
	h := w.open()
	w.fault(hold(12*testChunk), nil)
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := h.Pull(ctx, w.hub.URL+"/m.gguf", func(e Event) {
		if e.Done >= 5*testChunk {
			cancel()
		}
	}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	w.fault(nil, nil)
	two := w.put("files", "m.gguf", noise(2, 20*testChunk))
	w.tags["m.gguf"] = `"two"`
	pull(t, h, w.hub.URL+"/m.gguf", two)

	// Without a version nothing is believed that an earlier process left.
	w.put("files", "n.gguf", noise(3, 20*testChunk))
	w.fault(hold(12*testChunk), nil)
	ctx, cancel = context.WithCancel(t.Context())
	h.Pull(ctx, w.hub.URL+"/n.gguf", func(e Event) {
		if e.Done >= 5*testChunk {
			cancel()
		}
	})
	w.fault(nil, nil)
	four := w.put("files", "n.gguf", noise(4, 20*testChunk))
	pull(t, h, w.hub.URL+"/n.gguf", four)

	h = w.open()
	w.fault(func(res http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Range") != "bytes=0-0" {
			w.mu.Lock()
			w.tags["m.gguf"] = `"three"`
			w.mu.Unlock()
		}
		return false
	}, nil)
	fails(t, h, w.hub.URL+"/m.gguf", nil, "has changed meanwhile")
}

// TestURLSum: the sum in the name of a URL counts.
func TestURLSum(t *testing.T) {
	w := newWorld(t)
	data := w.put("files", "m.gguf", noise(1, 3*testChunk))
	fails(t, w.open(), w.hub.URL+"/m.gguf#sha256="+strings.Repeat("0", 64), ErrDamaged)
	m := pull(t, w.open(), w.hub.URL+"/m.gguf#sha256="+sumOf(data), data)
	if m.Files[0].Verified != "sha256" || strings.Contains(m.Name, "#") {
		t.Errorf("model %+v", m)
	}
}

// TestUpdate: when the source moves, unchanged files are kept without a
// request, and the old version stays until the new one is whole.
func TestUpdate(t *testing.T) {
	w := newWorld(t)
	const repo = "me/folder"
	w.put(repo, "config.json", []byte(`{"a":1}`))
	weights := w.put(repo, "model.safetensors", noise(1, 6*testChunk))
	h := w.open()
	old := pull(t, h, repo, []byte(`{"a":1}`), weights)
	config := w.put(repo, "config.json", []byte(`{"a":22}`))
	w.commit = strings.Repeat("b2", 20)
	w.forget()
	w.fault(func(res http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/config.json") {
			res.WriteHeader(http.StatusNotFound)
			return true
		}
		return false
	}, nil)
	if _, err := h.Pull(t.Context(), repo, nil); !errors.Is(err, ErrNotFound) {
		t.Fatalf("error %v", err)
	}
	if m, err := h.Find(repo); err != nil || m.Path != old.Path {
		t.Fatalf("the old version is gone: %v", err)
	}
	w.fault(nil, nil)
	m := pull(t, h, repo, config, weights)
	if m.Path == old.Path || exists(old.Path) || m.Revision != w.commit || w.blobBytes() != 0 {
		t.Errorf("model %+v, %d bytes of weights fetched again", m, w.blobBytes())
	}

	// A file that was damaged on the disk meanwhile does not spread.
	if err := os.WriteFile(filepath.Join(m.Path, "model.safetensors"), noise(7, 6*testChunk), 0o644); err != nil {
		t.Fatal(err)
	}
	config = w.put(repo, "config.json", []byte(`{"a":333}`))
	if _, err := h.Pull(t.Context(), repo, nil); !errors.Is(err, ErrDamaged) {
		t.Fatalf("error %v", err)
	}
	pull(t, h, repo, config, weights)
}

// TestDisk: too little room is found out before, or ends the pull without
// losing what is there.
func TestDisk(t *testing.T) {
	w := newWorld(t)
	name, data := w.gguf()
	h := w.open()
	h.free = func(string) (int64, error) { return spareBytes + int64(len(data)) - 1, nil }
	fails(t, h, name, ErrSpace, "37.0 KiB to fetch", DirVariable)
	if w.blobBytes() != 0 {
		t.Error("fetched although there is no room")
	}
	h.free = func(string) (int64, error) { return spareBytes + int64(len(data)), nil }
	h.fault = func(file string, off int64) error {
		if off >= 12*testChunk {
			return &os.PathError{Op: "write", Path: file, Err: errFull}
		}
		return nil
	}
	fails(t, h, name, ErrSpace, "store tiny-Q4_0.gguf")
	h.fault = nil
	pull(t, h, name, data)
}

// TestDescribe: what cannot be opened is not kept, what cannot be run is.
func TestDescribe(t *testing.T) {
	w := newWorld(t)
	name, data := w.gguf()
	refuse := errors.New("no magic")
	h := w.open(func(o *Options) {
		o.Describe = func(path string) (string, string, error) { return "", "", refuse }
	})
	fails(t, h, name, ErrDamaged, "no magic", "deleted")
	h.o.Describe = func(path string) (string, string, error) {
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("described before it was whole: %v", err)
		}
		return "E0 Q4_0", "odd", nil
	}
	notes := 0
	m, err := h.Pull(t.Context(), name, func(e Event) {
		if e.Kind == EventNote && e.Text == "odd" {
			notes++
		}
	})
	if err != nil || m.Type != "E0 Q4_0" || notes != 1 {
		t.Errorf("model %+v, %v, %d notes", m, err, notes)
	}
}

// TestCrashBetweenRenames: files under their final name without a manifest are
// taken up again, without a request for them.
func TestCrashBetweenRenames(t *testing.T) {
	w := newWorld(t)
	name, data := w.gguf()
	h := w.open()
	ctx, cancel := context.WithCancel(t.Context())
	h.o.Describe = func(string) (string, string, error) { cancel(); return "", "", nil }
	m, err := h.Pull(ctx, name, nil)
	if err != nil {
		t.Fatal(err)
	}
	// Back to the moment before the manifest was written.
	dir := filepath.Dir(m.Path)
	rf := remoteFile{name: "tiny-Q4_0.gguf", bytes: int64(len(data)), sha256: sumOf(data)}
	text := string(rf.head(testChunk))
	for i := range 38 {
		text += fmt.Sprintln(i)
	}
	if err := errors.Join(os.WriteFile(m.Path+journalSuffix, []byte(text), 0o644), os.Remove(filepath.Join(filepath.Dir(dir), manifestFile))); err != nil {
		t.Fatal(err)
	}
	w.forget()
	pull(t, h, name, data)
	if w.blobBytes() != 0 {
		t.Error("fetched again")
	}
}

// TestBusy: two pulls of one name do not meet.
func TestBusy(t *testing.T) {
	w := newWorld(t)
	name, data := w.gguf()
	h := w.open()
	inside := false
	h.o.Describe = func(string) (string, string, error) {
		inside = true
		if _, err := h.Pull(t.Context(), name, nil); !errors.Is(err, ErrBusy) {
			t.Errorf("second pull: %v", err)
		}
		if _, err := h.Remove(name); !errors.Is(err, ErrBusy) {
			t.Errorf("remove: %v", err)
		}
		return "", "", nil
	}
	pull(t, h, name, data)
	if !inside {
		t.Error("Describe was not called")
	}
}
