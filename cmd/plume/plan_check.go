package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/plume-run/plume"
)

// checkLine is one prediction beside what was measured.
type checkLine struct {
	What      string  `json:"what"`
	Unit      string  `json:"unit"`
	Predicted float64 `json:"predicted"`
	Measured  float64 `json:"measured"`
	Error     float64 `json:"error"` // predicted/measured − 1
	Mark      float64 `json:"mark"`  // the error that planning promises to stay below
	Within    bool    `json:"within"`
}

// What planning promises.
const (
	memoryMark = 0.03
	speedMark  = 0.15
	waitMark   = 0.25
)

// waitFloor is a wait, in milliseconds, below which a prediction of next to nothing is right:
// less than a hundredth of any step.
const waitFloor = 0.2

func newCheckLine(what, unit string, predicted, measured, mark float64) checkLine {
	l := checkLine{What: what, Unit: unit, Predicted: predicted, Measured: measured, Mark: mark}
	if measured != 0 {
		l.Error = predicted/measured - 1
	}
	l.Within = math.Abs(l.Error) <= mark
	return l
}

// runCheck measures the model that fc is about, in processes of their own, and prints both.
func (f *planFlags) runCheck(cmd *cobra.Command, fc *plume.Forecast) error {
	if !fc.Fits {
		return errors.New("check the forecast: the model does not fit: " + fc.Reason)
	}
	if f.hardware != "" {
		return usageError{errors.New("--check measures this machine: leave --hardware out"), cmd}
	}
	ctx, stop := interruptible(cmd.Context())
	defer stop()
	speed, err := f.measureSpeed(ctx, fc)
	if err != nil {
		return err
	}
	session, err := f.measureSession(ctx, fc)
	if err != nil {
		return err
	}
	lines := checkLines(fc, speed, session)
	if f.json {
		return printJSON(cmd.OutOrStdout(), struct {
			Model string      `json:"model"`
			Lines []checkLine `json:"lines"`
		}{fc.Model, lines})
	}
	return printCheck(cmd.OutOrStdout(), lines)
}

// measureSpeed runs the benchmark at the forecast's points.
func (f *planFlags) measureSpeed(ctx context.Context, fc *plume.Forecast) (*benchReport, error) {
	args := []string{"bench", fc.Model, "--json", "--kv-type", fc.Plan.KVType(), "--repeat", strconv.Itoa(f.checkRepeat),
		"--threads", strconv.Itoa(fc.Plan.Threads()), "--chunk", strconv.Itoa(fc.Plan.Chunk()), "--prompt", strconv.Itoa(fc.Prefill.Tokens)}
	var contexts, batches []string
	for _, d := range fc.Decode { // every context with every number of users
		contexts, batches = append(contexts, strconv.Itoa(max(0, d.Context-benchTokens))), append(batches, strconv.Itoa(d.Users))
	}
	args = append(args, "--tokens", strconv.Itoa(benchTokens), "--ctx", distinct(contexts), "--batch", distinct(batches))
	var r benchReport
	return &r, runPlume(ctx, &r, args...)
}

// distinct joins different texts by commas.
func distinct(list []string) string {
	slices.Sort(list)
	return strings.Join(slices.Compact(list), ",")
}

// benchTokens is how many tokens of decoding are measured: their middle is near enough to
// the position that was forecast.
const benchTokens = 32

// measureSession runs one session that fills its context, for the peak of memory.
func (f *planFlags) measureSession(ctx context.Context, fc *plume.Forecast) (*sessionReport, error) {
	prompt := max(1, min(fc.Prefill.Tokens, fc.Plan.Context()-benchTokens))
	args := []string{"bench", "session", fc.Model, "--json", "--kv-type", fc.Plan.KVType(), "--threads", strconv.Itoa(fc.Plan.Threads()),
		"--ctx", strconv.Itoa(fc.Plan.Context()), "--chunk", strconv.Itoa(fc.Plan.Chunk()), "--prompt", strconv.Itoa(prompt),
		"--tokens", strconv.Itoa(min(benchTokens, fc.Plan.Context()-prompt)), "--repeat", "1"}
	if f.ram > 0 {
		args = append(args, "--ram", strconv.FormatInt(int64(f.ram), 10))
	}
	var r sessionReport
	return &r, runPlume(ctx, &r, args...)
}

// runPlume runs this program with arguments and reads the JSON object that it prints.
func runPlume(ctx context.Context, into any, args ...string) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	child := exec.CommandContext(ctx, program, args...)
	var stderr bytes.Buffer
	child.Stderr = &stderr
	text, err := child.Output()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("run plume %s: %w: %s", args[0], err, lastLine(stderr.Bytes()))
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("read what plume %s prints: %w", args[0], err)
	}
	return nil
}

// checkLines puts predicted and measured side by side.
func checkLines(fc *plume.Forecast, speed *benchReport, session *sessionReport) []checkLine {
	var lines []checkLine
	if peak := session.Stats.Memory.ProcessPeak; peak > 0 {
		lines = append(lines, newCheckLine("memory at most", "MiB", float64(fc.Plan.Total())/(1<<20), float64(peak)/(1<<20), memoryMark))
	}
	for _, p := range speed.Prefill {
		if p.Prompt == fc.Prefill.Tokens {
			lines = append(lines, newCheckLine(fmt.Sprintf("prefill of %d tokens", p.Prompt), "tok/s", fc.Prefill.Rate, p.Rate.Median, speedMark))
		}
	}
	for _, want := range fc.Decode {
		for _, d := range speed.Decode {
			if d.Batch != want.Users || d.Context != max(0, want.Context-benchTokens) {
				continue
			}
			what := fmt.Sprintf("at context %d, %d at once", want.Context, want.Users)
			lines = append(lines, newCheckLine("decode "+what, "tok/s", want.Rate, d.Rate.Median, speedMark))
			if fc.TableBytes > 0 {
				wait := newCheckLine("wait for rows "+what, "ms/step", 1000*time.Duration(want.Wait).Seconds(), 1000*d.PLEWait, waitMark)
				wait.Within = wait.Within || wait.Predicted < waitFloor && wait.Measured < waitFloor
				lines = append(lines, wait)
			}
		}
	}
	return lines
}

func printCheck(w io.Writer, lines []checkLine) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\tpredicted\tmeasured\terror\tmark\t")
	for _, l := range lines {
		verdict := "within"
		if !l.Within {
			verdict = "MISSED"
		}
		fmt.Fprintf(t, "%s, %s\t%.2f\t%.2f\t%+.1f %%\t%.0f %%\t%s\n", l.What, l.Unit, l.Predicted, l.Measured, 100*l.Error, 100*l.Mark, verdict)
	}
	return t.Flush()
}
