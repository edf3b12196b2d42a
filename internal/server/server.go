package server

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/plume-run/plume"
)

// Options say what is served, to whom and within which limits. Engine and Model
// are required; the zero value of everything else is a safe default.
type Options struct {
	Engine  Engine
	Model   Model
	Aliases []string // other names clients may use for the model; "*" is any
	Version string   // of the program

	// Figures returns what the live panel and /metrics show beside Load; nil: nothing.
	Figures func() plume.Stats
	// Pull fetches a model for /api/pull; nil: refused. It ends when ctx does.
	Pull func(ctx context.Context, name string, progress func(PullProgress)) error

	Keys        []string // API keys; none: anybody may ask
	OpenMetrics bool     // /metrics needs no key: what scrapes it often cannot send one
	Hosts       []string // names in the Host header beside localhost and addresses; "*" is any
	CORSOrigins []string // web pages of other origins that may ask; "*" is any

	MaxBody       int64         // bytes of one request; 0: 4 MiB
	MaxBodies     int64         // bytes of all requests being read or answered; 0: 16 MiB
	MaxPrompt     int           // tokens of one prompt; 0: what the context holds
	MaxTokens     int           // most tokens of one answer, also where the client asks for more; 0: what the context holds
	MaxChoices    int           // answers to one request (n); 0: 8
	ReadTimeout   time.Duration // for one request's body; 0: 30 s
	WriteTimeout  time.Duration // for one piece of an answer; 0: 30 s
	AnswerTimeout time.Duration // for one whole answer, the queue included; 0: none
	KeepAlive     time.Duration // longest silence of a stream; 0: 15 s

	Log        *slog.Logger // nil: nothing is logged
	LogPrompts bool         // log request bodies, which hold what people wrote
}

func (o Options) withDefaults() Options {
	o.MaxBody = cmp.Or(o.MaxBody, 4<<20)
	o.MaxBodies = max(cmp.Or(o.MaxBodies, 16<<20), o.MaxBody)
	o.MaxChoices = cmp.Or(o.MaxChoices, 8)
	o.ReadTimeout = cmp.Or(o.ReadTimeout, 30*time.Second)
	o.WriteTimeout = cmp.Or(o.WriteTimeout, 30*time.Second)
	o.KeepAlive = cmp.Or(o.KeepAlive, 15*time.Second)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

func (o Options) validate() error {
	switch {
	case o.Engine == nil || o.Model.ID == "":
		return errors.New("start server: no engine or no model name")
	case o.Model.Context < 1:
		return errors.New("start server: a model without context")
	case slices.Contains(o.Keys, ""):
		return errors.New("start server: empty API key")
	case o.MaxBody < 1 || o.MaxChoices < 1 || o.MaxPrompt < 0 || o.MaxTokens < 0:
		return errors.New("start server: negative limit")
	}
	return nil
}

// Server answers requests for one model. It is an http.Handler, safe for
// concurrent use.
type Server struct {
	opt     Options
	engine  Engine
	metrics *metrics
	handler http.Handler
	bodies  atomic.Int64 // bytes of request bodies in memory
	closing atomic.Bool
	begun   time.Time

	now   func() time.Time           // replaced by tests
	newID func(prefix string) string // replaced by tests
}

// New returns a server that answers with o.Engine.
func New(o Options) (*Server, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	s := &Server{opt: o, engine: o.Engine, begun: time.Now(), now: time.Now, newID: randomID}
	s.metrics = newMetrics(s)
	s.handler = s.guard(s.routes())
	return s, nil
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Drain makes /ready say no, so that load balancers look elsewhere. Requests
// are still answered.
func (s *Server) Drain() { s.closing.Store(true) }

// methods are the handlers of one path.
type methods map[string]http.HandlerFunc

// routes is the table of all paths.
func (s *Server) routes() http.Handler {
	table := map[string]methods{
		"/v1/models":                {"GET": s.listModels},
		"/v1/models/{id...}":        {"GET": s.showModel},
		"/v1/chat/completions":      {"POST": s.post(openai, s.decodeChat)},
		"/v1/completions":           {"POST": s.post(openai, s.decodeCompletion)},
		"/v1/responses":             {"POST": s.post(openai, s.decodeResponse)},
		"/v1/messages":              {"POST": s.post(anthropic, s.decodeMessages)},
		"/v1/messages/count_tokens": {"POST": s.countTokens},
		"/api/chat":                 {"POST": s.post(ollama, s.decodeOllamaChat)},
		"/api/generate":             {"POST": s.post(ollama, s.decodeOllamaGenerate)},
		"/api/tags":                 {"GET": s.ollamaTags},
		"/api/ps":                   {"GET": s.ollamaRunning},
		"/api/show":                 {"POST": s.ollamaShow},
		"/api/version":              {"GET": s.ollamaVersion},
		"/api/pull":                 {"POST": s.ollamaPull},
		"/api/plume/stats":          {"GET": s.stats},
		"/health":                   {"GET": s.health},
		"/ready":                    {"GET": s.ready},
		"/metrics":                  {"GET": s.metrics.serve},
	}
	for path, file := range pageFiles {
		table[path] = methods{"GET": s.page(file)}
	}
	mux := http.NewServeMux()
	for path, m := range table {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			recordOf(r).route = strings.TrimSuffix(strings.TrimSuffix(path, "{$}"), "/{id...}")
			m.serve(w, r)
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		dialectOf(r).refuse(w, r, &apiError{kind: notFound, code: "unknown_url", text: "no such path: " + r.URL.Path})
	})
	return mux
}

func (m methods) serve(w http.ResponseWriter, r *http.Request) {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet // net/http leaves the body out
	}
	if h := m[method]; h != nil {
		h(w, r)
		return
	}
	var allow []string
	for name := range m {
		allow = append(allow, name)
	}
	slices.Sort(allow)
	w.Header().Set("Allow", strings.Join(allow, ", "))
	dialectOf(r).refuse(w, r, &apiError{kind: badMethod, text: r.Method + " is not possible here, want " + strings.Join(allow, " or ")})
}

