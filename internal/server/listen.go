package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// ListenOptions say how a Server meets the network. The zero value of a limit
// is a safe default.
type ListenOptions struct {
	Certificate *Certificate  // for TLS, 1.2 or later; nil: plain HTTP
	Connections int           // most at once; more wait to be accepted; 0: 1024
	Grace       time.Duration // for running answers when the server ends; 0: 30 s
}

// Serve answers on l until ctx ends. Then it takes no more connections, lets
// running answers finish for as long as Grace, cuts off what is left, and
// returns nil. It closes l.
func (s *Server) Serve(ctx context.Context, l net.Listener, o ListenOptions) error {
	if o.Connections == 0 {
		o.Connections = 1024
	}
	if o.Grace == 0 {
		o.Grace = 30 * time.Second
	}
	answers, cut := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cut(nil)
	h := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second, // a client that dribbles its header is not waited for
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		BaseContext:       func(net.Listener) context.Context { return answers },
		ErrorLog:          slog.NewLogLogger(s.opt.Log.Handler(), slog.LevelDebug),
	}
	if o.Certificate != nil {
		h.TLSConfig = o.Certificate.config(s.opt.Log)
	}
	ended := make(chan error, 1)
	go func() {
		bounded := newBoundedListener(l, o.Connections)
		if o.Certificate != nil {
			ended <- h.ServeTLS(bounded, "", "")
		} else {
			ended <- h.Serve(bounded)
		}
	}()
	select {
	case err := <-ended:
		return fmt.Errorf("serve on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	s.Drain()
	s.opt.Log.Info("shutting down", "grace", o.Grace)
	grace, cancel := context.WithTimeout(answers, o.Grace)
	defer cancel()
	if err := h.Shutdown(grace); err != nil {
		s.opt.Log.Warn("answers cut off", "after", o.Grace)
		cut(errShutdown)
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
		defer cancel()
		if h.Shutdown(last) != nil {
			h.Close()
		}
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// errShutdown is why answers are cut off that the grace was too short for.
var errShutdown = &apiError{kind: unavailable, code: "shutting_down", text: "the server is shutting down", retry: retryAfter}

// cutOff returns errShutdown where err is how work under ctx ended because the server
// cut it off, and err elsewhere.
func cutOff(ctx context.Context, err error) error {
	if errors.Is(err, context.Canceled) && errors.Is(context.Cause(ctx), errShutdown) {
		return errShutdown
	}
	return err
}

// lastWords is how long clients whose answers were cut off have to be told so.
const lastWords = 2 * time.Second

// clientGone reports whether nobody reads the answer to r any more.
func clientGone(r *http.Request) bool {
	return r.Context().Err() != nil && !errors.Is(context.Cause(r.Context()), errShutdown)
}

// boundedListener accepts a connection only while fewer than its limit are open.
type boundedListener struct {
	net.Listener
	slots chan struct{}
	done  chan struct{}
	once  sync.Once
}

func newBoundedListener(l net.Listener, n int) *boundedListener {
	return &boundedListener{Listener: l, slots: make(chan struct{}, n), done: make(chan struct{})}
}

// Accept implements net.Listener.
func (b *boundedListener) Accept() (net.Conn, error) {
	select {
	case b.slots <- struct{}{}:
	case <-b.done:
		return nil, net.ErrClosed
	}
	c, err := b.Listener.Accept()
	if err != nil {
		<-b.slots
		return nil, err
	}
	return &boundedConn{Conn: c, release: func() { <-b.slots }}, nil
}

// Close implements net.Listener.
func (b *boundedListener) Close() error {
	b.once.Do(func() { close(b.done) })
	return b.Listener.Close()
}

// boundedConn gives its slot back when it closes.
type boundedConn struct {
	net.Conn
	once    sync.Once
	release func()
}

// Close implements net.Conn.
func (c *boundedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.release)
	return err
}
