package ple

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// openWired opens the table of a server, which must be one for wires.
func openWired(t *testing.T, s *server, h HTTPOptions, o Options) (*remote, *Table) {
	t.Helper()
	if !canTryRead {
		t.Skip("no wires on this system")
	}
	src, err := OpenSource(HTTP, s.spec(h))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	o.CacheBytes = -1
	table, err := Open(src, int(s.h.spec.Bytes)/s.h.row, s.h.row, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { table.Close() })
	if table.Device() != "wire" {
		t.Fatalf("device %s", table.Device())
	}
	table.mangle = true
	return src.(*remote), table
}

// fetchRow reads a row and compares it with the file.
func (s *server) fetchRow(t *testing.T, table *Table, row int32) {
	t.Helper()
	f := table.Fetch([]int32{row})
	defer f.Release()
	if err := f.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	s.compare(t, f.Row(0), row)
}

func (s *server) compare(t *testing.T, got []byte, row int32) {
	t.Helper()
	at := s.h.spec.Offset + int64(row)*int64(s.h.row)
	if !bytes.Equal(got, s.h.data[at:at+int64(s.h.row)]) {
		t.Errorf("row %d: other bytes", row)
	}
}

// A row that is asked for and has arrived before anybody waits needs no goroutine.
func TestRowOverWire(t *testing.T) {
	const rows, rowBytes = 200, 300
	s := newServer(t, newHome(t, rows, rowBytes))
	src, table := openWired(t, s, HTTPOptions{Header: http.Header{"Authorization": {"Bearer x"}}}, Options{})
	s.fetchRow(t, table, 3) // connects
	for row := range int32(20) {
		before := table.Stats()
		f := table.Fetch([]int32{row})
		if d := table.dev.(*wired); len(d.calls) != 1 || d.started != 1 {
			t.Fatalf("row %d: %d calls, %d goroutines", row, len(d.calls), d.started)
		}
		until(t, func() bool {
			table.mu.Lock()
			defer table.mu.Unlock()
			table.poll()
			return f.missing == 0
		})
		if err := f.Wait(ctx); err != nil {
			t.Fatal(err)
		}
		s.compare(t, f.Row(0), row)
		f.Release()
		if d := table.Stats().Sub(before); d.Waits != 0 || d.Reads != 1 || d.BytesRead != rowBytes {
			t.Errorf("row %d: %+v", row, d)
		}
	}
	for _, h := range s.requests() {
		if h.Get("Authorization") != "Bearer x" || h.Get("Accept-Encoding") != "identity" || h.Get("Range") == "" {
			t.Errorf("headers %v", h)
		}
	}
	if n := len(src.wires.all); n != 1 {
		t.Errorf("%d connections", n)
	}
}

func TestWireHammer(t *testing.T) {
	const rows, rowBytes = 400, 700
	s := newServer(t, newHome(t, rows, rowBytes))
	_, table := openWired(t, s, HTTPOptions{}, Options{})
	var wg sync.WaitGroup
	for g := range uint64(8) {
		wg.Go(func() {
			draw := rand.New(rand.NewPCG(g, 0))
			for range 60 {
				ids := make([]int32, 1+draw.IntN(6)*draw.IntN(6))
				for i := range ids {
					ids[i] = draw.Int32N(rows)
				}
				f := table.Fetch(ids)
				if draw.IntN(8) == 0 {
					f.Release()
					continue
				}
				if err := f.Wait(ctx); err != nil {
					t.Error(err)
				} else {
					for i, id := range ids {
						s.compare(t, f.Row(i), id)
					}
				}
				f.Release()
			}
		})
	}
	wg.Wait()
	if err := table.Close(); err != nil {
		t.Error(err)
	}
	table.checkIdle(t)
}

// What a wire does not understand is asked for again, and after some of it in a row
// not tried any more.
func TestStrangeAnswers(t *testing.T) {
	const rows, rowBytes = 200, 300
	plain := func(w http.ResponseWriter, r *http.Request, s *server) { s.serve(w, r, `"v1"`) }
	for _, c := range []struct {
		name   string
		extra  int // requests more than rows
		answer func(w http.ResponseWriter, r *http.Request, s *server)
	}{
		{"plain", 0, plain},
		{"closes", maxStrange, func(w http.ResponseWriter, r *http.Request, s *server) {
			w.Header().Set("Connection", "close")
			plain(w, r, s)
		}},
		{"without length", maxStrange, func(w http.ResponseWriter, r *http.Request, s *server) {
			plain(withoutLength{w}, r, s)
		}},
		{"long head", maxStrange, func(w http.ResponseWriter, r *http.Request, s *server) {
			w.Header().Set("Filler", strings.Repeat("x", 2*wireHead))
			plain(w, r, s)
		}},
		{"in pieces", 0, func(w http.ResponseWriter, r *http.Request, s *server) {
			rec := httptest.NewRecorder()
			plain(rec, r, s)
			maps.Copy(w.Header(), rec.Result().Header)
			w.WriteHeader(rec.Code)
			for _, b := range rec.Body.Bytes() {
				w.Write([]byte{b})
				w.(http.Flusher).Flush()
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t, newHome(t, rows, rowBytes))
			_, table := openWired(t, s, HTTPOptions{Timeout: 5 * time.Second}, Options{})
			s.set(func(w http.ResponseWriter, r *http.Request) bool {
				c.answer(w, r, s)
				return true
			})
			for row := range int32(10) {
				s.fetchRow(t, table, row)
			}
			if n := len(s.requests()); n != 10+c.extra {
				t.Errorf("%d requests for 10 rows, want %d", n, 10+c.extra)
			}
		})
	}
}