// post makes a handler of a decoder.
func (s *Server) post(d *dialect, decode func(body []byte) (*job, *apiError)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, release, e := s.readBody(w, r)
		if e != nil {
			d.refuse(w, r, e)
			return
		}
		defer release()
		j, e := decode(body)
		if e == nil {
			e = s.admit(j)
		}
		if e != nil {
			d.refuse(w, r, e)
			return
		}
		s.answer(w, r, d, j)
	}
}

// admit applies the limits that all dialects share.
func (s *Server) admit(j *job) *apiError {
	if s.closing.Load() {
		return errShutdown
	}
	for i := range j.requests {
		r := &j.requests[i]
		if limit := s.opt.MaxTokens; limit > 0 && (r.MaxTokens == 0 || r.MaxTokens > limit) {
			r.MaxTokens = limit
		}
		if s.opt.MaxPrompt == 0 {
			continue
		}
		plain := *r
		plain.Logprobs = 0
		n, err := s.engine.CountTokens(plain)
		if err != nil {
			return classify(err)
		}
		if n > s.opt.MaxPrompt {
			e := refuse("", "the prompt has %d tokens, this server takes at most %d", n, s.opt.MaxPrompt)
			e.code = "context_length_exceeded"
			return e
		}
	}
	return nil
}

// maxName is the most bytes of a model's name.
const maxName = 256

// named checks the name of the model that a client asks for and returns the one
// to answer with. No name is the model that is served.
func (s *Server) named(name string) (string, *apiError) {
	id := s.opt.Model.ID
	if name == "" {
		return id, nil
	}
	if len(name) > maxName { // answers repeat it, streams in every piece
		return "", refuse("model", "a name of %d bytes, want at most %d", len(name), maxName)
	}
	plain := strings.TrimSuffix(name, ":latest")
	if plain == id || name == id || slices.Contains(s.opt.Aliases, plain) || slices.Contains(s.opt.Aliases, name) || slices.Contains(s.opt.Aliases, "*") {
		return name, nil
	}
	return "", &apiError{kind: notFound, param: "model", code: "model_not_found", text: "model " + quote(name) + " is not served here; " + quote(id) + " is"}
}

// quote prints a name from outside, cut to a sensible length.
func quote(s string) string { return `"` + clip(s, maxQuoted) + `"` }

// randomID returns an id that nobody can guess.
func randomID(prefix string) string { return prefix + rand.Text() }
