package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/plume-run/plume"
)

// runFlags are the flags of `plume run`.
type runFlags struct {
	model  string
	open   modelFlags
	sample sampleFlags

	raw, think, json, stats bool
	system, tools           string
	maxTokens, ctx, chunk   int
	noDraft                 bool
	stop                    []string
}

func newRun() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run [-m MODEL] PROMPT",
		Short: "Answer a prompt",
		Long: `Answer a prompt in chat form, word by word on stdout. Thoughts and statistics go
to stderr. The prompt is the arguments, or stdin when there are none or when
it is "-" (one newline at its end does not count).

Sampling defaults are the model's own.`,
		Example: `  plume run "Tell me a story about a fox."
  plume run -m e2b.gguf --think --stats "How many primes are below 100?"
  plume run --raw --temperature 0 --max-tokens 40 "Once upon a time"
  git diff | plume run -m e2b.gguf --system "Write a commit message." -
  plume run --json --seed 7 "Hello" | jq -r .text`,
		RunE: func(cmd *cobra.Command, args []string) error {
			prompt, err := promptText(args, cmd.InOrStdin())
			if err != nil {
				return usageError{err, cmd}
			}
			return f.run(cmd, prompt)
		},
	}
	fs := cmd.Flags()
	fs.StringVarP(&f.model, "model", "m", "demo", "GGUF file or folder with config.json")
	fs.BoolVar(&f.raw, "raw", false, "continue the prompt as plain text, without chat form")
	fs.StringVar(&f.system, "system", "", "instructions that come before the prompt")
	fs.BoolVar(&f.think, "think", false, "let the model think first")
	fs.StringVar(&f.tools, "tools", "", "JSON `file` with function declarations the model may call")
	fs.IntVar(&f.maxTokens, "max-tokens", 0, "most tokens to generate (default: until the context is full)")
	fs.StringArrayVar(&f.stop, "stop", nil, "end the answer before this text (may be repeated)")
	fs.IntVar(&f.ctx, "ctx", 0, "tokens of context (default: the model's, at most 4096)")
	fs.IntVar(&f.chunk, "chunk", 0, "prompt tokens per step (default 256)")
	fs.BoolVar(&f.noDraft, "no-draft", false, "never guess tokens from repetitions in the text (a matter of speed only)")
	fs.BoolVar(&f.json, "json", false, "print one JSON object at the end: text, thinking, tool_calls,\nfinish_reason, usage, timings, ple, seed, model_stats, energy")
	fs.BoolVar(&f.stats, "stats", false, "print counts, speed, where PLE rows came from, what memory\nis used for and energy where the machine counts it, on stderr")
	f.sample.add(cmd)
	f.open.add(cmd, "f16")
	return cmd
}

// maxPrompt bounds what is read from stdin as a prompt.
const maxPrompt = 16 << 20

// promptText returns the prompt from the arguments or from stdin.
func promptText(args []string, stdin io.Reader) (string, error) {
	if text := strings.Join(args, " "); len(args) > 1 || len(args) == 1 && text != "-" {
		if text == "" {
			return "", errors.New("empty prompt")
		}
		return text, nil
	}
	if len(args) == 0 && isTerminal(stdin) {
		return "", errors.New("no prompt")
	}
	data, err := io.ReadAll(io.LimitReader(stdin, maxPrompt+1))
	if err != nil {
		return "", fmt.Errorf("read prompt: %w", err)
	}
	if len(data) > maxPrompt {
		return "", fmt.Errorf("read prompt: more than %d bytes", maxPrompt)
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if text == "" {
		return "", errors.New("empty prompt")
	}
	return text, nil
}

// request builds the request and checks everything that needs no model.
func (f *runFlags) request(prompt string) (plume.Request, error) {
	r := plume.Request{Thinking: f.think, MaxTokens: f.maxTokens, Stop: f.stop}
	if f.tools != "" {
		data, err := os.ReadFile(f.tools)
		if err != nil {
			return r, err
		}
		if r.Tools, err = plume.ParseTools(data); err != nil {
			return r, fmt.Errorf("read %s: %w", f.tools, err)
		}
	}
	if f.raw {
		if f.system != "" {
			return r, errors.New("--system needs chat form, without --raw")
		}
		r.Raw = prompt
		return r, nil
	}
	if f.system != "" {
		r.Messages = append(r.Messages, plume.SystemMessage(f.system))
	}
	r.Messages = append(r.Messages, plume.UserMessage(prompt))
	return r, nil
}

func (f *runFlags) run(cmd *cobra.Command, prompt string) error {
	r, err := f.request(prompt)
	if err != nil {
		return usageError{err, cmd}
	}
	ctx, stop := interruptible(cmd.Context())
	defer stop()
	f.open.context, f.open.chunk, f.open.background = f.ctx, f.chunk, true
	m, err := f.open.open(cmd, f.model)
	if err != nil {
		return err
	}
	defer m.Close()
	sampling := f.sample.apply(cmd, m.Sampling())
	r.Sampling = &sampling
	s, err := m.NewSession(plume.SessionOptions{Context: f.ctx, Chunk: f.chunk, NoDraft: f.noDraft})
	if err != nil {
		return err
	}
	defer s.Close()
	energy := openEnergy()
	defer energy.close()
	answer, err := f.answer(ctx, cmd, s, r, energy)
	if f.stats && answer.Result.Finish != "" {
		printStats(cmd.ErrOrStderr(), m, s, &answer.Result)
		energy.print(cmd.ErrOrStderr(), &answer.Result)
	}
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	if f.json {
		return printJSON(cmd.OutOrStdout(), jsonAnswer(f.model, answer, m.Stats(), energy))
	}
	return nil
}

// answer generates, and prints while it does unless there will be JSON.
func (f *runFlags) answer(ctx context.Context, cmd *cobra.Command, s *plume.Session, r plume.Request, energy *energyUse) (*plume.Answer, error) {
	events := f.open.loaded(energy.count(s.Generate(ctx, r)))
	if f.json {
		return plume.Collect(events)
	}
	p := newPrinter(cmd.OutOrStdout(), cmd.ErrOrStderr())
	answer, err := plume.Collect(p.tee(events))
	return answer, errors.Join(err, p.end())
}
