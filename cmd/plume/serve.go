package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/spf13/cobra"

	"github.com/plume-run/plume"
	"github.com/plume-run/plume/internal/server"
)

const serveLong = `Answer requests over HTTP in the dialects that people have clients for:

  OpenAI      http://ADDRESS/v1          chat/completions, completions, responses, models
  Anthropic   http://ADDRESS             v1/messages, v1/messages/count_tokens
  Ollama      http://ADDRESS             api/chat, api/generate, api/tags, api/show, …

A browser finds a page to chat with there. /health and /ready are for probes,
/metrics for Prometheus.

Without --listen only this machine can connect. Whoever opens the server to a
network should set --api-key. Ctrl-C or SIGTERM ends it when the running answers
are finished; a second one ends it at once.

Many requests are answered at once, each with a KV cache of its own; the weights are
read once per step for all of them. --ram bounds everything together; where it leaves no
room for response formats and tools, the server says so when it starts.`

// serveFlags are the flags of `plume serve`.
type serveFlags struct {
	model string
	open  modelFlags
	o     server.Options
	net   server.ListenOptions
	serve plume.ServiceOptions

	listen   string
	name     string
	keyFile  string
	tlsCert  string
	tlsKey   string
	maxBody  sizeFlag
	logJSON  bool
	logLevel string
	queue    int
	prefix   cacheFlag

	allowPull bool
}

func newServe() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve [-m MODEL]",
		Short: "Answer requests over HTTP",
		Long:  serveLong,
		Example: `  plume serve
  plume serve -m gemma-4-e2b-q4_0.gguf --ram 3GiB
  plume serve -m e2b.gguf --listen 0.0.0.0:8080 --api-key-file keys.txt
  curl http://127.0.0.1:8080/v1/chat/completions -d '{"messages":[{"role":"user","content":"Hi"}]}'`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	f.addFlags(cmd)
	f.open.add(cmd, "f16")
	return cmd
}

func (f *serveFlags) addFlags(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVarP(&f.model, "model", "m", "demo", "GGUF file, folder with config.json, or pulled model")
	fs.StringVar(&f.name, "name", "", "`name` that clients use for the model (default: from the file's name)")
	fs.StringArrayVar(&f.o.Aliases, "alias", nil, "another `name` for it, \"*\" for any (may be repeated)")
	fs.StringVarP(&f.listen, "listen", "l", "127.0.0.1:8080", "`address` and port; port 0 picks a free one")

	fs.StringArrayVar(&f.o.Keys, "api-key", nil, "`key` that requests must carry (may be repeated; others may see it in the list\nof processes, which $"+keyVariable+" and --api-key-file avoid)")
	fs.StringVar(&f.keyFile, "api-key-file", "", "`file` with keys, one a line")
	fs.BoolVar(&f.o.OpenMetrics, "open-metrics", false, "answer /metrics without a key")
	fs.StringArrayVar(&f.o.Hosts, "host", nil, "`name` by which clients reach this server, beside localhost and addresses; \"*\" for\nany (may be repeated)")
	fs.StringArrayVar(&f.o.CORSOrigins, "cors-origin", nil, "`origin` of web pages that may ask, as https://example.com (may be repeated)")
	fs.StringVar(&f.tlsCert, "tls-cert", "", "`file` with the certificate and its chain, PEM, for https (TLS 1.2 or later); read\nagain when it changes")
	fs.StringVar(&f.tlsKey, "tls-key", "", "`file` with its key, PEM")

	fs.BoolVar(&f.allowPull, "allow-pull", false, "let clients download models (api/pull)")

	fs.IntVar(&f.open.context, "ctx", 0, "tokens of one request, answer included (default: the model's, at most 4096)")
	fs.IntVar(&f.open.chunk, "chunk", 0, "prompt tokens per step (default 256)")
	fs.IntVar(&f.serve.Sequences, "sequences", 0, "answers computed together (default: as many as memory allows, at most 8)")
	fs.BoolVar(&f.serve.NoDraft, "no-draft", false, "never guess tokens from repetitions in the text, which an answer that runs alone\ndoes (a matter of speed only)")
	fs.IntVar(&f.queue, "queue", 64, "requests that may wait for their turn")

	fs.Var(&f.prefix, "prefix-cache", "memory for the computed beginnings of earlier requests, 0 for none (default: 256MiB,\nor what memory allows)")
	fs.StringVar(&f.serve.PrefixCacheDir, "prefix-dir", "", "`folder` in which they survive a restart; what users have written can be read from\nthe file in it")

	f.maxBody = 4 << 20
	fs.Var(&f.maxBody, "max-body", "largest request")
	fs.IntVar(&f.o.MaxPrompt, "max-prompt", 0, "most tokens of a prompt (default: what the context holds)")
	fs.IntVar(&f.o.MaxTokens, "max-tokens", 0, "most tokens of an answer, whatever is asked for (default: what the context holds)")
	fs.IntVar(&f.o.MaxChoices, "max-choices", 8, "most answers to one request")
	fs.IntVar(&f.net.Connections, "max-connections", 1024, "connections at once")
	fs.DurationVar(&f.o.AnswerTimeout, "timeout", 30*time.Minute, "for one answer, its time in the queue included; 0: none")
	fs.DurationVar(&f.o.ReadTimeout, "read-timeout", 30*time.Second, "for the body of one request")
	fs.DurationVar(&f.o.WriteTimeout, "write-timeout", 30*time.Second, "for a client to take one piece of an answer")
	fs.DurationVar(&f.o.KeepAlive, "keep-alive", 15*time.Second, "longest silence of a stream, before it is filled with a comment")
	fs.DurationVar(&f.net.Grace, "grace", 30*time.Second, "for running answers when the server ends")

	fs.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	fs.BoolVar(&f.logJSON, "log-json", false, "log JSON objects")
	fs.BoolVar(&f.o.LogPrompts, "log-prompts", false, "log whole requests, with what people wrote")
	complete(cmd, "log-level", "debug", "info", "warn", "error")
}

