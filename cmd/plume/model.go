package main

import (
	"fmt"
	"iter"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/plume-run/plume"
	"github.com/plume-run/plume/demo"
)

// modelFlags are the flags of every command that computes.
type modelFlags struct {
	backend string
	threads int
	kvType  string
	ple     string
	emulate string
	headers []string
	etag    string
	timeout time.Duration
	ram     sizeFlag
	rows    cacheFlag

	stream      cacheFlag
	expertSlots int
	packed      string

	background bool // weights may arrive while the first prompt is computed
	bar        *bar // shows that they do

	// What sessions or evaluations will ask for, so that the plan knows it.
	context, chunk int
	formats        bool
}

// pleTimeout is the default of --ple-timeout.
const pleTimeout = 30 * time.Second

func (f *modelFlags) add(cmd *cobra.Command, kvType string) {
	fs := cmd.Flags()
	fs.StringVar(&f.backend, "backend", "cpu", "what computes: "+strings.Join(plume.Backends(), ", "))
	fs.IntVar(&f.threads, "threads", 0, "threads of the cpu backend (default: one per physical core)")
	fs.StringVar(&f.kvType, "kv-type", kvType, "number format of the KV cache: "+strings.Join(plume.KVTypes(), ", "))
	f.addMemory(cmd)
	complete(cmd, "backend", plume.Backends()...)
	complete(cmd, "kv-type", plume.KVTypes()...)
}

// addMemory adds the flags that say what is kept in memory.
func (f *modelFlags) addMemory(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.ple, "ple", "auto", "where PLE rows come from: "+strings.Join(plume.PLEPlaces(), ", ")+",\nor the URL of a copy of the model's file; of one written with --split-ple, of the part\nwith the table, which then need not be here")
	fs.StringArrayVar(&f.headers, "ple-header", nil, "`header` for requests to a URL in --ple, as 'Authorization: Bearer …'")
	fs.StringVar(&f.etag, "ple-etag", "", "`version` (ETag) that the URL in --ple must have (default: the one found first must stay)")
	fs.DurationVar(&f.timeout, "ple-timeout", pleTimeout, "how long a read of PLE rows may take before the answers that need them fail,\nand how long nothing may arrive of weights, also while the model is opened")
	fs.Var(&f.rows, "ple-cache", "memory for PLE rows that may come again, as 8MiB; 0: none (default: 2MiB,\nless where memory is short)")
	complete(cmd, "ple", plume.PLEPlaces()...)
	fs.StringVar(&f.emulate, "ple-emulate", "", "make reads of PLE rows as slow as on this storage: a profile's file, or one of\n"+strings.Join(plume.StorageNames(), ", "))
	complete(cmd, "ple-emulate", plume.StorageNames()...)
	fs.Var((*ramFlag)(&f.ram), "ram", "memory that the process may take, as 1500MiB or 1.5G (default: $"+plume.RAMVariable+",\nthe memory cgroup's limit, or what is free)")
	fs.Var(&f.stream, "stream", "read so much of the weights from disk for every token, as 40MiB; 0: nothing, ever\n(default: what memory has no room for)")
	fs.StringVar(&f.packed, "packed", plume.PackedAuto, "read weights from their packed copy (see plume pack): auto, if there is one; off;\nor its `file`")
	complete(cmd, "packed", plume.PackedAuto, plume.PackedOff)
	fs.IntVar(&f.expertSlots, "expert-slots", 0, "of a mixture model, hold so many experts at once (default: as many as memory\nhas room for)")
}

// open opens a model by name, with a progress bar where people watch.
func (f *modelFlags) open(cmd *cobra.Command, name string) (*plume.Model, error) {
	path, err := modelPath(cmd, name)
	if err != nil {
		return nil, err
	}
	o, err := f.options()
	if err != nil {
		return nil, usageError{err, cmd}
	}
	f.bar = newBar(cmd.ErrOrStderr(), "loading", unitBytes)
	o.Progress, o.Background = f.bar.set, f.background
	o.Note = func(text string) { fmt.Fprintln(cmd.ErrOrStderr(), "plume:", text) }
	m, err := plume.Open(path, o)
	if err != nil || !f.background {
		f.bar.end()
	}
	if err == nil && m.Plan().Streamed() != "" {
		fmt.Fprintln(cmd.ErrOrStderr(), "plume:", m.Plan().Streamed())
	}
	return m, err
}

// loaded passes events on and takes the progress bar off the screen before the first.
func (f *modelFlags) loaded(events iter.Seq2[plume.Event, error]) iter.Seq2[plume.Event, error] {
	return func(yield func(plume.Event, error) bool) {
		for ev, err := range events {
			f.bar.end()
			if !yield(ev, err) {
				return
			}
		}
	}
}

