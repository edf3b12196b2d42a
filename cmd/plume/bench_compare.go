package main

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"

	"github.com/plume-run/plume"
)

// compare runs ours and the peer's command in turn, --repeat times, and keeps the
// ratio of each pair: two runs next to each other in time.
func (r *benchRunner) compare(ctx context.Context) error {
	f := r.f
	if f.compare == "" {
		return nil
	}
	threads := f.threads[0]
	if err := r.bench.SetThreads(threads); err != nil {
		return err
	}
	c := &compareResult{Command: f.compare, Of: f.compareOf, Threads: threads}
	ours := func() (plume.BenchRun, error) {
		if f.compareOf == "prefill" {
			c.Prompt = f.prompts[0]
			return r.bench.Prefill(ctx, plume.BenchPrefill{Tokens: c.Prompt, Chunk: f.chunk})
		}
		c.Context = f.contexts[0]
		return r.bench.Decode(ctx, plume.BenchDecode{Context: c.Context, Tokens: f.tokens})
	}
	if _, err := ours(); err != nil { // warm up
		return err
	}
	limit := r.pairLimit(threads)
	var ratios []float64
	for i := range f.repeat {
		r.status.show("pair %d of %d: ours", i+1, f.repeat)
		load, most := readTimes(), limit()
		run, err := ours()
		if err != nil {
			return err
		}
		p := pair{Ours: run.Rate(), OursOthers: readTimes().others(load)}
		p.OfLimit = share(p.Ours, (most+limit())/2)
		r.status.show("pair %d of %d: %s", i+1, f.repeat, f.compare)
		load = readTimes()
		if p.Theirs, err = peerRate(ctx, f.compare, regexp.MustCompile(f.compareRegex)); err != nil {
			return err
		}
		p.TheirsOthers = readTimes().others(load)
		p.Ratio = share(p.Ours, p.Theirs)
		ratios = append(ratios, p.Ratio)
		c.Pairs = append(c.Pairs, p)
	}
	c.Ratio = newSpread(ratios)
	r.out.Compare = c
	return nil
}

// pairLimit measures the tokens per second that the machine allows for what is compared;
// 0 where it is not known what a token takes.
func (r *benchRunner) pairLimit(threads int) func() float64 {
	per, limit := 0.0, r.stream
	if r.f.compareOf == "decode" {
		per = r.stepBytes(threads, r.f.contexts[0])
	} else {
		limit = r.peak
		for _, p := range r.out.Prefill {
			if p.Threads == threads && p.Prompt == r.f.prompts[0] {
				per = p.MACs
			}
		}
	}
	return func() float64 { return share(limit(threads), per) }
}

// peerRate runs a command by the system's shell and returns the last number that
// re finds in what it prints.
func peerRate(ctx context.Context, command string, re *regexp.Regexp) (float64, error) {
	shell := []string{"sh", "-c"}
	if runtime.GOOS == "windows" {
		shell = []string{"cmd", "/c"}
	}
	out, err := exec.CommandContext(ctx, shell[0], shell[1], command).CombinedOutput()
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	if err != nil {
		return 0, fmt.Errorf("run %s: %w: %s", command, err, lastLine(out))
	}
	rate, ok := findRate(out, re)
	if !ok {
		return 0, fmt.Errorf("run %s: nothing it prints matches %s; the last line is %q", command, re, lastLine(out))
	}
	return rate, nil
}

// findRate returns the number in the first group of the last match.
func findRate(out []byte, re *regexp.Regexp) (float64, bool) {
	all := re.FindAllSubmatch(out, -1)
	if len(all) == 0 {
		return 0, false
	}
	rate, err := strconv.ParseFloat(string(all[len(all)-1][1]), 64)
	return rate, err == nil && rate > 0
}

func lastLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}
