package hub

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	maxTries    = 6                // failures in a row, without progress, until a request is given up
	maxPause    = 10 * time.Minute // longer waits are for people to decide
	maxBackoff  = 30 * time.Second
	maxRedirect = 10
)

// client makes requests for one pull: it sends the token where it belongs,
// notices connections that bring nothing, and tries again what may heal.
type client struct {
	http     *http.Client
	hasToken bool
	stall    time.Duration
	sleep    func(ctx context.Context, d time.Duration) error
	notify   func(what string, err error, wait time.Duration)

	mu    sync.Mutex
	until time.Time // no request begins before: a server said so
}

func (c *client) close() { c.http.CloseIdleConnections() }

// courier adds the token to requests to its origin, hop by hop: http.Client
// itself would carry a header on to subdomains.
type courier struct {
	base                 http.RoundTripper
	origin, token, agent string
}

// RoundTrip implements http.RoundTripper.
func (t *courier) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set("User-Agent", t.agent)
	req.Header.Del("Referer") // may hold a signed URL
	if t.token != "" && origin(req.URL) == t.origin {
		req.Header.Set("Authorization", "Bearer "+t.token)
	}
	return t.base.RoundTrip(req)
}

// CloseIdleConnections lets http.Client reach the transport.
func (t *courier) CloseIdleConnections() {
	if c, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

func checkRedirect(req *http.Request, via []*http.Request) error {
	from := via[len(via)-1].URL
	switch {
	case len(via) >= maxRedirect:
		return finalError{fmt.Errorf("more than %d redirects", maxRedirect)}
	case req.URL.Scheme != "https" && (req.URL.Scheme != "http" || from.Scheme == "https"):
		return finalError{fmt.Errorf("redirected from %s to %s://%s: refused", from.Scheme, req.URL.Scheme, req.URL.Host)}
	}
	return nil
}

// finalError is an error that trying again will not heal.
type finalError struct{ err error }

func (e finalError) Error() string { return e.err.Error() }
func (e finalError) Unwrap() error { return e.err }

// statusError is an answer other than 200 and 206.
type statusError struct {
	host  string
	code  int
	kind  string        // the server's word for it
	wait  time.Duration // Retry-After; 0 when not given
	token bool          // the request had one
}

func (e *statusError) Error() string {
	text := fmt.Sprintf("%s answers %d %s", e.host, e.code, http.StatusText(e.code))
	if e.kind != "" {
		text += " (" + e.kind + ")"
	}
	return text
}

// Unwrap gives the classes that callers know.
func (e *statusError) Unwrap() error {
	switch e.code {
	case http.StatusUnauthorized, http.StatusForbidden:
		return ErrDenied
	case http.StatusNotFound, http.StatusGone:
		return ErrNotFound
	}
	return nil
}

// errStalled is the end of a connection that brings nothing.
var errStalled = errors.New("the server sends nothing")

// get makes one request. On success the status is 200 or 206 and the caller
// closes the body, whose reads fail when nothing comes for too long.
func (c *client) get(ctx context.Context, address string, header http.Header) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	body := &watched{cancel: cancel, ctx: ctx, stall: c.stall}
	body.timer = time.AfterFunc(c.stall, func() { cancel(errStalled) })
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		body.end()
		return nil, finalError{errors.New("the address cannot be used")}
	}
	for k, v := range header {
		req.Header[k] = v
	}
	req.Header.Set("Accept-Encoding", "identity")
	res, err := c.http.Do(req)
	if err != nil {
		err = body.explain(tidy(err))
		body.end()
		return nil, err
	}
	body.timer.Stop()
	body.body, res.Body = res.Body, body
	if res.StatusCode != http.StatusOK && res.StatusCode != http.StatusPartialContent {
		res.Body.Close()
		kind := res.Header.Get("X-Error-Code")
		return nil, &statusError{host: res.Request.URL.Host, code: res.StatusCode, kind: printable(kind), wait: retryAfter(res.Header), token: c.hasToken}
	}
	return res, nil
}

