package ple

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// server is a table's home that misbehaves when told to.
type server struct {
	h     *home
	url   string
	mu    sync.Mutex
	fault func(w http.ResponseWriter, r *http.Request) bool // true: it has answered
	seen  []http.Header
}

func newServer(t *testing.T, h *home) *server {
	t.Helper()
	s := &server{h: h}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		fault := s.fault
		s.seen = append(s.seen, r.Header.Clone())
		s.mu.Unlock()
		if fault != nil && fault(w, r) {
			return
		}
		s.serve(w, r, `"v1"`)
	}))
	t.Cleanup(srv.Close)
	s.url = srv.URL + "/model.gguf"
	return s
}

func (s *server) serve(w http.ResponseWriter, r *http.Request, etag string) {
	w.Header().Set("ETag", etag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(s.h.data))
}

func (s *server) set(fault func(http.ResponseWriter, *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault, s.seen = fault, nil
}

func (s *server) requests() []http.Header {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen
}

// spec is the table on the server, with pauses that suit a test.
func (s *server) spec(o HTTPOptions) Spec {
	spec := s.h.spec
	spec.Path, spec.URL = "", s.url
	o.Backoff = time.Millisecond
	if o.Timeout == 0 {
		o.Timeout = 200 * time.Millisecond
	}
	spec.HTTP = o
	return spec
}

func drop(w http.ResponseWriter, _ *http.Request) bool { panic(http.ErrAbortHandler) }

// status answers with a code and nothing else.
func status(code int) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(code)
		return true
	}
}

// TestServerFaults breaks the server in every way, looks at the error, and heals it.
func TestServerFaults(t *testing.T) {
	const rows, rowBytes = 200, 300
	s := newServer(t, newHome(t, rows, rowBytes))
	src, err := OpenSource(HTTP, s.spec(HTTPOptions{}))
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	table, err := Open(src, rows, rowBytes, Options{CacheBytes: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	wrong := func(header, value string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("ETag", `"v1"`)
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 14720-15019/%d", len(s.h.data)))
			w.Header().Set(header, value)
			w.WriteHeader(206)
			w.Write(make([]byte, rowBytes))
			return true
		}
	}
	for _, c := range []struct {
		name, want string
		is         error
		fault      func(http.ResponseWriter, *http.Request) bool
	}{
		{"drops connections", "after 4 attempts", nil, drop},
		{"is broken", "after 4 attempts: status 503", nil, status(503)},
		{"asks for patience", "after 4 attempts: status 429", nil, status(429)},
		{"forbids", "status 403", nil, status(403)},
		{"lost the file", "status 404", nil, status(404)},
		{"range not there", "status 416", nil, status(416)},
		{"whole file", "does not send ranges", nil, func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("ETag", `"v1"`)
			w.Write(s.h.data)
			return true
		}},
		{"new version", `ETag "\"v2\""`, ErrChanged, func(w http.ResponseWriter, r *http.Request) bool {
			s.serve(w, r, `"v2"`)
			return true
		}},
		{"new version in a range", `ETag "\"v2\""`, ErrChanged, wrong("ETag", `"v2"`)},
		{"other range", "for bytes 14720 to 15019", nil, wrong("Content-Range", fmt.Sprintf("bytes 0-299/%d", len(s.h.data)))},
		{"other length", "opened", ErrChanged, wrong("Content-Range", "bytes 14720-15019/99999")},
		{"no range", "Content-Range", nil, wrong("Content-Range", "")},
		{"compressed", "gzip-encoded", nil, wrong("Content-Encoding", "gzip")},
		{"slow", "no answer within 200ms", nil, func(w http.ResponseWriter, r *http.Request) bool {
			<-r.Context().Done()
			return true
		}},
		{"stops in the middle", "of 300 bytes", nil, func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("ETag", `"v1"`)
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 14720-15019/%d", len(s.h.data)))
			w.Header().Set("Content-Length", "300")
			w.WriteHeader(206)
			w.Write(make([]byte, 100))
			panic(http.ErrAbortHandler)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			// Only the requests for row 8, at 12320+8·300, meet the fault.
			s.set(func(w http.ResponseWriter, r *http.Request) bool {
				return strings.HasPrefix(r.Header.Get("Range"), "bytes=14720-") && c.fault(w, r)
			})
			f, other := table.Fetch([]int32{8}), table.Fetch([]int32{150, 160})
			checkParts(t, other, []int32{150, 160}, nil, rowBytes)
			err := f.Wait(ctx)
			f.Release()
			if err == nil || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), "read row 8 at offset 14720 of "+s.url) {
				t.Errorf("error %v", err)
			} else if !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			s.set(nil)
			checkParts(t, table.Fetch([]int32{8, 9}), []int32{8, 9}, nil, rowBytes)
		})
	}
}