// run serves until a signal comes.
func (f *serveFlags) run(cmd *cobra.Command) error {
	if err := f.finish(cmd); err != nil {
		return usageError{err, cmd}
	}
	ctx, stop := interruptible(cmd.Context())
	defer stop()
	// Before the model is loaded: a port that is taken must not cost a minute, nor
	// must a certificate that cannot be read.
	if f.tlsCert != "" {
		c, err := server.LoadCertificate(f.tlsCert, f.tlsKey)
		if err != nil {
			return err
		}
		f.net.Certificate = c
	}
	l, err := net.Listen("tcp", f.listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	defer l.Close()
	f.open.formats = true
	m, err := f.open.open(cmd, f.model)
	if err != nil {
		return err
	}
	defer m.Close()
	service, err := m.NewService(f.serve)
	if err != nil {
		return err
	}
	err = f.answer(ctx, cmd, l, m, service)
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if failed := service.Close(closing); failed != nil && !errors.Is(failed, context.DeadlineExceeded) {
		err = errors.Join(err, failed)
	}
	return err
}

// answer serves on l.
func (f *serveFlags) answer(ctx context.Context, cmd *cobra.Command, l net.Listener, m *plume.Model, service *plume.Service) error {
	o := f.o
	o.Engine = serveEngine{service, m}
	o.Version = version()
	o.Figures = m.Stats
	var err error
	if o.Model, err = servedModel(m, cmp.Or(f.name, modelID(f.model)), service.Options().Context); err != nil {
		return err
	}
	if err := f.hub(&o); err != nil {
		return err
	}
	s, err := server.New(o)
	if err != nil {
		return usageError{err, cmd}
	}
	var notes []string
	if note := service.Stats().Prefix.Note; note != "" {
		notes = append(notes, note)
	}
	if p := m.Plan(); p.NoFormats() {
		notes = append(notes, p.Formats()+"; a larger --ram mends it")
	}
	f.greet(cmd.ErrOrStderr(), l, o.Model, service.Options(), notes)
	return s.Serve(ctx, l, f.net)
}

// greet says where the server is, what it serves, and how to try it.
func (f *serveFlags) greet(w io.Writer, l net.Listener, m server.Model, o plume.ServiceOptions, notes []string) {
	scheme := "http"
	if f.net.Certificate != nil {
		scheme = "https"
	}
	host, port, _ := net.SplitHostPort(l.Addr().String())
	ip := net.ParseIP(host)
	shown := host
	if ip.IsUnspecified() {
		shown = "localhost"
	}
	url := scheme + "://" + net.JoinHostPort(shown, port)
	key := ""
	if len(f.o.Keys) > 0 {
		key = " -H 'Authorization: Bearer KEY'"
	}
	fmt.Fprintf(w, "plume: serving %s on %s (%d answers at once, %d tokens each)\n", m.ID, url, o.Sequences, o.Context)
	fmt.Fprintf(w, "       open it in a browser, or try:\n")
	fmt.Fprintf(w, "       curl %s/v1/chat/completions%s -d '{\"messages\":[{\"role\":\"user\",\"content\":\"Tell me a story about a fox.\"}]}'\n", url, key)
	for _, note := range notes {
		fmt.Fprintln(w, "plume:", note)
	}
	if !ip.IsLoopback() && len(f.o.Keys) == 0 {
		fmt.Fprintln(w, "plume: anybody who reaches this address can use it; --api-key asks for a key")
	}
}