// plainBytes refuses an answer whose bytes are not the file's.
func plainBytes(res *http.Response) error {
	if e := res.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return finalError{fmt.Errorf("%s sends compressed data (%s) that nobody asked for", res.Request.URL.Host, printable(e))}
	}
	return nil
}

// watched is the body of an answer with a deadline for each read. The clock
// stands still between reads: writing may take as long as the disk wants.
type watched struct {
	body   io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	stall  time.Duration
}

// Read implements io.Reader.
func (w *watched) Read(p []byte) (int, error) {
	w.timer.Reset(w.stall)
	n, err := w.body.Read(p)
	w.timer.Stop()
	if err != nil && err != io.EOF {
		err = w.explain(err)
	}
	return n, err
}

// Close implements io.Closer.
func (w *watched) Close() error {
	w.end()
	return w.body.Close()
}

func (w *watched) end() {
	w.timer.Stop()
	w.cancel(nil)
}

// explain says why a request failed when it was us who ended it.
func (w *watched) explain(err error) error {
	if context.Cause(w.ctx) == errStalled {
		return fmt.Errorf("%w for %s", errStalled, w.stall)
	}
	return err
}

// tidy takes the address out of an error, whose query may hold a signature.
func tidy(err error) error {
	var u *url.Error
	if !errors.As(err, &u) {
		return err
	}
	if at, e := url.Parse(u.URL); e == nil && at.Host != "" {
		return fmt.Errorf("%s: %w", at.Host, u.Err)
	}
	return u.Err
}

// printable shortens a word from a server to what a terminal may show.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, s)
	return s[:min(len(s), 60)]
}

// rateReset finds the seconds until a limit ends: RateLimit: "api";r=0;t=55
var rateReset = regexp.MustCompile(`; *r=0 *; *t=(\d{1,9})\b`)

// retryAfter reads the header in both of its forms, or, as the Hugging Face hub
// sends it instead, when the limit that was met ends.
func retryAfter(h http.Header) time.Duration {
	text := h.Get("Retry-After")
	if m := rateReset.FindStringSubmatch(h.Get("RateLimit")); m != nil && text == "" {
		text = m[1]
	}
	if s, err := strconv.Atoi(text); err == nil {
		return time.Duration(min(max(s, 0), 1<<30)) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(time.Until(at), 0)
	}
	return 0
}

// temporary reports whether the same request may succeed later.
func temporary(err error) bool {
	var (
		status *statusError
		final  finalError
		cert   *tls.CertificateVerificationError
		dns    *net.DNSError
	)
	switch {
	case errors.As(err, &status):
		switch status.code {
		case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
			return true
		}
		return status.code >= 500 && status.code != http.StatusNotImplemented
	case errors.As(err, &final), errors.As(err, &cert):
		return false
	case errors.As(err, &dns):
		return !dns.IsNotFound
	}
	return true
}

