package ple

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// wire is a kept connection to the server of a table, for one request at a time. A
// request is written by the goroutine that asks for a row, its answer read by the one
// that waits for it, so that neither needs another goroutine, which would get a
// processor late where all of them compute; a request through net/http takes four.
//
// It understands one answer only, the one that a server gives when all is well, byte
// for byte what remote.check accepts. After any other one the request is made again
// through net/http, which knows how to go on, or whose error says what is wrong.
type wire struct {
	conn net.Conn // plain or TLS, over link
	link *link
	out  []byte // the request
	in   []byte // of the answer, what has come
	body int    // where its content begins, once that is known
	used time.Time
}

// errWire is why an answer is not the one that a wire understands.
var errWire = errors.New("not a plain answer")

// link is a connection that can be read without waiting.
type link struct {
	net.Conn
	raw  syscall.RawConn
	now  bool // Read does not wait: it fails with errNotYet
	p    []byte
	n    int
	err  error
	once func(fd uintptr) bool // one try to read into p
}

// errNotYet is temporary, so that TLS goes on after it.
var errNotYet net.Error = notYet{}

type notYet struct{}

func (notYet) Error() string   { return "nothing has arrived" }
func (notYet) Timeout() bool   { return true }
func (notYet) Temporary() bool { return true }

func newLink(c net.Conn) (*link, error) {
	s, ok := c.(syscall.Conn)
	if !ok || !canTryRead {
		return nil, errors.ErrUnsupported
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return nil, err
	}
	l := &link{Conn: c, raw: raw}
	l.once = func(fd uintptr) bool {
		l.n, l.err = tryRead(fd, l.p)
		return true
	}
	return l, nil
}

// Read implements io.Reader.
func (l *link) Read(p []byte) (int, error) {
	if !l.now {
		return l.Conn.Read(p)
	}
	l.p = p
	err := l.raw.Read(l.once)
	l.p = nil
	if err == nil {
		err = l.err
	}
	return l.n, err
}

// send asks for n bytes from off of the file; head is all of the request but that.
func (w *wire) send(head []byte, off int64, n int) error {
	w.out = append(w.out[:0], head...)
	w.out = append(w.out, "Range: bytes="...)
	w.out = strconv.AppendInt(w.out, off, 10)
	w.out = append(w.out, '-')
	w.out = strconv.AppendInt(w.out, off+int64(n)-1, 10)
	w.out = append(w.out, "\r\n\r\n"...)
	w.in, w.body = w.in[:0], 0
	if need := n + wireHead; cap(w.in) < need {
		w.in = make([]byte, 0, need)
	}
	w.conn.SetDeadline(time.Time{})
	_, err := w.conn.Write(w.out)
	return err
}

// wireHead is how long the head of an answer may be.
const wireHead = 4 << 10

// receive reads the answer to a request for n bytes. Without waiting it returns
// errNotYet while something is missing.
func (w *wire) receive(r *remote, off int64, n int, wait bool) error {
	w.link.now = !wait
	for {
		k, err := w.conn.Read(w.in[len(w.in):cap(w.in)])
		w.in = w.in[:len(w.in)+k]
		if w.body == 0 {
			if end := bytes.Index(w.in, []byte("\r\n\r\n")); end >= 0 {
				if end+4 > wireHead || !r.plainAnswer(w.in[:end+2], off, n) {
					return errWire // a longer head leaves no room for the content
				}
				w.body = end + 4
			}
		}
		switch {
		case w.body > 0 && len(w.in) == w.body+n:
			return nil
		case w.body > 0 && len(w.in) > w.body+n, w.body == 0 && len(w.in) >= wireHead:
			return errWire
		case err != nil:
			return err
		}
	}
}

// content is what was asked for, until the next send.
func (w *wire) content() []byte { return w.in[w.body:] }

// plainAnswer reports whether head, lines that end in CRLF, says what check demands:
// the n bytes from off, of the version known, and no more to know.
func (r *remote) plainAnswer(head []byte, off int64, n int) bool {
	line, rest, _ := bytes.Cut(head, []byte("\r\n"))
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 206 ")) {
		return false
	}
	var length, span, etag, stamp []byte
	for len(rest) > 0 {
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		key, value, ok := bytes.Cut(line, []byte(":"))
		if !ok || len(key) == 0 || key[0] == ' ' || key[0] == '\t' { // goes on with the line before
			return false
		}
		value = bytes.TrimSpace(value)
		switch {
		case named(key, "Content-Length"):
			ok, length = length == nil, value
		case named(key, "Content-Range"):
			ok, span = span == nil, value
		case named(key, "ETag"):
			ok, etag = etag == nil, value
		case named(key, "Last-Modified"):
			ok, stamp = stamp == nil, value
		case named(key, "Connection") && !named(value, "keep-alive"),
			named(key, "Content-Encoding") && !named(value, "identity"),
			named(key, "Transfer-Encoding"):
			ok = false
		}
		if !ok { // twice, or of another kind than a wire knows
			return false
		}
	}
	from, to, total, ok := parseContentRange(string(span))
	bytes, err := strconv.Atoi(string(length))
	return ok && err == nil && bytes == n && from == off && to == off+int64(n)-1 &&
		(total == 0 || total == r.total) && string(etag) == r.etag && (r.etag != "" || string(stamp) == r.stamp)
}

