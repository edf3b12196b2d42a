package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/plume-run/plume"
	"github.com/plume-run/plume/internal/server"
)

// keyVariable names the environment variable with an API key.
const keyVariable = "PLUME_API_KEY"

// finish checks the flags and turns them into options.
func (f *serveFlags) finish(cmd *cobra.Command) error {
	if (f.tlsCert == "") != (f.tlsKey == "") {
		return errors.New("--tls-cert and --tls-key need each other")
	}
	if f.queue < 0 {
		return fmt.Errorf("--queue %d, want 0 or more", f.queue)
	}
	for _, limit := range []struct {
		flag string
		d    time.Duration
	}{{"read-timeout", f.o.ReadTimeout}, {"write-timeout", f.o.WriteTimeout}, {"keep-alive", f.o.KeepAlive}} {
		if limit.d <= 0 {
			return fmt.Errorf("--%s %v, want more than 0", limit.flag, limit.d)
		}
	}
	if f.serve.Queue = f.queue; f.queue == 0 {
		f.serve.Queue = -1 // 0 is the package's default
	}
	f.serve.Context = f.open.context
	f.serve.PrefixCacheBytes = int64(f.prefix)
	f.o.MaxBody = int64(f.maxBody)
	if err := f.keys(); err != nil {
		return err
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.logLevel)); err != nil {
		return fmt.Errorf("--log-level %q, want debug, info, warn or error", f.logLevel)
	}
	opt := &slog.HandlerOptions{Level: level}
	if f.logJSON {
		f.o.Log = slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), opt))
	} else {
		f.o.Log = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), opt))
	}
	return nil
}

// keys adds those of the environment and the file.
func (f *serveFlags) keys() error {
	if key := os.Getenv(keyVariable); key != "" {
		f.o.Keys = append(f.o.Keys, key)
	}
	if f.keyFile == "" {
		return nil
	}
	data, err := os.ReadFile(f.keyFile)
	if err != nil {
		return err
	}
	before := len(f.o.Keys)
	for line := range strings.Lines(string(data)) {
		if key := strings.TrimSpace(line); key != "" && !strings.HasPrefix(key, "#") {
			f.o.Keys = append(f.o.Keys, key)
		}
	}
	if len(f.o.Keys) == before {
		return fmt.Errorf("read %s: no keys in it", f.keyFile)
	}
	return nil
}

// serveEngine is a service that can also count.
type serveEngine struct {
	*plume.Service
	m *plume.Model
}

// CountTokens implements server.Engine.
func (e serveEngine) CountTokens(r plume.Request) (int, error) { return e.m.CountTokens(r) }

// servedModel describes an open model for clients.
func servedModel(m *plume.Model, name string, context int) (server.Model, error) {
	in, err := plume.Inspect(m.Path())
	if err != nil {
		return server.Model{}, err
	}
	info, err := os.Stat(m.Path())
	if err != nil {
		return server.Model{}, err
	}
	used := in.Bytes - in.TierBytes(plume.TierUnused)
	out := server.Model{
		ID: name, Family: "gemma4", Size: in.Name, Format: in.Format, Parameters: in.Parameters,
		Bytes: used, DiskBytes: onDisk(m, used, in.TierBytes(plume.TierDisk)), Modified: info.ModTime(),
		Context: context, Sampling: m.Sampling(),
		Tools: hasToken(m, "<|tool_call>"), Thinking: hasToken(m, "<|think|>"),
	}
	if len(in.Types) > 0 {
		out.Quantization = in.Types[0].Type
	}
	return out, nil
}

// onDisk returns how many of a model's bytes stay in the file: the table's,
// unless memory holds it, and those of weights that are read for every token.
func onDisk(m *plume.Model, used, table int64) int64 {
	dense := used - table
	if m.Options().PLE == "ram" {
		table = 0
	}
	// Packed weights differ a little in size from stored ones.
	if gap := dense - m.ResidentBytes(); gap > dense/20 {
		table += gap
	}
	return table
}

// hasToken reports whether the vocabulary has a special token of that text.
func hasToken(m *plume.Model, text string) bool {
	tok, err := m.Tokenizer()
	if err != nil {
		return false
	}
	ids := tok.Encode(text, true)
	if len(ids) != 1 {
		return false
	}
	piece, special := tok.Piece(ids[0])
	return special && piece == text
}

// modelID is the name that clients use for a model when nobody says: "demo", or
// the file's or folder's name without its ending.
func modelID(model string) string {
	if name := strings.TrimSuffix(filepath.Base(filepath.Clean(model)), ".gguf"); name != "." && name != string(filepath.Separator) {
		return name
	}
	return "model"
}

// hub lets clients pull models, where that is allowed.
func (f *serveFlags) hub(o *server.Options) error {
	if !f.allowPull {
		return nil
	}
	h, err := plume.NewHub(plume.HubOptions{UserAgent: "plume/" + version()})
	if err != nil {
		return err
	}
	o.Pull = func(ctx context.Context, name string, progress func(server.PullProgress)) error {
		_, err := h.Pull(ctx, name, func(e plume.HubEvent) {
			status := "pulling"
			if e.Kind != plume.HubProgress {
				status = strings.TrimSpace(string(e.Kind) + " " + e.File)
			}
			progress(server.PullProgress{Status: status, Total: e.Total, Completed: e.Done})
		})
		return err
	}
	return nil
}
