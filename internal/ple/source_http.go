package ple

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// HTTPOptions set how a web server is asked for rows. The zero value is the default.
type HTTPOptions struct {
	// Header goes with every request to the URL's own scheme, host and port, and
	// to no other one that the server may redirect to: the place for Authorization.
	Header http.Header

	// Timeout bounds one attempt, body included. 0 means 5 s.
	Timeout time.Duration

	// Retries is how often a request is repeated after a lost connection, a
	// timeout, or a status that may pass (408, 429, 5xx). 0 means 3; negative: never.
	Retries int

	// Backoff is the pause before the first repetition; it doubles each time, and
	// up to half of it is added at random. 0 means 100 ms.
	Backoff time.Duration

	// ETag, when set, is the version that the server must have.
	ETag string

	// Transport replaces the one of this package, which keeps connections for
	// Depth and more, and obeys the proxy variables of the environment.
	Transport http.RoundTripper
}

func (o HTTPOptions) withDefaults() HTTPOptions {
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	if o.Retries == 0 {
		o.Retries = 3
	}
	if o.Backoff == 0 {
		o.Backoff = 100 * time.Millisecond
	}
	if o.Transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.MaxIdleConns, t.MaxIdleConnsPerHost = 2*Depth, 2*Depth
		t.DisableCompression = true // ranges count stored bytes
		o.Transport = t
	}
	return o
}

// httpGap is between rows that are taken together: fetching what lies between them costs less
// than asking again (at 10 MB/s, 32 KiB last 3 ms, a short round trip).
const httpGap = 32 << 10

// remote is a stretch of what a URL gives, read by range requests.
type remote struct {
	spec   Spec
	opt    HTTPOptions
	home   *url.URL
	client *http.Client
	target atomic.Pointer[url.URL] // where the last redirect led; nil: home
	total  int64                   // length of the whole file
	etag   string                  // "" when the server names none
	stamp  string                  // Last-Modified, likewise
	traits Traits

	wires wires // for requests that come out well

	mu     sync.Mutex
	closed bool
	ctx    context.Context // of the requests under way
	cancel context.CancelFunc
}

// openHTTP opens kind HTTP: it asks for the table's last byte, which shows that
// the server knows ranges, how long the file is, and which version it has.
func openHTTP(spec Spec) (*remote, error) {
	home, err := url.Parse(spec.URL)
	if err != nil {
		return nil, errors.New("bad URL") // the parser's message quotes it whole
	}
	if home.Scheme != "http" && home.Scheme != "https" || home.Host == "" {
		return nil, fmt.Errorf("scheme %q, want http or https and a host", home.Scheme)
	}
	r := &remote{spec: spec, opt: spec.HTTP.withDefaults(), home: home, etag: spec.HTTP.ETag}
	r.client = &http.Client{Transport: r.opt.Transport, CheckRedirect: r.redirect}
	r.interrupt()
	name := publicURL(spec.URL)
	r.traits = Traits{Kind: HTTP, Name: name, Base: spec.Offset, Workers: Depth,
		GapBytes: httpGap, yields: true, note: "range requests to " + name}
	var last [1]byte
	if _, err := r.ReadAt(last[:], spec.Bytes-1); err != nil {
		r.Close()
		return nil, err
	}
	if err := spec.checkLength(r.total); err != nil {
		r.Close()
		return nil, err
	}
	r.openWires()
	return r, nil
}

