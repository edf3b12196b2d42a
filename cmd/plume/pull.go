package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/plume-run/plume"
)

const pullLong = `Download a model, verify it, and keep it under its name: from then on -m NAME opens
it, without a network. NAME is one of

  owner/repo[@revision]          a Hugging Face repository with safetensors
  owner/repo[@revision]:CHOICE   one of its GGUF models, by quantisation (Q4_0) or
                                 file name; without a choice, a list of them
  ollama:model[:tag]             a model of the Ollama registry
  https://…/model.gguf           one file, or all parts of a split one; #sha256=HEX
                                 behind it says what it must be

A download that is cut off, by Ctrl-C or by anything else, goes on where it was when
the same command is given again. Files come in pieces over several connections and
are compared with the sums that the source gives; plume list shows a model when it
is whole. Pulling again brings what has changed at the source.

Models that want an account: accept their terms at the site and set $HF_TOKEN. The
token is sent to that host only. Models are kept in $PLUME_MODELS, or in plume/models
in the user's cache folder.

The path of the model goes to stdout, everything else to stderr.`

type pullFlags struct {
	o     plume.HubOptions
	json  bool
	check bool
}

func newPull() *cobra.Command {
	var f pullFlags
	cmd := &cobra.Command{
		Use:   "pull NAME",
		Short: "Download a model",
		Long:  pullLong,
		Example: `  plume pull google/gemma-4-E2B-it
  plume pull unsloth/gemma-4-E2B-it-GGUF:Q4_0
  plume pull ollama:gemma4:e2b
  plume run -m gemma4:e2b "Why is the sky blue?"`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.o.UserAgent = "plume/" + version()
			h, err := plume.NewHub(f.o)
			if err != nil {
				return usageError{err, cmd}
			}
			if f.check {
				return f.verify(cmd, h, args[0])
			}
			return f.pull(cmd, h, args[0])
		},
		ValidArgsFunction: completePulled,
	}
	fs := cmd.Flags()
	fs.BoolVar(&f.json, "json", false, "print events as JSON, one a line, on stdout")
	fs.BoolVar(&f.check, "check", false, "download nothing: read the model's files and compare their sums")
	fs.StringVar(&f.o.Token, "token", "", "`token` for the host that NAME refers to; others may see it in the list of\nprocesses, which $HF_TOKEN avoids")
	fs.IntVar(&f.o.Connections, "connections", 8, "requests at once")
	fs.StringVar(&f.o.HFEndpoint, "hf-endpoint", "", "base `URL` of the Hugging Face site or a mirror (default: $HF_ENDPOINT, or the public one)")
	fs.StringVar(&f.o.OllamaRegistry, "ollama-registry", "", "base `URL` of the registry (default: $OLLAMA_REGISTRY, or the public one)")
	return cmd
}

// pull downloads a model and says how that goes.
func (f *pullFlags) pull(cmd *cobra.Command, h *plume.Hub, name string) error {
	ctx, stop := interruptible(cmd.Context())
	defer stop()
	view := &pullView{out: cmd.ErrOrStderr(), bars: isTerminal(cmd.ErrOrStderr())}
	m, err := h.Pull(ctx, name, func(e plume.HubEvent) {
		view.name = e.Name
		if f.json {
			printJSON(cmd.OutOrStdout(), e)
		} else {
			view.show(e)
		}
	})
	view.end()
	switch {
	case err != nil && ctx.Err() != nil:
		view.stopped(h)
		return context.Cause(ctx)
	case err != nil:
		if old, e := h.Find(name); e == nil {
			view.say("what was pulled on %s is still here", old.Pulled.Local().Format(time.DateOnly))
		}
		return err
	}
	if f.json {
		return nil
	}
	fmt.Fprintf(view.out, "%s: %s, %s, %s\n", m.Name, cmp.Or(m.Type, m.Format), filesText(len(m.Files)), sizeText(m.Bytes))
	_, err = fmt.Fprintln(cmd.OutOrStdout(), m.Path)
	return err
}

