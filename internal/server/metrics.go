package server

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/plume-run/plume"
)

// metrics counts requests and answers, and shows the engine's own counters
// when it is asked. Each Server has its own registry.
type metrics struct {
	http.Handler
	requests   *prometheus.CounterVec
	answers    *prometheus.CounterVec
	prompt     prometheus.Counter
	cached     prometheus.Counter
	generated  prometheus.Counter
	firstToken prometheus.Histogram
	perToken   prometheus.Histogram
	whole      prometheus.Histogram
}

// Buckets span from a small model on a large machine to the reverse.
var (
	secondsBuckets  = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300}
	perTokenBuckets = []float64{.001, .0025, .005, .01, .025, .05, .075, .1, .15, .2, .3, .5, 1, 2.5}
)

func newMetrics(s *Server) *metrics {
	r := prometheus.NewRegistry()
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		r.MustRegister(c)
		return c
	}
	vector := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		r.MustRegister(c)
		return c
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
		r.MustRegister(h)
		return h
	}
	m := &metrics{
		requests:   vector("plume_http_requests_total", "Requests by route and status.", "route", "status"),
		answers:    vector("plume_answers_total", "Answers by how they ended.", "finish"),
		prompt:     counter("plume_prompt_tokens_total", "Tokens of prompts, cached ones included."),
		cached:     counter("plume_cached_tokens_total", "Tokens of prompts that had been computed before."),
		generated:  counter("plume_generated_tokens_total", "Tokens generated."),
		firstToken: histogram("plume_time_to_first_token_seconds", "From a request's admission to its first token, the queue included.", secondsBuckets),
		perToken:   histogram("plume_time_per_output_token_seconds", "Mean time of an answer's tokens behind the first.", perTokenBuckets),
		whole:      histogram("plume_answer_seconds", "From a request's admission to the end of its answer.", secondsBuckets),
	}
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), &engineCollector{s})
	m.Handler = promhttp.HandlerFor(r, promhttp.HandlerOpts{})
	return m
}

func (m *metrics) serve(w http.ResponseWriter, r *http.Request) { m.ServeHTTP(w, r) }

// request counts a finished request.
func (m *metrics) request(route string, status int) {
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
}

// watch times one answer.
func (m *metrics) watch() *watch { return &watch{m: m, begun: time.Now()} }

// watch belongs to one answer and one goroutine.
type watch struct {
	m     *metrics
	begun time.Time
	first bool // the first token has come
}

func (w *watch) event(ev plume.Event) {
	if !w.first && ev.Kind != plume.EventDone && ev.Kind != 0 {
		w.first = true
		w.m.firstToken.Observe(time.Since(w.begun).Seconds())
	}
}

func (w *watch) done(res *plume.Result) {
	u := res.Usage
	w.m.answers.WithLabelValues(string(res.Finish)).Inc()
	w.m.prompt.Add(float64(u.Prompt))
	w.m.cached.Add(float64(u.Cached))
	w.m.generated.Add(float64(u.Generated))
	w.m.whole.Observe(time.Since(w.begun).Seconds())
	if u.Generated > 1 && res.Timings.Decode > 0 {
		w.m.perToken.Observe(res.Timings.Decode.Seconds() / float64(u.Generated-1))
	}
}
