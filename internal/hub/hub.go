package hub

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// The services that names refer to when nothing else is configured.
const (
	defaultHFEndpoint     = "https://huggingface.co"
	defaultOllamaRegistry = "https://registry.ollama.ai"
)

// Environment variables that stand in for options.
const (
	DirVariable      = "PLUME_MODELS"    // Options.Dir
	HFVariable       = "HF_ENDPOINT"     // Options.HFEndpoint
	HFTokenVariable  = "HF_TOKEN"        // sent to the Hugging Face endpoint only
	RegistryVariable = "OLLAMA_REGISTRY" // Options.OllamaRegistry
)

// Errors that callers tell apart with errors.Is.
var (
	// ErrName marks a name that is none of the forms that Pull knows.
	ErrName = errors.New("not a model name")

	// ErrNotFound marks a model, revision or choice that is not there: not at
	// the source for Pull, not in the store for everything else.
	ErrNotFound = errors.New("not found")

	// ErrDenied marks what the source gives only to people it knows.
	ErrDenied = errors.New("access denied")

	// ErrBusy marks a name that somebody else is pulling or removing.
	ErrBusy = errors.New("in use")

	// ErrSpace marks a disk without enough room.
	ErrSpace = errors.New("not enough disk space")

	// ErrDamaged marks files that are not what the source or the manifest says.
	ErrDamaged = errors.New("damaged")

	// ErrUnsupported marks a source that holds nothing plume could use.
	ErrUnsupported = errors.New("nothing that can be used")
)

// Options sets up a Hub. The zero value is the default.
type Options struct {
	// Dir is the store. "": $PLUME_MODELS, or plume/models in the user's cache folder.
	Dir string
	// HFEndpoint and OllamaRegistry are base URLs. "": $HF_ENDPOINT and
	// $OLLAMA_REGISTRY, or the public services.
	HFEndpoint, OllamaRegistry string
	// Token is sent, as a bearer token, to the origin that a pulled name refers
	// to. "": $HF_TOKEN, where that origin is the Hugging Face endpoint.
	Token string
	// Connections is the number of requests at once for one pull; 0: 8, at most 64.
	Connections int
	// Stall is how long a connection may bring nothing before it is given up; 0: 30 s.
	Stall time.Duration
	// Describe looks at a model whose files are whole, before it is listed: typ
	// goes into the manifest, note to the events. An error refuses the model,
	// and its files are deleted. nil: everything is accepted.
	Describe func(path string) (typ, note string, err error)
	// UserAgent names the program to servers. "": "plume".
	UserAgent string
}

// Hub is a store of models and the way into it.
type Hub struct {
	o        Options
	hf       *url.URL
	registry *url.URL
	hfToken  string

	// Fixed sizes and the world outside, for tests to change.
	chunkBytes int64
	spanChunks int
	free       func(dir string) (int64, error)
	sleep      func(ctx context.Context, d time.Duration) error
	fault      func(file string, off int64) error // before a write; nil: none
}

// New checks the options. The store is not touched: it appears with the first pull.
func New(o Options) (*Hub, error) {
	h := &Hub{chunkBytes: 4 << 20, spanChunks: 16, free: freeBytes, sleep: sleep}
	var err error
	if h.hf, err = endpoint(HFVariable, o.HFEndpoint, defaultHFEndpoint); err != nil {
		return nil, err
	}
	if h.registry, err = endpoint(RegistryVariable, o.OllamaRegistry, defaultOllamaRegistry); err != nil {
		return nil, err
	}
	if o.Dir == "" {
		o.Dir = os.Getenv(DirVariable)
	}
	if o.Dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("find a folder for models: %w; set %s", err, DirVariable)
		}
		o.Dir = filepath.Join(cache, "plume", "models")
	}
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return nil, err
	}
	if o.Connections < 0 || o.Connections > 64 {
		return nil, fmt.Errorf("%d connections, want 1 to 64", o.Connections)
	}
	if o.Connections == 0 {
		o.Connections = 8
	}
	if o.Stall <= 0 {
		o.Stall = 30 * time.Second
	}
	if o.UserAgent == "" {
		o.UserAgent = "plume"
	}
	h.hfToken = strings.TrimSpace(os.Getenv(HFTokenVariable))
	o.Token = strings.TrimSpace(o.Token)
	for _, token := range []string{o.Token, h.hfToken} {
		if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return nil, errors.New("the token holds characters that no token has")
		}
	}
	h.o = o
	return h, nil
}

// endpoint reads a base URL: the option, the environment, or the default.
func endpoint(variable, option, standard string) (*url.URL, error) {
	text := option
	if text == "" {
		text = os.Getenv(variable)
	}
	if text == "" {
		text = standard
	}
	u, err := url.Parse(strings.TrimRight(text, "/"))
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("endpoint %q (%s), want a URL such as %s", text, variable, standard)
	}
	return u, nil
}

// Dir returns the folder of the store.
func (h *Hub) Dir() string { return h.o.Dir }

// client makes the connections of one pull from base.
func (h *Hub) client(base *url.URL, notify func(what string, err error, wait time.Duration)) (*client, error) {
	token := h.o.Token
	if token == "" && origin(base) == origin(h.hf) {
		token = h.hfToken
	}
	if token != "" && base.Scheme != "https" && !loopback(base.Hostname()) {
		return nil, fmt.Errorf("send a token to %s: the connection is not encrypted; use https, or no token", base.Host)
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DisableCompression = true
	t.MaxIdleConnsPerHost = h.o.Connections
	// HTTP/2 would send all ranges through one connection, and one lost packet
	// would hold up all of them.
	t.ForceAttemptHTTP2 = false
	t.Protocols = new(http.Protocols)
	t.Protocols.SetHTTP1(true)
	return &client{
		http: &http.Client{
			Transport:     &courier{base: t, origin: origin(base), token: token, agent: h.o.UserAgent},
			CheckRedirect: checkRedirect,
		},
		hasToken: token != "",
		stall:    h.o.Stall,
		sleep:    h.sleep,
		notify:   notify,
	}, nil
}

// sleep waits, or returns the context's error.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
