package server

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// guard wraps next in everything that happens to every request: an id, the
// log, recovery from bugs, and the question who may ask.
func (s *Server) guard(next http.Handler) http.Handler {
	keys := hashes(s.opt.Keys)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := &record{id: randomID("req_"), begun: time.Now(), route: "other"}
		r = r.WithContext(contextWith(r, rec))
		out := &watched{ResponseWriter: w}
		out.Header().Set("X-Request-Id", rec.id)
		out.Header().Set("Request-Id", rec.id) // where Anthropic's clients look
		out.Header().Set("X-Content-Type-Options", "nosniff")
		s.deadline(out)
		defer s.finish(out, r, rec)
		if e := s.mayAsk(out, r, keys); e != nil {
			dialectOf(r).refuse(out, r, e)
			return
		}
		if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
			out.WriteHeader(http.StatusNoContent)
			return
		}
		next.ServeHTTP(out, r)
	})
}

// finish logs and counts a request, and recovers from bugs.
func (s *Server) finish(w *watched, r *http.Request, rec *record) {
	bug := recover()
	if bug != nil && bug != http.ErrAbortHandler {
		s.opt.Log.Error("bug", "id", rec.id, "panic", bug, "stack", string(debug.Stack()))
		if w.status == 0 {
			dialectOf(r).refuse(w, r, errBug)
		}
	}
	status := w.status
	if status == 0 {
		status = statusGone
	}
	s.metrics.request(rec.route, status)
	rec.log(s.opt.Log, r, status)
	if status == statusGone || bug != nil && status == http.StatusOK {
		panic(http.ErrAbortHandler) // no empty 200, and no answer that is cut off and looks whole
	}
}

// mayAsk checks where a request comes from and who sends it.
func (s *Server) mayAsk(w http.ResponseWriter, r *http.Request, keys [][sha256.Size]byte) *apiError {
	if !s.hostAllowed(r.Host) {
		return &apiError{kind: forbidden, code: "host_not_allowed", text: "host " + quote(r.Host) + " is not one of this server's names (start it with --host NAME to allow it)"}
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		w.Header().Add("Vary", "Origin")
		switch {
		case sameOrigin(origin, r.Host):
		case slices.Contains(s.opt.CORSOrigins, origin), slices.Contains(s.opt.CORSOrigins, "*"):
			s.allowOrigin(w, r, origin)
		default:
			return &apiError{kind: forbidden, code: "origin_not_allowed", text: "pages of " + quote(origin) + " may not ask this server (start it with --cors-origin ORIGIN to allow it)"}
		}
	}
	preflight := r.Method == http.MethodOptions // browsers send no key with it
	if len(keys) == 0 || open(r.URL.Path) || preflight || s.opt.OpenMetrics && r.URL.Path == "/metrics" {
		return nil
	}
	if !knownKey(r, keys) {
		return &apiError{kind: unauthorized, code: "invalid_api_key", text: "a valid API key is needed, as 'Authorization: Bearer KEY' or 'x-api-key: KEY'"}
	}
	return nil
}

// hostAllowed is the defence against DNS rebinding: a page whose name was
// pointed at this machine sends its own name here. Addresses cannot be
// rebound.
func (s *Server) hostAllowed(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.ToLower(strings.TrimSuffix(strings.Trim(name, "[]"), "."))
	if name == "localhost" || strings.HasSuffix(name, ".localhost") || net.ParseIP(strings.SplitN(name, "%", 2)[0]) != nil {
		return true
	}
	return slices.ContainsFunc(s.opt.Hosts, func(h string) bool { return h == "*" || strings.EqualFold(h, name) })
}

// sameOrigin reports whether a page came from the server it asks.
func sameOrigin(origin, host string) bool {
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, host)
}

// allowOrigin answers the questions of a browser about a foreign page.
func (s *Server) allowOrigin(w http.ResponseWriter, r *http.Request, origin string) {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Expose-Headers", "X-Request-Id, Retry-After")
	if r.Method != http.MethodOptions {
		return
	}
	h.Set("Access-Control-Allow-Methods", "GET, POST, OPTIONS")
	h.Set("Access-Control-Max-Age", "600")
	if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" {
		h.Set("Access-Control-Allow-Headers", asked)
		h.Add("Vary", "Access-Control-Request-Headers")
	}
}

// open reports whether a path needs no key: probes, and the page's own files,
// which hold no secrets.
func open(path string) bool {
	_, page := pageFiles[path]
	return page || path == "/" || path == "/health" || path == "/ready"
}

func hashes(keys []string) [][sha256.Size]byte {
	var out [][sha256.Size]byte
	for _, k := range keys {
		out = append(out, sha256.Sum256([]byte(k)))
	}
	return out
}

// knownKey compares the key of a request with all that are valid, in a time
// that does not depend on either.
func knownKey(r *http.Request, keys [][sha256.Size]byte) bool {
	given := r.Header.Get("X-Api-Key")
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		given = strings.TrimSpace(token)
	}
	sum := sha256.Sum256([]byte(given))
	known := 0
	for _, k := range keys {
		known |= subtle.ConstantTimeCompare(sum[:], k[:])
	}
	return known == 1
}