func named(key []byte, name string) bool {
	return len(key) == len(name) && bytes.EqualFold(key, []byte(name))
}

// wires are the kept connections of a remote that no request uses, and those in use.
type wires struct {
	head []byte      // of every request; nil: there are no wires to this server
	addr string      // host:port
	tls  *tls.Config // nil: none

	mu      sync.Mutex
	idle    []*wire
	all     map[*wire]bool
	strange int       // in a row: answers that no wire understands, wires that were not to be had
	paused  time.Time // no wires until then
}

// maxStrange answers or connections in a row that come to nothing show that the server has
// its own ways, or is unwell: then wires cost a request each, and rest for wireIdle.
const maxStrange = 3

// A wire that was idle for longer is not used again: the server, or something on the
// way, may have forgotten it.
const wireIdle = 30 * time.Second

// openWires finds out, once the table's version is known, whether requests may go
// over wires: not through a proxy, to a redirect's target, or over a transport that is
// not ours.
func (r *remote) openWires() {
	req := r.request(context.Background(), nil, 0, 1)
	if proxy, err := http.ProxyFromEnvironment(req); err != nil || proxy != nil ||
		r.spec.HTTP.Transport != nil || r.home.User != nil || r.target.Load() != nil || !canTryRead {
		return
	}
	req.Header.Del("Range")
	var head bytes.Buffer
	if err := req.Write(&head); err != nil {
		return
	}
	port := map[string]string{"http": "80", "https": "443"}[r.home.Scheme]
	if p := r.home.Port(); p != "" {
		port = p
	}
	r.wires.addr = net.JoinHostPort(r.home.Hostname(), port)
	if r.home.Scheme == "https" {
		r.wires.tls = &tls.Config{ServerName: r.home.Hostname(), NextProtos: []string{"http/1.1"}}
	}
	r.wires.all = map[*wire]bool{}
	r.wires.head = bytes.TrimSuffix(head.Bytes(), []byte("\r\n"))
}

// fit reports whether requests may go over wires now.
func (r *remote) fit() bool {
	c := &r.wires
	if c.head == nil || r.target.Load() != nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().After(c.paused)
}

// take returns a wire that is idle, nil when none is.
func (c *wires) take() *wire {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.idle) > 0 {
		w := c.idle[len(c.idle)-1]
		c.idle = c.idle[:len(c.idle)-1]
		if time.Since(w.used) < wireIdle {
			return w
		}
		c.forget(w)
	}
	return nil
}

// put gives back a wire whose answer has been read to its end.
func (c *wires) put(w *wire) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.all[w] || len(c.idle) == Depth {
		c.forget(w)
		return
	}
	w.used, c.strange = time.Now(), 0
	c.idle = append(c.idle, w)
}

// drop ends a wire because of err.
func (c *wires) drop(w *wire, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget(w)
	if errors.Is(err, errWire) {
		c.oddLocked()
	}
}

// odd counts a wire that could not be made.
func (c *wires) odd() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.oddLocked()
}

func (c *wires) oddLocked() {
	if c.strange++; c.strange == maxStrange {
		c.strange, c.paused = 0, time.Now().Add(wireIdle)
	}
}

func (c *wires) forget(w *wire) {
	delete(c.all, w)
	w.link.Close() // not by a farewell of TLS, which might wait
}

// interrupt breaks off all requests under way, and ends the idle wires as well.
func (c *wires) interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for w := range c.all {
		c.forget(w)
	}
	c.idle = nil
}

// dial makes a wire.
func (r *remote) dial(ctx context.Context) (*wire, error) {
	ctx, cancel := context.WithTimeout(ctx, r.opt.Timeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", r.wires.addr)
	if err != nil {
		return nil, err
	}
	l, err := newLink(conn)
	if err != nil {
		conn.Close()
		return nil, err
	}
	w := &wire{conn: l, link: l}
	if r.wires.tls != nil {
		c := tls.Client(l, r.wires.tls)
		if err := c.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, err
		}
		w.conn = c
	}
	r.wires.mu.Lock()
	defer r.wires.mu.Unlock()
	if ctx.Err() != nil {
		conn.Close()
		return nil, ctx.Err()
	}
	r.wires.all[w] = true
	return w, nil
}

