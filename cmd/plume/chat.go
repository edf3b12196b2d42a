package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"

	"github.com/plume-run/plume"
)

type chatFlags struct {
	model        string
	open         modelFlags
	sample       sampleFlags
	system       string
	think, stats bool
	maxTokens    int
	ctx, chunk   int
	noDraft      bool
	load         string
}

func newChat() *cobra.Command {
	var f chatFlags
	cmd := &cobra.Command{
		Use:   "chat [-m MODEL]",
		Short: "Talk with a model",
		Long: `Talk with a model. Ctrl-C stops the answer and not the program; Ctrl-D or /exit
leaves. A line that ends in "\" goes on with the next one; """ begins and ends a
text of several lines. Without a terminal, every line of stdin is a message.

` + commandHelp(),
		Example: `  plume chat
  plume chat -m e2b.gguf --think --system "Answer in one sentence."
  printf 'Hello\nTell me more.\n' | plume chat --seed 1`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	fs := cmd.Flags()
	fs.StringVarP(&f.model, "model", "m", "demo", "GGUF file or folder with config.json")
	fs.StringVar(&f.system, "system", "", "instructions that the conversation begins with")
	fs.BoolVar(&f.think, "think", false, "let the model think first")
	fs.IntVar(&f.maxTokens, "max-tokens", 0, "most tokens per answer (default: until the context is full)")
	fs.IntVar(&f.ctx, "ctx", 0, "tokens of context (default: the model's, at most 4096)")
	fs.IntVar(&f.chunk, "chunk", 0, "prompt tokens per step (default 256)")
	fs.BoolVar(&f.noDraft, "no-draft", false, "never guess tokens from repetitions in the text (a matter of speed only)")
	fs.BoolVar(&f.stats, "stats", false, "print statistics after every answer, on stderr")
	fs.StringVar(&f.load, "load", "", "begin with a conversation saved by /save")
	f.sample.add(cmd)
	f.open.add(cmd, "f16")
	return cmd
}

// conversation is the state of `plume chat`.
type conversation struct {
	m        *plume.Model
	s        *plume.Session
	out, err io.Writer
	input    lineReader
	sampling plume.Sampling

	system     string
	messages   []plume.Message // without the system message
	think      bool
	autoStats  bool
	maxTokens  int
	lastResult *plume.Result
}

func (f *chatFlags) run(cmd *cobra.Command) error {
	c := &conversation{
		out: cmd.OutOrStdout(), err: cmd.ErrOrStderr(), input: newLineReader(cmd.InOrStdin(), cmd.OutOrStdout()),
		system: f.system, think: f.think, autoStats: f.stats, maxTokens: f.maxTokens,
	}
	if f.load != "" {
		if err := c.load(f.load); err != nil {
			return err
		}
	}
	// While the weights arrive, people type; a bar would be in their way.
	f.open.context, f.open.chunk, f.open.background = f.ctx, f.chunk, true
	m, err := f.open.open(cmd, f.model)
	if err != nil {
		return err
	}
	defer m.Close()
	f.open.bar.end()
	c.m, c.sampling = m, f.sample.apply(cmd, m.Sampling())
	if c.s, err = m.NewSession(plume.SessionOptions{Context: f.ctx, Chunk: f.chunk, NoDraft: f.noDraft}); err != nil {
		return err
	}
	defer c.s.Close()
	if c.input.interactive() {
		fmt.Fprintf(c.err, "%s. /help lists the commands, Ctrl-D leaves.\n", f.model)
	}
	return c.loop(cmd.Context())
}

// loop reads messages and commands until the input ends.
func (c *conversation) loop(ctx context.Context) error {
	for {
		text, err := c.readMessage()
		if err == io.EOF || errors.Is(err, errLeave) {
			return nil
		} else if err != nil {
			return err
		}
		switch {
		case strings.TrimSpace(text) == "":
			continue
		case strings.HasPrefix(text, "/"):
			err = c.command(ctx, text)
		default:
			c.messages = append(c.messages, plume.UserMessage(text))
			err = c.answer(ctx)
		}
		switch {
		case errors.Is(err, errLeave):
			return nil
		case err == nil:
		case c.input.interactive() && c.goesOn(err):
			fmt.Fprintf(c.err, "plume: %v\n", err)
		default:
			return err
		}
	}
}

// goesOn reports whether the conversation can go on after err.
func (c *conversation) goesOn(err error) bool {
	return !errors.Is(err, errOutput)
}

// errOutput marks an error of writing to stdout.
var errOutput = errors.New("write answer")

// readMessage reads one message, over several lines where the first says so.
func (c *conversation) readMessage() (string, error) {
	line, err := c.input.read(">>> ")
	if err != nil {
		return "", err
	}
	if rest, ok := strings.CutPrefix(line, `"""`); ok {
		var lines []string
		for {
			if text, ended := strings.CutSuffix(rest, `"""`); ended {
				return strings.Join(append(lines, text), "\n"), nil
			}
			lines = append(lines, rest)
			if rest, err = c.input.read("... "); err != nil {
				return strings.Join(lines, "\n"), err
			}
		}
	}
	for strings.HasSuffix(line, `\`) {
		next, err := c.input.read("... ")
		if err != nil {
			return "", err
		}
		line = strings.TrimSuffix(line, `\`) + "\n" + next
	}
	return line, nil
}

// answer lets the model answer the last message. An answer that Ctrl-C stopped
// stays in the conversation as far as it came; a message whose answer failed
// is taken back.
func (c *conversation) answer(parent context.Context) error {
	ctx, stop := signal.NotifyContext(parent, os.Interrupt)
	defer stop()
	all := c.messages
	if c.system != "" {
		all = append([]plume.Message{plume.SystemMessage(c.system)}, all...)
	}
	p := newPrinter(c.out, c.err)
	answer, err := plume.Collect(p.tee(c.s.Generate(ctx, plume.Request{
		Messages: all, Thinking: c.think, Sampling: &c.sampling, MaxTokens: c.maxTokens,
	})))
	if writeErr := p.end(); writeErr != nil {
		return fmt.Errorf("%w: %w", errOutput, writeErr)
	}
	stopped := ctx.Err() != nil && parent.Err() == nil
	if err != nil && !stopped {
		c.messages = c.messages[:len(c.messages)-1]
		return err
	}
	c.messages = append(c.messages, answer.Message())
	c.lastResult = &answer.Result
	switch answer.Result.Finish {
	case plume.FinishCancelled:
		fmt.Fprintln(c.err, "(stopped)")
	case plume.FinishContext:
		fmt.Fprintln(c.err, "(the context is full: /reset begins anew)")
	case plume.FinishLength:
		fmt.Fprintln(c.err, "(as long as --max-tokens allows)")
	}
	if c.autoStats {
		printStats(c.err, c.m, c.s, c.lastResult)
	}
	return nil
}