// verify compares a model that is here with its manifest.
func (f *pullFlags) verify(cmd *cobra.Command, h *plume.Hub, name string) error {
	ctx, stop := interruptible(cmd.Context())
	defer stop()
	bar := newBar(cmd.ErrOrStderr(), "checking", unitBytes)
	defer bar.end()
	m, err := h.Check(ctx, name, bar.set)
	bar.end()
	if err != nil {
		return err
	}
	if f.json {
		return printJSON(cmd.OutOrStdout(), m)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s, %s, all as pulled\n", m.Name, filesText(len(m.Files)), sizeText(m.Bytes))
	return err
}

func filesText(n int) string {
	if n == 1 {
		return "1 file"
	}
	return fmt.Sprintf("%d files", n)
}

// pullView shows a download to people: a bar where they watch, else a line for
// every tenth.
type pullView struct {
	out  io.Writer
	bars bool
	bar  *bar

	name   string // in full
	start  int64  // bytes that were here before
	tenths int64
}

func (v *pullView) show(e plume.HubEvent) {
	switch e.Kind {
	case plume.HubFound:
		v.start = e.Done
		at := ""
		if e.Revision != "" {
			at = fmt.Sprintf(" at %.12s", strings.TrimPrefix(e.Revision, "sha256:"))
		}
		v.say("pulling %s%s: %s, %s", e.Name, at, filesText(e.Files), sizeText(e.Total))
		if e.Done > 0 {
			v.say("%s are here already", sizeText(e.Done))
		}
	case plume.HubProgress:
		v.progress(e.Done, e.Total)
	case plume.HubRetry:
		v.say("%s: %s; again in %.1f s", e.File, e.Text, e.Wait.Seconds())
	case plume.HubFileDone:
		if !v.bars {
			v.say("%s: whole, %s", e.File, checkWords[e.Text])
		}
	case plume.HubNote:
		v.say("note: %s", e.Text)
	case plume.HubDone:
		if e.Text != "" {
			v.say("%s", e.Text)
		}
	}
}

// checkWords says what a file was compared with.
var checkWords = map[string]string{
	"sha256":   "SHA-256 agrees",
	"git-sha1": "Git's SHA-1 agrees",
	"":         "length agrees; the source gives no sum",
}

func (v *pullView) progress(done, total int64) {
	if v.bars {
		if v.bar == nil {
			v.bar = newBar(v.out, "pulling", unitBytes)
		}
		// What was here before took no time and must not count as speed.
		v.bar.set(done-v.start, total-v.start)
		return
	}
	if tenths := done * 10 / max(total, 1); tenths > v.tenths {
		v.tenths = tenths
		v.say("%d0 %%, %s of %s", tenths, sizeText(done), sizeText(total))
	}
}

// say prints a line, with the bar out of the way.
func (v *pullView) say(format string, a ...any) {
	v.end()
	fmt.Fprintf(v.out, format+"\n", a...)
}

func (v *pullView) end() {
	if v.bar != nil {
		v.bar.end()
		v.bar = nil
	}
}

// stopped says what an interrupted download has left.
func (v *pullView) stopped(h *plume.Hub) {
	list, err := h.Unfinished()
	if err != nil {
		return
	}
	for _, u := range list {
		if u.Name == v.name {
			v.say("%s of %s are kept; the same command goes on from there", sizeText(u.Done), sizeText(u.Bytes))
		}
	}
}

// pulledPath resolves a MODEL argument that is no file or folder: statErr says
// why.
func pulledPath(name string, statErr error) (string, error) {
	h, err := plume.NewHub(plume.HubOptions{})
	if err != nil {
		return "", err
	}
	m, err := h.Find(name)
	switch {
	case err == nil:
		return m.Path, nil
	case errors.Is(statErr, fs.ErrNotExist), errors.Is(err, plume.ErrHubName):
		return "", fmt.Errorf("open model %s: %w", name, noModelError{err})
	}
	return "", statErr
}

// noModelError is the hub's error for a name that is no file either.
type noModelError struct{ err error }

func (e noModelError) Error() string   { return errNoModel.Error() + "; " + e.err.Error() }
func (e noModelError) Unwrap() []error { return []error{errNoModel, e.err} }

// completePulled offers the names of pulled models.
func completePulled(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	h, err := plume.NewHub(plume.HubOptions{})
	if err != nil {
		return nil, cobra.ShellCompDirectiveDefault
	}
	models, err := h.Models()
	if err != nil {
		return nil, cobra.ShellCompDirectiveDefault
	}
	var names []string
	for _, m := range models {
		names = append(names, cobra.CompletionWithDesc(m.Name, strings.TrimSpace(m.Type+" "+sizeText(m.Bytes))))
	}
	return names, cobra.ShellCompDirectiveDefault
}

// completeModels offers pulled models, and files, wherever a command takes one.
func completeModels(root *cobra.Command) {
	for _, c := range root.Commands() {
		if c.ValidArgsFunction == nil && strings.Contains(c.Use, " MODEL") {
			c.ValidArgsFunction = completePulled
		}
		if c.Flags().Lookup("model") == nil {
			continue
		}
		if err := c.RegisterFlagCompletionFunc("model", completePulled); err != nil {
			panic("plume: internal error: " + err.Error())
		}
	}
}