// quick is attempt over a wire. done is false when net/http should try.
func (r *remote) quick(ctx context.Context, p []byte, off int64) (done bool, err error) {
	if !r.fit() {
		return false, nil
	}
	w := r.wires.take()
	if w == nil {
		if w, err = r.dial(ctx); err != nil {
			if ctx.Err() == nil {
				r.wires.odd()
			}
			return r.late(ctx, err)
		}
	}
	if err = w.send(r.wires.head, off, len(p)); err == nil {
		err = r.await(w, off, len(p))
	}
	if err == nil {
		copy(p, w.content())
		r.wires.put(w)
		return true, nil
	}
	r.wires.drop(w, err)
	return r.late(ctx, err)
}

// late is what quick returns after an error: net/http may try, unless an attempt's time
// is over, or ctx is.
func (r *remote) late(ctx context.Context, err error) (done bool, _ error) {
	if ctx.Err() != nil {
		return true, ctx.Err()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return true, retryable{error: r.plain(context.DeadlineExceeded)}
	}
	return false, nil
}

// await waits for the answer to what w has sent.
func (r *remote) await(w *wire, off int64, n int) error {
	w.conn.SetReadDeadline(time.Now().Add(r.opt.Timeout))
	return w.receive(r, off, n, true)
}

// wired is the device of a web server. A row or a few are asked for by Fetch itself and
// taken by Wait, over wires; what is more, what comes otherwise than in a plain answer,
// and what somebody sleeps for, is done by goroutines.
type wired struct {
	pool
	src   *remote
	calls []*call
}

// maxCalls bounds the requests that Fetch sends itself: a step of decoding for some
// sequences. Of a prompt's rows there are more than anybody would be there to go on with.
const maxCalls = 4

// call is a request that was sent and that no goroutine waits for.
type call struct {
	r   *read
	w   *wire
	ctx context.Context
}

// off is where a call's bytes begin in the file.
func (c *call) off(r *remote) int64 { return r.spec.Offset + c.r.off }

// newDevice implements submitter.
func (r *remote) newDevice(t *Table, _ int) device {
	if r.wires.head == nil {
		return nil
	}
	return &wired{pool: pool{t: t}, src: r}
}

func (d *wired) name() string { return "wire" }

func (d *wired) kick(int) {
	for d.t.queue.n <= maxCalls && len(d.calls) < maxCalls && d.src.fit() {
		w := d.src.wires.take()
		if w == nil {
			break
		}
		r := d.t.nextRead()
		if r == nil {
			d.src.wires.put(w)
			return
		}
		c := &call{r: r, w: w, ctx: d.src.context()}
		if err := w.send(d.src.wires.head, c.off(d.src), r.n); err != nil {
			d.src.wires.drop(w, err)
			d.t.workers.Go(func() { d.again(c) })
			continue
		}
		d.calls = append(d.calls, c)
	}
	d.pool.kick(d.t.queue.n)
}

func (d *wired) poll() {
	left := d.calls[:0]
	for _, c := range d.calls {
		err := c.w.receive(d.src, c.off(d.src), c.r.n, false)
		if errors.Is(err, errNotYet) && !c.r.givenUp {
			left = append(left, c)
			continue
		}
		d.answered(c, err)
	}
	clear(d.calls[len(left):])
	d.calls = left
}

// attend leaves what is under way to goroutines when somebody sleeps.
func (d *wired) attend(sleepers bool) {
	d.pool.attend(sleepers)
	if !sleepers {
		return
	}
	for _, c := range d.calls {
		d.t.workers.Go(func() {
			err := d.src.await(c.w, c.off(d.src), c.r.n)
			d.t.mu.Lock()
			defer d.t.mu.Unlock()
			d.answered(c, err)
		})
	}
	clear(d.calls)
	d.calls = d.calls[:0]
}

// answered ends a call whose answer is here, or has it made again, with the lock held.
func (d *wired) answered(c *call, err error) {
	switch {
	case err == nil:
		d.took(c.r, c.w.content(), nil)
		d.src.wires.put(c.w)
		return
	case c.r.givenUp:
		d.took(c.r, nil, err)
	default:
		d.t.workers.Go(func() { d.again(c) })
	}
	d.src.wires.drop(c.w, err)
}

// again makes the request of a call the ordinary way, without the lock.
func (d *wired) again(c *call) {
	p, err := make([]byte, c.r.n), ErrClosed
	if c.ctx.Err() == nil {
		_, err = d.src.ReadAt(p, c.r.off)
	}
	d.t.mu.Lock()
	defer d.t.mu.Unlock()
	if err != nil {
		p = nil
	}
	d.took(c.r, p, err)
	d.wake(d.t.queue.n) // rows that failed in company
}

// took ends a read with all of its bytes, or none.
func (d *wired) took(r *read, p []byte, err error) {
	if d.t.end(r) {
		d.t.deliver(r, p, len(p), err)
		d.t.settle(r, len(p))
	}
}
