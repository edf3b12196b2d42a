package server

import (
	"context"
	"math"
	"net/http"
	"time"
)

// answer computes j and writes what comes of it.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, d *dialect, j *job) {
	rec := recordOf(r)
	rec.model = j.model
	timeout := s.opt.AnswerTimeout
	if timeout == 0 {
		timeout = math.MaxInt64
	}
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	gone := make(chan struct{})
	events := s.run(ctx, gone, j, rec)
	defer func() {
		close(gone)
		cancel()
		for range events { // until the engine has let go
		}
	}()
	if j.stream != nil {
		s.streamed(w, r, d, j, events)
		return
	}
	answers, err := collect(events, len(j.requests))
	if err != nil {
		s.failed(w, r, d, err)
		return
	}
	s.deadline(w)
	writeJSON(w, http.StatusOK, j.whole(answers))
}

// streamed sends the answers while they come. The status is held back until
// something is known, so that a request that is refused gets a status that says
// so; but not for longer than KeepAlive, which proxies and clients would take
// for a dead server.
func (s *Server) streamed(w http.ResponseWriter, r *http.Request, d *dialect, j *job, events <-chan tagged) {
	out := newSink(w, s.opt.WriteTimeout)
	st := j.stream(out)
	begun := false
	begin := func() {
		if !begun {
			begun = true
			st.begin()
		}
	}
	idle := time.NewTicker(s.opt.KeepAlive)
	defer idle.Stop()
	for out.err == nil {
		select {
		case t, more := <-events:
			switch {
			case !more:
				begin()
				st.end()
				return
			case t.err != nil && !begun:
				s.failed(w, r, d, t.err)
				return
			case t.err != nil:
				if !clientGone(r) {
					st.fail(s.explain(r, t.err))
				}
				return
			}
			begin()
			st.event(t.choice, t.ev)
			idle.Reset(s.opt.KeepAlive)
		case <-idle.C:
			begin()
			st.ping()
		}
	}
	recordOf(r).fail(context.Canceled)
}

// failed answers with an error, unless nobody is there to read it.
func (s *Server) failed(w http.ResponseWriter, r *http.Request, d *dialect, err error) {
	if clientGone(r) {
		recordOf(r).gone()
		return
	}
	s.deadline(w)
	d.refuse(w, r, s.explain(r, err))
}

// explain turns err into what the client is told; the log gets all of it.
func (s *Server) explain(r *http.Request, err error) *apiError {
	err = cutOff(r.Context(), err)
	recordOf(r).fail(err)
	e := classify(err)
	if wait := s.engine.Stats().RetryAfter; e.kind == overloaded && wait > 0 {
		e.retry = min(wait, maxRetryAfter)
	}
	return e
}

// deadline bounds the time that the next write may take.
func (s *Server) deadline(w http.ResponseWriter) {
	if s.opt.WriteTimeout > 0 {
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.opt.WriteTimeout))
	}
}
