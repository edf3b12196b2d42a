package main

import (
	"bytes"
	"context"
	"math"
	"regexp"
	"strings"
	"testing"
)

// benchCommandLine returns the flags of a command line of `plume bench`.
func benchCommandLine(t *testing.T, line ...string) (*benchFlags, error) {
	t.Helper()
	var f benchFlags
	cmd := newBenchCommand(&f)
	if err := cmd.ParseFlags(line); err != nil {
		t.Fatal(err)
	}
	return &f, f.check()
}

func TestBenchFlags(t *testing.T) {
	f, err := benchCommandLine(t, "--threads", "1,2", "--ctx=16,4096", "--batch", "1,4", "--prompt", "0", "--tokens", "32")
	if err != nil {
		t.Fatal(err)
	}
	if len(f.threads) != 2 || f.contexts[1] != 4096 || f.batches[1] != 4 || len(f.prompts) != 0 || f.tokens != 32 {
		t.Errorf("%+v", f)
	}
	for _, c := range []struct{ name, line, want string }{
		{"no thread", "--threads 0", "--threads 0"},
		{"negative context", "--ctx 16,-1", "--ctx -1"},
		{"no sequence", "--batch 0", "--batch 0"},
		{"one token", "--tokens 1", "--tokens 1"},
		{"no block", "--repeat 0", "--repeat 0"},
		{"nothing in a list", "--prompt 128,0", "--prompt 0"},
		{"what to compare", "--compare true --compare-of both", "decode or prefill"},
		{"nothing to compare with", "--compare true --ctx -1", "needs a --ctx"},
		{"no prompt to compare with", "--compare true --compare-of prefill --prompt 0", "needs a --prompt"},
		{"broken regex", "--compare-regex (", "missing closing"},
		{"regex without group", "--compare-regex [0-9]+", "no group"},
	} {
		if _, err := benchCommandLine(t, strings.Fields(c.line)...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func TestFindRate(t *testing.T) {
	table := `| model | test | t/s |
| gemma4 E2B | pp512 | 27.80 ± 0.31 |
| gemma4 E2B | tg64 | 11.06 ± 0.12 |
`
	for _, c := range []struct {
		name, out, re string
		want          float64
	}{
		{"ours", "prefill 340.5 tok/s\ndecode 24.1 tok/s\n", rateRegex, 24.1},
		{"llama.cpp", "eval time = 5 ms / 63 runs (79.97 ms per token, 12.50 tokens per second)", rateRegex, 12.5},
		{"whole number", "12 t/s", rateRegex, 12},
		{"table", table, `tg64 +\| +([0-9.]+)`, 11.06},
		{"none", table, rateRegex, 0},
		{"no number", "x tok/s", `(x) tok/s`, 0},
	} {
		got, ok := findRate([]byte(c.out), regexp.MustCompile(c.re))
		if ok != (c.want > 0) || ok && got != c.want {
			t.Errorf("%s: %v, %v, want %v", c.name, got, ok, c.want)
		}
	}
	if _, err := peerRate(context.Background(), "echo nothing", regexp.MustCompile(rateRegex)); err == nil || !strings.Contains(err.Error(), `"nothing"`) {
		t.Errorf("peer without a number: %v", err)
	}
}

func TestParseTimes(t *testing.T) {
	// user nice system idle iowait irq softirq steal guest guest_nice
	before := parseTimes([]byte("cpu  100 10 50 1000 5 1 2 3 7 7\ncpu0 1 2 3\n"),
		[]byte("77 (a b) c) S 1 77 77 0 -1 4194304 100 0 0 0 40 5 2 3 20 0 8"))
	if before.total != 1171 || before.busy != 166 || before.own != 50 || !before.known {
		t.Fatalf("%+v", before)
	}
	after := before
	after.total, after.busy, after.own = after.total+200, after.busy+120, after.own+100
	if got := after.others(before); math.Abs(got-0.1) > 1e-12 {
		t.Errorf("others had %v, want 0.1", got)
	}
	if got := after.others(parseTimes(nil, nil)); got != -1 {
		t.Errorf("unknown: %v", got)
	}
}

func TestSpread(t *testing.T) {
	if s := newSpread([]float64{3, 1, 2}); s != (spread{2, 1, 3}) {
		t.Errorf("odd: %v", s)
	}
	if s := newSpread([]float64{4, 1, 2, 3}); s != (spread{2.5, 1, 4}) || s.String() != "2.50 (1.00–4.00)" {
		t.Errorf("even: %v", s)
	}
	if s := (spread{0.9, 0.85, 1}); s.percent() != "90 % (85–100)" {
		t.Errorf("percent: %s", s.percent())
	}
}

// A report without results prints what it has.
func TestPrintEmptyReport(t *testing.T) {
	var out bytes.Buffer
	r := benchReport{Model: benchModel{Path: "m.gguf", Resident: 1 << 30}}
	if err := r.print(&out); err != nil || !strings.HasPrefix(out.String(), "m.gguf, 1.0 GiB of weights") {
		t.Errorf("%v: %s", err, out.String())
	}
}

// Where a disk's rate is not known, nothing is said to be within a limit.
func TestPrintColdStartsWithoutRate(t *testing.T) {
	r := coldReport{Model: "m.gguf", Bytes: 1 << 30, Limit: coldLimit}
	for _, rate := range []float64{0, 1e9} {
		s := coldStarts{Weights: "model", Runs: []coldRun{{First: 1, Rate: rate, Ratio: rate / (1 << 30)}}, Warm: []float64{1}}
		s.sum()
		r.Starts = append(r.Starts, s)
	}
	r.Starts[1].Weights = "packed copy"
	var out bytes.Buffer
	if err := r.print(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\nmodel: no ratio, since", "\npacked copy: ratio 0.93, within the 1.3 that is wanted\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}