func TestServerRecoversWithinRetries(t *testing.T) {
	s := newServer(t, newHome(t, 100, 300))
	src, err := OpenSource(HTTP, s.spec(HTTPOptions{Retries: 3}))
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	for _, fault := range []func(http.ResponseWriter, *http.Request) bool{drop, status(500)} {
		left := atomic.Int64{}
		left.Store(3)
		s.set(func(w http.ResponseWriter, r *http.Request) bool { return left.Add(-1) >= 0 && fault(w, r) })
		useOnce(t, s.h, src)
	}
}

// useOnce reads one row.
func useOnce(t *testing.T, h *home, src Source) {
	t.Helper()
	table, err := Open(src, h.rows, h.row, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	checkParts(t, table.Fetch([]int32{42}), []int32{42}, nil, h.row)
}

func TestOpenHTTPRefuses(t *testing.T) {
	s := newServer(t, newHome(t, 100, 300))
	for _, c := range []struct {
		name, want string
		is         error
		change     func(*Spec)
		fault      func(http.ResponseWriter, *http.Request) bool
	}{
		{"other length", "want 42421", nil, func(sp *Spec) { sp.FileBytes++ }, nil},
		{"too short", "status 416", nil, func(sp *Spec) { sp.FileBytes, sp.Bytes = 0, 1<<20 }, nil},
		{"other version", `want "\"v0\""`, ErrChanged, func(sp *Spec) { sp.HTTP.ETag = `"v0"` }, nil},
		{"no ranges", "does not send ranges", nil, nil, func(w http.ResponseWriter, r *http.Request) bool {
			w.Write(s.h.data)
			return true
		}},
		{"missing", "status 404", nil, nil, status(404)},
		{"no server", "after 4 attempts", nil, nil, drop},
		{"no length", "does not tell the length", nil, nil, func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodHead {
				w.WriteHeader(405)
				return true
			}
			w.Header().Set("Content-Range", "bytes 42319-42319/*")
			w.WriteHeader(206)
			w.Write([]byte{1})
			return true
		}},
	} {
		spec := s.spec(HTTPOptions{})
		if c.change != nil {
			c.change(&spec)
		}
		s.set(c.fault)
		src, err := OpenSource(HTTP, spec)
		if err == nil {
			src.Close()
			t.Errorf("%s: no error", c.name)
			continue
		}
		if !strings.Contains(err.Error(), c.want) || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), s.url) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
}