// publicURL is a URL without user, query and fragment, which may hold secrets.
func publicURL(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "(bad URL)"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

// redirect takes the caller's headers away from requests to other hosts.
// (The standard client forwards all but a few, and those to subdomains too.)
func (r *remote) redirect(req *http.Request, via []*http.Request) error {
	if len(via) >= 10 {
		return errors.New("redirected 10 times")
	}
	req.Header.Del("Referer") // it would carry the query of the URL
	if !sameOrigin(req.URL, r.home) {
		for k := range r.opt.Header {
			req.Header.Del(k)
		}
		req.Header.Del("Authorization")
		req.Header.Del("Cookie")
	}
	return nil
}

func sameOrigin(a, b *url.URL) bool {
	port := func(u *url.URL) string {
		if p := u.Port(); p != "" {
			return p
		}
		return map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

// ReadAt implements io.ReaderAt.
func (r *remote) ReadAt(p []byte, off int64) (int, error) {
	p, eof := r.spec.clip(p, off)
	if eof != nil && eof != io.EOF {
		return 0, eof
	}
	if len(p) == 0 {
		return 0, eof
	}
	ctx, pause := r.context(), r.opt.Backoff
	for try := 0; ; try++ {
		err := r.attempt(ctx, p, r.spec.Offset+off)
		if err == nil {
			return len(p), eof
		}
		var again retryable
		switch {
		case ctx.Err() != nil:
			return 0, ErrClosed
		case !errors.As(err, &again):
			return 0, err
		case try >= r.opt.Retries:
			return 0, fmt.Errorf("after %d attempts: %w", try+1, again.error)
		case again.at != 0:
			continue // a stale redirect: at once, from home
		}
		select {
		case <-time.After(pause + rand.N(pause/2+1)):
		case <-ctx.Done():
		}
		pause *= 2
	}
}

// retryable marks an error that may pass; at says that home was not asked yet.
type retryable struct {
	error
	at int
}

func (e retryable) Unwrap() error { return e.error }

// attempt makes one request for len(p) bytes from an offset of the file.
func (r *remote) attempt(ctx context.Context, p []byte, off int64) error {
	if done, err := r.quick(ctx, p, off); done {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, r.opt.Timeout)
	defer cancel()
	target := r.target.Load()
	resp, err := r.client.Do(r.request(ctx, target, off, len(p)))
	if err != nil {
		return retryable{error: r.plain(err)}
	}
	defer resp.Body.Close()
	if err := r.check(ctx, resp, off, len(p)); err != nil {
		if target != nil && resp.StatusCode >= 400 && resp.StatusCode < 500 {
			r.target.CompareAndSwap(target, nil) // a signed link that has run out
			return retryable{err, 1}
		}
		return err
	}
	if n, err := io.ReadFull(resp.Body, p); err != nil {
		return retryable{error: fmt.Errorf("got %d of %d bytes: %w", n, len(p), r.plain(err))}
	}
	// Reading to the end lets the connection be used again.
	if n, _ := resp.Body.Read(make([]byte, 1)); n != 0 {
		return fmt.Errorf("the server sent more than the %d bytes asked for", len(p))
	}
	if at := resp.Request.URL; at.String() != r.home.String() && (target == nil || *target != *at) {
		r.target.Store(at)
	}
	return nil
}

// request asks for n bytes at off, of the version known.
func (r *remote) request(ctx context.Context, target *url.URL, off int64, n int) *http.Request {
	at := r.home
	if target != nil {
		at = target
	}
	req := (&http.Request{Method: http.MethodGet, URL: at, Host: at.Host, Header: http.Header{},
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}).WithContext(ctx)
	if sameOrigin(at, r.home) {
		for k, v := range r.opt.Header {
			req.Header[http.CanonicalHeaderKey(k)] = v
		}
		if h := r.opt.Header.Get("Host"); h != "" {
			req.Host = h
		}
	}
	req.Header.Set("Accept-Encoding", "identity")
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", off, off+int64(n)-1))
	switch { // a weak tag may not stand here
	case strings.HasPrefix(r.etag, `"`):
		req.Header.Set("If-Range", r.etag)
	case r.etag == "" && r.stamp != "":
		req.Header.Set("If-Range", r.stamp)
	}
	return req
}

var errReplaced = fmt.Errorf("%w: the server has another file now; open the model again", ErrChanged)

// check looks at everything an answer says before its body is used. The first
// answer tells length and version, all others must agree.
func (r *remote) check(ctx context.Context, resp *http.Response, off int64, n int) error {
	etag, stamp := resp.Header.Get("ETag"), resp.Header.Get("Last-Modified")
	switch code := resp.StatusCode; {
	case code == http.StatusPartialContent:
	case code == http.StatusOK && etag != r.etag && (r.total != 0 || r.etag != ""):
		return fmt.Errorf("%w: ETag %q, want %q", errReplaced, etag, r.etag) // the answer to a failed If-Range
	case code == http.StatusOK && r.total != 0 && etag == "" && stamp != r.stamp:
		return fmt.Errorf("%w: Last-Modified %q, opened %q", errReplaced, stamp, r.stamp)
	case code == http.StatusOK:
		return errors.New("the server does not send ranges (status 200, want 206): take one that does, as most do for plain files")
	case code == http.StatusRequestedRangeNotSatisfiable:
		return fmt.Errorf("bytes %d to %d are not in the file (status 416, %s)", off, off+int64(n)-1, resp.Header.Get("Content-Range"))
	case code >= 500 || code == http.StatusTooManyRequests || code == http.StatusRequestTimeout:
		return retryable{error: fmt.Errorf("status %s", resp.Status)}
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		return fmt.Errorf("status %s: it may want a header, as Authorization, with each request", resp.Status)
	default:
		return fmt.Errorf("status %s", resp.Status)
	}
	if e := resp.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return fmt.Errorf("the server sends %s-encoded ranges", e)
	}
	cr := resp.Header.Get("Content-Range")
	from, to, total, ok := parseContentRange(cr)
	if !ok {
		return fmt.Errorf("Content-Range %q", cr)
	}
	if from != off || to != off+int64(n)-1 || resp.ContentLength >= 0 && resp.ContentLength != int64(n) {
		return fmt.Errorf("the server sent %q, %d bytes, for bytes %d to %d", cr, resp.ContentLength, off, off+int64(n)-1)
	}
	return r.version(ctx, etag, stamp, total)
}

// parseContentRange reads "bytes FROM-TO/TOTAL"; total is 0 where TOTAL is "*".
func parseContentRange(s string) (from, to, total int64, ok bool) {
	unit, rest, _ := strings.Cut(s, " ")
	span, size, _ := strings.Cut(rest, "/")
	first, last, _ := strings.Cut(span, "-")
	number := func(s string) int64 {
		n, err := strconv.ParseUint(s, 10, 63)
		if err != nil {
			return -1
		}
		return int64(n)
	}
	from, to = number(first), number(last)
	if size != "*" {
		total = number(size)
		ok = total > to
	}
	ok = (ok || size == "*") && strings.EqualFold(unit, "bytes") && from >= 0 && to >= from
	return from, to, total, ok
}

// version compares an answer's file with the one opened. Only the open call,
// which nothing else runs beside, finds total 0.
func (r *remote) version(ctx context.Context, etag, stamp string, total int64) error {
	if r.total == 0 {
		if r.etag != "" && etag != r.etag {
			return fmt.Errorf("%w: ETag %q, want %q", ErrChanged, etag, r.etag)
		}
		var err error
		if total == 0 {
			if total, err = r.head(ctx); err != nil {
				return err
			}
		}
		r.etag, r.stamp, r.total = etag, stamp, total
		return nil
	}
	switch {
	case etag != r.etag:
		return fmt.Errorf("%w: ETag %q, opened %q", errReplaced, etag, r.etag)
	case etag == "" && stamp != r.stamp:
		return fmt.Errorf("%w: Last-Modified %q, opened %q", errReplaced, stamp, r.stamp)
	case total != 0 && total != r.total:
		return fmt.Errorf("%w: %d bytes, opened %d", errReplaced, total, r.total)
	}
	return nil
}

// head asks for the length that Content-Range did not tell.
func (r *remote) head(ctx context.Context) (int64, error) {
	req := r.request(ctx, nil, 0, 1)
	req.Method = http.MethodHead
	req.Header.Del("Range")
	req.Header.Del("If-Range")
	resp, err := r.client.Do(req)
	if err != nil {
		return 0, retryable{error: r.plain(err)}
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.ContentLength < 1 {
		return 0, fmt.Errorf("the server does not tell the length of the file (status %s)", resp.Status)
	}
	return resp.ContentLength, nil
}

// plain is a client's error without the URL, which the caller names and which may
// hold secrets here, and with a timeout called by its name.
func (r *remote) plain(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %v: %w", r.opt.Timeout, err)
	}
	return err
}

// context is that of new requests.
func (r *remote) context() context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ctx
}

// interrupt breaks off all requests under way.
func (r *remote) interrupt() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cancel != nil {
		r.cancel()
	}
	r.wires.interrupt()
	if !r.closed {
		r.ctx, r.cancel = context.WithCancel(context.Background())
	}
}

// Traits implements Source.
func (r *remote) Traits() Traits { return r.traits }

// Close implements Source.
func (r *remote) Close() error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.interrupt()
	if r.spec.HTTP.Transport == nil {
		r.client.CloseIdleConnections()
	}
	return nil
}
