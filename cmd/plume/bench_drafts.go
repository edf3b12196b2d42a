package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/plume-run/plume"
)

// draftsResult is a text decoded with drafts and without, in turn.
type draftsResult struct {
	Text     string  `json:"text"`
	Prompt   int     `json:"prompt"`
	Answer   int     `json:"answer"`
	Threads  int     `json:"threads"`
	Without  spread  `json:"without_tok_s"`
	With     spread  `json:"with_tok_s"`
	Ratio    spread  `json:"ratio"`
	OfStream *spread `json:"share_of_stream,omitempty"` // without; nil: bytes of a step unknown
	Drafted  int     `json:"drafted_tokens"`
	Accepted int     `json:"accepted_tokens"`
}

// drafts measures the text of a file, --repeat times.
func (r *benchRunner) drafts(ctx context.Context, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	ids, err := r.model.Tokenize(string(text))
	if err != nil {
		return err
	}
	at := len(ids) - r.f.tokens
	if at < 1 {
		return fmt.Errorf("measure drafts: %s has %d tokens, want more than the %d of --tokens", file, len(ids), r.f.tokens)
	}
	d := plume.BenchDrafts{Prompt: ids[max(0, at-r.f.prompts[0]):at], Answer: ids[at:]}
	for _, threads := range r.f.threads {
		if err := r.draftsOf(ctx, filepath.Base(file), threads, d); err != nil {
			return err
		}
	}
	return nil
}

func (r *benchRunner) draftsOf(ctx context.Context, name string, threads int, d plume.BenchDrafts) error {
	r.status.show("drafts in %s, %d threads", name, threads)
	if err := r.bench.SetThreads(threads); err != nil {
		return err
	}
	out := draftsResult{Text: name, Prompt: len(d.Prompt), Answer: len(d.Answer), Threads: threads}
	bytes := 0.0
	if len(r.f.contexts) > 0 {
		bytes = r.stepBytes(threads, r.f.contexts[0])
	}
	var with, without, ratio, shares []float64
	for range r.f.repeat {
		stream := r.stream(threads)
		a, b, err := r.bench.Drafts(ctx, d)
		if err != nil {
			return err
		}
		with, without = append(with, a.Rate()), append(without, b.Rate())
		ratio = append(ratio, share(a.Rate(), b.Rate()))
		shares = append(shares, share(b.Rate()*bytes, (stream+r.stream(threads))/2))
		out.Drafted, out.Accepted = out.Drafted+a.Drafted, out.Accepted+a.Accepted
	}
	out.With, out.Without, out.Ratio = newSpread(with), newSpread(without), newSpread(ratio)
	if bytes > 0 {
		of := newSpread(shares)
		out.OfStream = &of
	}
	r.out.Drafts = append(r.out.Drafts, out)
	return nil
}

func (b *benchReport) printDrafts(w io.Writer) {
	if len(b.Drafts) > 0 {
		fmt.Fprintf(w, "\ndrafts in\tprompt\tanswer\tthreads\twithout tok/s\tof stream\twith tok/s\tratio\tdrafted\taccepted\t\n")
	}
	for _, r := range b.Drafts {
		of := "–"
		if r.OfStream != nil {
			of = r.OfStream.percent()
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%s\t%s\t%s\t%s\t%d\t%d\t\n", r.Text, r.Prompt, r.Answer, r.Threads, r.Without, of, r.With, r.Ratio, r.Drafted, r.Accepted)
	}
}