// TestVersions: what may not stand in If-Range is compared all the same.
func TestVersions(t *testing.T) {
	s := newServer(t, newHome(t, 100, 300))
	answer := func(etag, stamp string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if stamp != "" {
				w.Header().Set("Last-Modified", stamp)
			}
			if etag != "" {
				w.Header().Set("ETag", etag)
			}
			at, _ := time.Parse(http.TimeFormat, stamp)
			http.ServeContent(w, r, "", at, bytes.NewReader(s.h.data))
			return true
		}
	}
	const monday, tuesday = "Mon, 02 Nov 2026 10:00:00 GMT", "Tue, 03 Nov 2026 10:00:00 GMT"
	for _, c := range []struct{ name, ifRange, etag, stamp, etag2, stamp2 string }{
		{"strong", `"a"`, `"a"`, "", `"b"`, ""},
		{"weak", "", `W/"a"`, monday, `W/"b"`, monday},
		{"dated", monday, "", monday, "", tuesday},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.set(answer(c.etag, c.stamp))
			src, err := OpenSource(HTTP, s.spec(HTTPOptions{}))
			if err != nil {
				t.Fatal(err)
			}
			defer src.Close()
			s.set(answer(c.etag, c.stamp))
			useOnce(t, s.h, src)
			if got := s.requests()[0].Get("If-Range"); got != c.ifRange {
				t.Errorf("If-Range %q, want %q", got, c.ifRange)
			}
			s.set(answer(c.etag2, c.stamp2))
			if _, err := src.ReadAt(make([]byte, 10), 0); !errors.Is(err, ErrChanged) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// TestRedirects follows to another host without the caller's headers, remembers
// the way, and asks again from home when it leads nowhere any more.
func TestRedirects(t *testing.T) {
	h := newHome(t, 100, 300)
	store, front := newServer(t, h), newServer(t, h)
	store.url = strings.Replace(store.url, "127.0.0.1", "localhost", 1) + "?signature=secret"
	front.set(func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, store.url, http.StatusFound)
		return true
	})
	header := http.Header{"Authorization": {"Bearer k"}, "X-Api-Key": {"k"}, "Cookie": {"k=v"}}
	src, err := OpenSource(HTTP, front.spec(HTTPOptions{Header: header}))
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	useOnce(t, h, src)
	if n := len(front.requests()); n != 1 {
		t.Errorf("%d requests to the front, want one", n)
	}
	for k := range header {
		if front.requests()[0].Get(k) != header.Get(k) {
			t.Errorf("%s was not sent home", k)
		}
		for _, seen := range store.requests() {
			if seen.Get(k) != "" {
				t.Errorf("%s was sent to another host", k)
			}
		}
	}
	for _, seen := range append(store.requests(), front.requests()...) {
		if seen.Get("Referer") != "" || seen.Get("Accept-Encoding") != "identity" {
			t.Errorf("request %v", seen)
		}
	}
	left := atomic.Int64{}
	left.Store(1)
	store.set(func(w http.ResponseWriter, r *http.Request) bool { return left.Add(-1) >= 0 && status(403)(w, r) })
	useOnce(t, h, src) // the link has run out
	if n := len(front.requests()); n != 2 {
		t.Errorf("%d requests to the front, want two", n)
	}
	store.set(status(403))
	if _, err := src.ReadAt(make([]byte, 1), 0); err == nil || !strings.Contains(err.Error(), "403") || strings.Contains(err.Error(), "secret") {
		t.Errorf("error %v", err)
	}
}

func TestSecretsStayOutOfMessages(t *testing.T) {
	s := newServer(t, newHome(t, 100, 300))
	spec := s.spec(HTTPOptions{Retries: -1})
	spec.URL = strings.Replace(s.url, "http://", "http://user:hidden@", 1) + "?key=hidden#hidden"
	src, err := OpenSource(HTTP, spec)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	s.set(drop)
	_, err = src.ReadAt(make([]byte, 1), 0)
	if err == nil || strings.Contains(fmt.Sprint(err, src.Traits(), src.Traits().Name), "hidden") {
		t.Errorf("error %v, traits %v", err, src.Traits())
	}
}