// retry calls try until it succeeds, fails for good, or has failed maxTries
// times without progress. what names the work in events and errors.
func (c *client) retry(ctx context.Context, what string, try func() (progress bool, err error)) error {
	for failures := 0; ; {
		if err := c.turn(ctx); err != nil {
			return err
		}
		progress, err := try()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if progress {
			failures = 0
		}
		failures++
		var status *statusError
		pause := time.Duration(0)
		if errors.As(err, &status) {
			pause = status.wait
		}
		switch {
		case !temporary(err):
			return fmt.Errorf("%s: %w", what, err)
		case failures == maxTries:
			return fmt.Errorf("%s: given up after %d attempts: %w", what, maxTries, err)
		case pause > maxPause:
			return fmt.Errorf("%s: %w; it asks to come back in %s", what, err, pause.Round(time.Second))
		}
		wait := max(pause, backoff(failures))
		c.notify(what, err, wait)
		if pause > 0 {
			c.pause(pause) // concerns all requests
		}
		if err := c.sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// backoff doubles with each failure; the random part keeps connections that
// failed together from coming back together.
func backoff(failures int) time.Duration {
	d := min(500*time.Millisecond<<(failures-1), maxBackoff)
	return d/2 + rand.N(d/2)
}

// pause keeps new requests back for d.
func (c *client) pause(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := time.Now().Add(d); t.After(c.until) {
		c.until = t
	}
}

// turn waits until requests may begin.
func (c *client) turn(ctx context.Context) error {
	c.mu.Lock()
	d := time.Until(c.until)
	c.mu.Unlock()
	if d > 0 {
		return c.sleep(ctx, d)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// read fetches a small document, of at most limit bytes.
func (c *client) read(ctx context.Context, what, address string, header http.Header, limit int64) ([]byte, error) {
	var data []byte
	err := c.retry(ctx, what, func() (bool, error) {
		res, err := c.get(ctx, address, header)
		if err != nil {
			return false, err
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return false, finalError{fmt.Errorf("%s sends a part of a document that was asked for whole", res.Request.URL.Host)}
		}
		body := io.Reader(res.Body)
		if res.Header.Get("Content-Encoding") == "gzip" { // some proxies do so whatever was asked for
			if body, err = gzip.NewReader(res.Body); err != nil {
				return false, fmt.Errorf("%s: unpack its answer: %w", res.Request.URL.Host, err)
			}
		} else if err := plainBytes(res); err != nil {
			return false, err
		}
		data, err = io.ReadAll(io.LimitReader(body, limit+1))
		if err == nil && int64(len(data)) > limit {
			err = finalError{fmt.Errorf("the answer of %s is longer than %d bytes", res.Request.URL.Host, limit)}
		}
		return false, err
	})
	return data, err
}

// readJSON fetches a small JSON document into v and returns its text.
func (c *client) readJSON(ctx context.Context, what, address string, header http.Header, limit int64, v any) ([]byte, error) {
	data, err := c.read(ctx, what, address, header, limit)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, v); err != nil {
		kind := "JSON as expected"
		if bytes.HasPrefix(bytes.TrimSpace(data), []byte("<")) {
			kind = "JSON but a web page"
		}
		return nil, fmt.Errorf("%s: the answer is not %s: %w", what, kind, err)
	}
	return data, nil
}

// probe learns what a server says about a file without fetching it. etag is ""
// when nothing tells one version from another.
func (c *client) probe(ctx context.Context, what, address string) (bytes int64, etag string, err error) {
	err = c.retry(ctx, what, func() (bool, error) {
		res, err := c.get(ctx, address, http.Header{"Range": {"bytes=0-0"}})
		if err != nil {
			return false, err
		}
		defer res.Body.Close()
		if err := plainBytes(res); err != nil {
			return false, err
		}
		bytes, etag = res.ContentLength, version(res.Header)
		if res.StatusCode == http.StatusPartialContent {
			if _, bytes, err = contentRange(res.Header); err != nil {
				return false, err
			}
		}
		if bytes < 0 {
			return false, finalError{fmt.Errorf("%s does not say how long the file is", res.Request.URL.Host)}
		}
		return false, nil
	})
	return bytes, etag, err
}

// version is what tells one version of a file from another, "" when nothing
// does. One server of several may call its tag weak and another not.
func version(h http.Header) string {
	v := cmp.Or(strings.TrimPrefix(h.Get("ETag"), "W/"), h.Get("Last-Modified"))
	return v[:min(len(v), 300)]
}

// contentRange reads "bytes FIRST-LAST/TOTAL".
func contentRange(h http.Header) (first, total int64, err error) {
	text := h.Get("Content-Range")
	fail := fmt.Errorf("wrong Content-Range %q", printable(text))
	span, all, ok := strings.Cut(strings.TrimPrefix(text, "bytes "), "/")
	from, _, ok2 := strings.Cut(span, "-")
	if !ok || !ok2 {
		return 0, 0, fail
	}
	if first, err = strconv.ParseInt(from, 10, 64); err != nil || first < 0 {
		return 0, 0, fail
	}
	if total, err = strconv.ParseInt(all, 10, 64); err != nil || total < 0 {
		return 0, 0, fail
	}
	return first, total, nil
}