// wiresTo is a remote whose wires lead to a listener of its own; serve has each connection.
func wiresTo(t *testing.T, serve func(net.Conn)) *remote {
	t.Helper()
	if !canTryRead {
		t.Skip("no wires on this system")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				serve(c)
			})
		}
	})
	r := &remote{total: 100_000, etag: `"v1"`}
	r.opt.Timeout = 30 * time.Second
	r.wires.head, r.wires.addr, r.wires.all = []byte("GET / HTTP/1.1\r\n"), l.Addr().String(), map[*wire]bool{}
	t.Cleanup(func() {
		l.Close()
		r.wires.interrupt()
		all.Wait()
	})
	return r
}

// A head that leaves no room for the content is not waited behind.
func TestHeadAndContentAtOnce(t *testing.T) {
	const n = 300
	for more, want := range map[int]error{0: nil, 1: errWire, n / 2: errWire, n: errWire} {
		r := wiresTo(t, func(c net.Conn) {
			if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
				t.Error(err)
				return
			}
			head := "HTTP/1.1 206 Partial Content\r\nContent-Length: 300\r\nContent-Range: bytes 0-299/100000\r\nETag: \"v1\"\r\nFiller: "
			head += strings.Repeat("x", wireHead+more-len(head)-4) + "\r\n\r\n"
			c.Write([]byte(head + strings.Repeat("y", n)))
			c.Read(make([]byte, 1)) // until the other side closes
		})
		w, err := r.dial(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.send(r.wires.head, 0, n); err != nil {
			t.Fatal(err)
		}
		if err := r.await(w, 0, n); err != want || err == nil && string(w.content()) != strings.Repeat("y", n) {
			t.Errorf("a head of %d bytes: %v, want %v", wireHead+more, err, want)
		}
	}
}

// A server that no wire can be made to is left to net/http after some tries, each of
// which takes an attempt's time at most.
func TestNoWireToBeHad(t *testing.T) {
	var tries atomic.Int32
	for _, c := range []struct {
		name    string
		timeout time.Duration
		serve   func(net.Conn)
		want    string // "": net/http tries at once
	}{
		{"hangs up", time.Minute, func(net.Conn) { tries.Add(1) }, ""},
		{"is silent", 20 * time.Millisecond, func(c net.Conn) {
			tries.Add(1)
			io.Copy(io.Discard, c)
		}, "no answer within 20ms"},
	} {
		tries.Store(0)
		r := wiresTo(t, c.serve)
		r.opt.Timeout = c.timeout
		r.wires.tls = &tls.Config{ServerName: "localhost"}
		p := make([]byte, 300)
		gone, cancel := context.WithCancel(ctx)
		cancel()
		if done, err := r.quick(gone, p, 0); !done || !errors.Is(err, context.Canceled) || r.wires.strange != 0 {
			t.Errorf("%s, given up: %v, %v, %d strange", c.name, done, err, r.wires.strange)
		}
		for try := range maxStrange {
			done, err := r.quick(ctx, p, 0)
			var again retryable
			if done != (c.want != "") || done && (!errors.As(err, &again) || !strings.Contains(err.Error(), c.want)) || !done && err != nil {
				t.Errorf("%s, try %d: %v, %v", c.name, try, done, err)
			}
		}
		if done, err := r.quick(ctx, p, 0); done || err != nil || r.fit() {
			t.Errorf("%s: wires do not rest: %v, %v", c.name, done, err)
		}
		if n := tries.Load(); n > maxStrange || c.want == "" && n != maxStrange {
			t.Errorf("%s: %d connections, want %d", c.name, n, maxStrange)
		}
	}
}

// withoutLength makes a server send chunks.
type withoutLength struct{ http.ResponseWriter }

func (w withoutLength) WriteHeader(code int) {
	w.Header().Del("Content-Length")
	w.ResponseWriter.WriteHeader(code)
	w.ResponseWriter.(http.Flusher).Flush()
}

// A connection that the server has closed meanwhile is noticed, and nobody sees it.
func TestWireClosedByServer(t *testing.T) {
	const rows, rowBytes = 200, 300
	s := newServer(t, newHome(t, rows, rowBytes))
	src, table := openWired(t, s, HTTPOptions{}, Options{})
	for row := range int32(5) {
		s.fetchRow(t, table, row)
		for w := range src.wires.all {
			w.link.Conn.(*net.TCPConn).CloseWrite() // the server closes, too
			if k, err := w.link.Conn.Read(make([]byte, 1)); k != 0 || err != io.EOF {
				t.Fatal(k, err)
			}
		}
	}
}

