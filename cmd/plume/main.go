// Command plume runs Gemma 4 where memory is short.
//
// It is a thin layer over package plume: each command is one file here. It
// prints results on stdout and everything else (progress, statistics, notes,
// errors) on stderr. Errors become exit codes in errors.go.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	// Threads that compute look for work a while before they sleep, each on a
	// processor of the Go scheduler. Two more let the goroutines that read rows,
	// print and listen for signals run beside them instead of behind them.
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 2)
	os.Exit(execute(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// execute runs one command line and returns the exit code.
func execute(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(context.Background())
	if err == nil {
		return 0
	}
	code, hint := classify(err)
	if code == exitInterrupted {
		fmt.Fprintln(stderr, "plume: interrupted")
		return code
	}
	fmt.Fprintf(stderr, "plume: %v\n", err)
	if hint != "" {
		fmt.Fprintf(stderr, "       %s\n", hint)
	}
	return code
}

const rootLong = `plume runs Gemma 4 where memory is short: weights that need arithmetic stay in
memory, the per-layer embedding table of the E models stays on disk, and its
rows are read before they are needed.

MODEL is a GGUF file, a folder with config.json and safetensors, or the name of a
model that plume pull has brought, everywhere; "demo" is the small model built
into the program.`

const rootExample = `  plume run "Tell me a story about a fox."
  plume run -m gemma-4-e2b-q4_0.gguf --stats "Why is the sky blue?"
  plume chat -m gemma-4-e2b-q4_0.gguf
  plume inspect demo`

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "plume",
		Short:         "Run Gemma 4 where memory is short",
		Long:          rootLong + "\n\n" + exitHelp,
		Example:       rootExample,
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,

		SuggestionsMinimumDistance: 2,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			err := fmt.Errorf("unknown command %q", args[0])
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				err = fmt.Errorf("%w; did you mean %q?", err, near[0])
			}
			return usageError{err, cmd}
		},
		RunE: func(cmd *cobra.Command, args []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usageError{err, cmd} })
	root.SetVersionTemplate("plume {{.Version}}\n")
	root.AddGroup(
		&cobra.Group{ID: "talk", Title: "Talk to a model:"},
		&cobra.Group{ID: "look", Title: "Look inside:"},
		&cobra.Group{ID: "get", Title: "Get models:"},
		&cobra.Group{ID: "make", Title: "Make models:"})
	add := func(group string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("talk", newRun(), newChat(), newServe(), newRender())
	add("look", newInspect(), newPlan(), newBench(), newLogits(), newPerplexity(), newTokenize(), newDetokenize())
	add("get", newPull(), newList(), newRm())
	add("make", newConvert(), newSynth(), newPack())
	root.AddCommand(newVersion())
	completeModels(root)
	return root
}

// args turns cobra's check of the arguments into a usage error.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{fmt.Errorf("%d arguments, want: %s", len(args), cmd.UseLine()), cmd}
		}
		return nil
	}
}

// errInterrupted is the cause of a context that Ctrl-C or a termination signal
// has cancelled.
var errInterrupted = errors.New("interrupted")

// interruptible returns a context that the first Ctrl-C or termination signal
// cancels; the second one ends the program at once. stop ends the watch.
func interruptible(parent context.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case <-signals:
			signal.Stop(signals) // from here on the system's own action applies
			cancel(errInterrupted)
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel(nil)
	}
}