func TestNearRowsAreOneRequest(t *testing.T) {
	h := newHome(t, 2000, 300)
	s := newServer(t, h)
	src, err := OpenSource(HTTP, s.spec(HTTPOptions{}))
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	table, err := Open(src, h.rows, h.row, Options{Workers: 1, CacheBytes: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	s.set(nil)
	ids := []int32{3, 50, 100, 900, 950, 1900} // 32 KiB are 109 rows
	checkParts(t, table.Fetch(ids), ids, nil, h.row)
	if n := len(s.requests()); n != 3 {
		t.Errorf("%d requests, want 3", n)
	}
	if d := table.Stats(); d.Reads != 3 || d.BytesRead != (98+51+1)*300 || d.RowsRead != 6 {
		t.Errorf("stats %+v", d)
	}
}

// TestCloseBreaksRequestsOff: Close must not wait for a server that does not answer.
func TestCloseBreaksRequestsOff(t *testing.T) {
	s := newServer(t, newHome(t, 100, 300))
	src, err := OpenSource(HTTP, s.spec(HTTPOptions{Timeout: time.Hour}))
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	table, err := Open(src, 100, 300, Options{})
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan bool, 10)
	s.set(func(w http.ResponseWriter, r *http.Request) bool {
		asked <- true
		<-r.Context().Done()
		return true
	})
	f := table.Fetch([]int32{7})
	<-asked
	if err := table.Close(); err != nil {
		t.Error(err)
	}
	if err := f.Wait(ctx); !errors.Is(err, ErrClosed) {
		t.Errorf("error %v", err)
	}
	f.Release()
}

func TestHeadersGoOnlyHome(t *testing.T) {
	r := &remote{}
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"https://a.org/x", "https://a.org:443/y", true},
		{"https://A.org/x", "https://a.org/y", true},
		{"https://a.org/", "http://a.org/", false},
		{"https://a.org/", "https://b.a.org/", false},
		{"http://a.org:1/", "http://a.org:2/", false},
	} {
		a, _ := http.NewRequest("GET", c.a, io.NopCloser(nil))
		b, _ := http.NewRequest("GET", c.b, nil)
		if got := sameOrigin(a.URL, b.URL); got != c.same {
			t.Errorf("%s and %s: same origin %v", c.a, c.b, got)
		}
		r.home, r.opt.Header = b.URL, http.Header{"X-Key": {"k"}}
		a.Header = http.Header{"X-Key": {"k"}, "Authorization": {"k"}}
		if err := r.redirect(a, nil); err != nil {
			t.Fatal(err)
		}
		if kept := a.Header.Get("X-Key") != ""; kept != c.same {
			t.Errorf("%s to %s: header kept %v", c.b, c.a, kept)
		}
	}
}

func TestContentRange(t *testing.T) {
	for _, c := range []struct {
		in              string
		from, to, total int64
		ok              bool
	}{
		{"bytes 0-9/10", 0, 9, 10, true},
		{"Bytes 5-5/9223372036854775807", 5, 5, 1<<63 - 1, true},
		{"bytes 1-2/*", 1, 2, 0, true},
		{in: ""}, {in: "bytes"}, {in: "bytes 1-2"}, {in: "bytes 1-2/"}, {in: "bytes */10"}, {in: "bytes 2-1/10"},
		{in: "bytes 1-10/10"}, {in: "bytes -1-2/10"}, {in: "bytes +1-2/10"}, {in: "rows 1-2/10"},
		{in: "bytes 1-2/10x"}, {in: "bytes 1-9223372036854775808/*"}, {in: "bytes  1-2/10"},
	} {
		from, to, total, ok := parseContentRange(c.in)
		if ok != c.ok || ok && (from != c.from || to != c.to || total != c.total) {
			t.Errorf("%q: %d to %d of %d, %v", c.in, from, to, total, ok)
		}
	}
}

func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-9/10", "bytes 1-2/*", "bytes */10", "rows 1-2/3", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		from, to, total, ok := parseContentRange(s)
		if ok && (from < 0 || to < from || total != 0 && total <= to) {
			t.Errorf("%q: %d to %d of %d", s, from, to, total)
		}
		if !ok {
			return
		}
		size := "*"
		if total != 0 {
			size = fmt.Sprint(total)
		}
		again := fmt.Sprintf("bytes %d-%d/%s", from, to, size)
		if f2, t2, n2, ok := parseContentRange(again); !ok || f2 != from || t2 != to || n2 != total {
			t.Errorf("%q reads as %q, which reads otherwise", s, again)
		}
	})
}