// Close and the watchdog end a call that nobody waits for.
func TestUnansweredCall(t *testing.T) {
	const rows, rowBytes = 200, 300
	for _, how := range []string{"close", "watchdog"} {
		t.Run(how, func(t *testing.T) {
			s := newServer(t, newHome(t, rows, rowBytes))
			o := Options{}
			if how == "watchdog" {
				o.Timeout = 10 * slowTimeout
			}
			src, table := openWired(t, s, HTTPOptions{Timeout: time.Minute}, o)
			s.fetchRow(t, table, 3)
			var asked atomic.Int32
			s.set(func(_ http.ResponseWriter, r *http.Request) bool {
				asked.Add(1)
				<-r.Context().Done()
				return true
			})
			f := table.Fetch([]int32{8})
			until(t, func() bool { return asked.Load() == 1 })
			if how == "close" {
				if err := table.Close(); err != nil {
					t.Error(err)
				}
				if err := f.Wait(ctx); !errors.Is(err, ErrClosed) {
					t.Errorf("error %v", err)
				}
			} else {
				until(t, func() bool { table.mu.Lock(); defer table.mu.Unlock(); return f.missing == 0 })
				if err := f.Wait(ctx); !errors.Is(err, ErrSlow) {
					t.Errorf("error %v", err)
				}
				s.set(nil)
				s.fetchRow(t, table, 8)
				if table.hangs() || len(src.wires.all) != 1 {
					t.Errorf("it hangs, %d connections", len(src.wires.all))
				}
			}
			f.Release()
		})
	}
}

// TestWireOverTLS: reading without waiting goes through TLS as well.
func TestWireOverTLS(t *testing.T) {
	if !canTryRead {
		t.Skip("no wires on this system")
	}
	h := newHome(t, 100, 9000)
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		(&server{h: h}).serve(w, r, `"v1"`)
	}))
	defer srv.Close()
	spec := h.spec
	spec.Path, spec.URL = "", srv.URL
	spec.HTTP.Transport = srv.Client().Transport
	r, err := openHTTP(spec)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	r.spec.HTTP.Transport = nil // only such requests go over wires
	r.openWires()
	r.wires.tls.RootCAs = srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	w, err := r.dial(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if v := w.conn.(*tls.Conn).ConnectionState(); v.NegotiatedProtocol == "h2" {
		t.Error("HTTP/2")
	}
	for row := range int64(20) {
		off, tries := h.spec.Offset+row*9000, 0
		if err := w.send(r.wires.head, off, 9000); err != nil {
			t.Fatal(err)
		}
		until(t, func() bool {
			err := w.receive(r, off, 9000, false)
			if tries++; err != nil && !errors.Is(err, errNotYet) {
				t.Fatal(err)
			}
			return err == nil
		})
		if !bytes.Equal(w.content(), h.data[off:off+9000]) {
			t.Errorf("row %d: other bytes, after %d tries", row, tries)
		}
	}
	r.wires.put(w)
	p := make([]byte, 9000)
	if done, err := r.quick(context.Background(), p, h.spec.Offset); !done || err != nil || !bytes.Equal(p, h.data[h.spec.Offset:h.spec.Offset+9000]) {
		t.Error(done, err)
	}
}

// FuzzPlainAnswer: what a wire takes, net/http and check take.
func FuzzPlainAnswer(f *testing.F) {
	const head = "HTTP/1.1 206 Partial Content\r\nContent-Length: 3\r\nContent-Range: bytes 7-9/100\r\nETag: \"a\"\r\n"
	for _, extra := range []string{"", "Content-Length: 4\r\n", "Connection: close\r\n", "x:\r\n y\r\n", "Transfer-Encoding: chunked\r\n", "etag: \"b\"\r\n", "Content-Length : 3\r\n"} {
		f.Add([]byte(head + extra))
		f.Add([]byte(extra + head))
	}
	f.Fuzz(func(t *testing.T, head []byte) {
		r := &remote{total: 100, etag: `"a"`}
		if bytes.Contains(head, []byte("\r\n\r\n")) || !bytes.HasSuffix(head, []byte("\r\n")) || !r.plainAnswer(head, 7, 3) {
			return
		}
		resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(append(head, "\r\nabc"...))), nil)
		if err != nil {
			if strings.Contains(err.Error(), "malformed") { // a name or a value with odd characters
				return
			}
			t.Fatalf("%q: %v", head, err)
		}
		if err := r.check(context.Background(), resp, 7, 3); err != nil {
			t.Fatalf("%q: %v", head, err)
		}
		if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "abc" {
			t.Fatalf("%q: body %q, %v", head, body, fmt.Sprint(err))
		}
	})
}