// options are what the flags say.
func (f *modelFlags) options() (plume.Options, error) {
	header := map[string][]string{}
	for _, h := range f.headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok || strings.TrimSpace(name) == "" {
			return plume.Options{}, fmt.Errorf("--ple-header %q, want 'Name: value'", h)
		}
		header[http.CanonicalHeaderKey(strings.TrimSpace(name))] = []string{strings.TrimSpace(value)}
	}
	if f.timeout < 0 {
		return plume.Options{}, fmt.Errorf("--ple-timeout %v, want 0 (for 30s) or more", f.timeout)
	}
	var stream *plume.Stream
	if f.stream != 0 || f.expertSlots > 0 {
		stream = &plume.Stream{Bytes: max(0, int64(f.stream)), Experts: f.expertSlots}
	}
	return plume.Options{
		PLE: f.ple, PLEHeader: header, PLEETag: f.etag, PLETimeout: f.timeout, PLEEmulate: f.emulate,
		Backend: f.backend,
		Threads: f.threads,
		KVType:  f.kvType,
		RAM:     int64(f.ram),

		PLECacheBytes: int64(f.rows),
		Context:       f.context,
		Chunk:         f.chunk,
		Stream:        stream,
		Packed:        f.packed,
		LimitGo:       true,
		Formats:       f.formats,
	}, nil
}

// args are the flags as a command line, for a process that is to open a model alike.
func (f *modelFlags) args() []string {
	args := []string{"--backend", f.backend, "--threads", strconv.Itoa(f.threads), "--kv-type", f.kvType, "--ple", f.ple}
	for _, h := range f.headers {
		args = append(args, "--ple-header", h)
	}
	if f.etag != "" {
		args = append(args, "--ple-etag", f.etag)
	}
	if f.timeout != 0 && f.timeout != pleTimeout {
		args = append(args, "--ple-timeout", f.timeout.String())
	}
	if f.packed != plume.PackedAuto {
		args = append(args, "--packed", f.packed)
	}
	if f.emulate != "" {
		args = append(args, "--ple-emulate", f.emulate)
	}
	if f.rows != 0 {
		args = append(args, "--ple-cache", strconv.FormatInt(max(0, int64(f.rows)), 10))
	}
	if f.ram != 0 {
		args = append(args, "--ram", strconv.FormatInt(int64(f.ram), 10))
	}
	if f.stream != 0 {
		args = append(args, "--stream", strconv.FormatInt(max(0, int64(f.stream)), 10))
	}
	if f.expertSlots > 0 {
		args = append(args, "--expert-slots", strconv.Itoa(f.expertSlots))
	}
	return args
}

// modelPath turns a MODEL argument into a path: of a file or a folder, or of a
// pulled model; "demo" is the model inside the program.
func modelPath(cmd *cobra.Command, name string) (string, error) {
	if name == "" {
		return "", usageError{fmt.Errorf("empty model name"), cmd}
	}
	if name != "demo" {
		if _, err := os.Stat(name); err != nil {
			return pulledPath(name, err)
		}
		return name, nil
	}
	path, note, err := demo.Path()
	if note != "" {
		fmt.Fprintln(cmd.ErrOrStderr(), "plume:", note)
	}
	return path, err
}

// sizeFlag is a number of bytes on the command line.
type sizeFlag int64

// String implements pflag.Value.
func (s *sizeFlag) String() string {
	if *s == 0 {
		return ""
	}
	return sizeText(int64(*s))
}

// Set implements pflag.Value.
func (s *sizeFlag) Set(text string) error {
	n, err := plume.ParseSize(text)
	*s = sizeFlag(n)
	return err
}

// Type implements pflag.Value.
func (*sizeFlag) Type() string { return "size" }

// ramFlag is a size that may be "auto", which is the default.
type ramFlag sizeFlag

// String implements pflag.Value.
func (r *ramFlag) String() string { return (*sizeFlag)(r).String() }

// Set implements pflag.Value.
func (r *ramFlag) Set(text string) error {
	if text == "auto" {
		*r = 0
		return nil
	}
	return (*sizeFlag)(r).Set(text)
}

// Type implements pflag.Value.
func (*ramFlag) Type() string { return "size" }

// cacheFlag is a size whose default is not 0: 0 asks for none, which options call negative.
type cacheFlag int64

// String implements pflag.Value.
func (c *cacheFlag) String() string {
	switch {
	case *c == 0:
		return ""
	case *c < 0:
		return "0"
	}
	return sizeText(int64(*c))
}

// Set implements pflag.Value.
func (c *cacheFlag) Set(text string) error {
	if text == "0" {
		*c = -1
		return nil
	}
	n, err := plume.ParseSize(text)
	*c = cacheFlag(n)
	return err
}

// Type implements pflag.Value.
func (*cacheFlag) Type() string { return "size" }

// complete registers the values that a shell may offer for a flag.
func complete(cmd *cobra.Command, flag string, values ...string) {
	err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	if err != nil {
		panic("plume: internal error: " + err.Error())
	}
}
