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
	"strconv"
	"strings"
	"text/tabwriter"

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
	Mark      float64 `json:"mark"`  // the error that planning promises to stay below; 0: no more than predicted
	Within    bool    `json:"within"`

	// Of what was measured in blocks this is the one whose error is in the middle of those that
	// count.
	LeastError float64   `json:"error_least"`
	MostError  float64   `json:"error_most"`
	Blocks     int       `json:"blocks,omitempty"`             // that count
	LeftOut    []float64 `json:"blocks_left_errors,omitempty"` // errors of speed of more blocks, in which memory became faster or slower
	Moved      bool      `json:"blocks_moved,omitempty"`       // it did so in every block: all count

	// Of speeds: the forecast while memory is as slow, or as fast, as in a tenth of the
	// measurements, and the least and the most that memory gave around the runs, in GB/s.
	Low           float64 `json:"predicted_low,omitempty"`
	High          float64 `json:"predicted_high,omitempty"`
	SlowestMemory float64 `json:"memory_gbps_least,omitempty"`
	FastestMemory float64 `json:"memory_gbps_most,omitempty"`
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
	l.Within = math.Abs(l.Error) <= mark && (measured != 0 || predicted == 0)
	return l
}

// drifted is from how much more memory gives before a block than after it, or less, on that the
// machine is said not to have stayed the same.
const drifted = 1.15

// runCheck measures the model that c is about on machine m, which has been measured, and
// prints forecast and measurement.
func (f *planFlags) runCheck(cmd *cobra.Command, m *plume.Machine, c *candidate) error {
	if !c.Fits {
		return errors.New("check the forecast: the model does not fit: " + c.Forecast.Reason)
	}
	ctx, stop := interruptible(cmd.Context())
	defer stop()
	session, err := f.measureSession(ctx, c.Forecast)
	if err != nil {
		return err
	}
	lines := memoryLines(c.Plan, session)
	speed, err := f.checkSpeed(cmd, ctx, m, c)
	if err != nil {
		return err
	}
	lines = append(lines, speed...)
	if f.json {
		return printJSON(cmd.OutOrStdout(), struct {
			Model string      `json:"model"`
			Lines []checkLine `json:"lines"`
		}{c.Model, lines})
	}
	return printCheck(cmd.OutOrStdout(), lines)
}

// sessionTokens are those of the answer that fills a session up.
const sessionTokens = 16

// measureSession runs one session that fills its context, for the peak of memory.
func (f *planFlags) measureSession(ctx context.Context, fc *plume.Forecast) (*sessionReport, error) {
	prompt := max(1, fc.Plan.Context()-sessionTokens)
	args := []string{"bench", "session", fc.Model, "--json", "--kv-type", fc.Plan.KVType(), "--threads", strconv.Itoa(fc.Plan.Threads()),
		"--ctx", strconv.Itoa(fc.Plan.Context()), "--chunk", strconv.Itoa(fc.Plan.Chunk()), "--prompt", strconv.Itoa(prompt),
		"--ple", f.checkPlace(), "--tokens", strconv.Itoa(min(sessionTokens, fc.Plan.Context()-prompt)), "--repeat", "1"}
	if f.rows != 0 {
		args = append(args, "--ple-cache", f.rows.String())
	}
	if f.ram > 0 {
		args = append(args, "--ram", strconv.FormatInt(int64(f.ram), 10))
	}
	var r sessionReport
	return &r, runPlume(ctx, &r, args...)
}

// runPlume runs this program with arguments and reads the JSON object that it prints.
func runPlume(ctx context.Context, into any, args ...string) error {
	return watchPlume(ctx, into, func(int) {}, args...)
}

// watchPlume is runPlume that says which process it has begun.
func watchPlume(ctx context.Context, into any, begun func(pid int), args ...string) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	child := exec.CommandContext(ctx, program, args...)
	var text, stderr bytes.Buffer
	child.Stdout, child.Stderr = &text, &stderr
	if err = child.Start(); err == nil {
		begun(child.Process.Pid)
		err = child.Wait()
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("run plume %s: %w: %s", args[0], err, lastLine(stderr.Bytes()))
	}
	if err := json.Unmarshal(text.Bytes(), into); err != nil {
		return fmt.Errorf("read what plume %s prints: %w", args[0], err)
	}
	return nil
}

// memoryLines puts the plan and the peak of a session side by side.
func memoryLines(p *plume.MemoryPlan, session *sessionReport) []checkLine {
	peak := session.Stats.Memory.ProcessPeak
	if peak == 0 {
		return nil
	}
	most := newCheckLine("memory, at most", "MiB", mib(p.Total()), mib(peak), 0)
	most.Within = p.Total() >= peak
	return []checkLine{
		most,
		newCheckLine("memory, expected", "MiB", mib(p.Expected(session.Prompt+session.Tokens)), mib(peak), memoryMark),
	}
}

func printCheck(w io.Writer, lines []checkLine) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\tpredicted\tmeasured\terror\tof so many blocks\tmark\t\tmemory GB/s meanwhile")
	var left []string
	moved := false
	for _, l := range lines {
		verdict, predicted, memory := "within", fmt.Sprintf("%.2f", l.Predicted), ""
		if !l.Within {
			verdict = "MISSED"
		}
		if l.High > l.Low {
			predicted += fmt.Sprintf(" (%.1f–%.1f)", l.Low, l.High)
		}
		if l.SlowestMemory > 0 {
			memory = fmt.Sprintf("%.1f–%.1f", l.SlowestMemory, l.FastestMemory)
		}
		mark := "no more"
		if l.Mark > 0 {
			mark = fmt.Sprintf("%.0f %%", 100*l.Mark)
		}
		spread := ""
		if l.LeastError != 0 || l.MostError != 0 {
			spread = fmt.Sprintf("%+.1f to %+.1f %%", 100*l.LeastError, 100*l.MostError)
		}
		if l.Blocks > 0 {
			spread += fmt.Sprintf(" (%d of %d)", l.Blocks, l.Blocks+len(l.LeftOut))
		}
		for _, e := range l.LeftOut {
			left = append(left, fmt.Sprintf("%+.1f %%", 100*e))
		}
		moved = moved || l.Moved
		fmt.Fprintf(t, "%s, %s\t%s\t%.2f\t%+.1f %%\t%s\t%s\t%s\t%s\n", l.What, l.Unit, predicted, l.Measured, 100*l.Error, spread, mark, verdict, memory)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w, "\nEach block is predicted from what the machine gave right before and after it; shown is the one whose error is in the middle.")
	if left != nil {
		fmt.Fprintf(w, "In %d more blocks memory became faster or slower by over %.0f %%: they do not count. Errors of speed there: %s.\n", len(left), 100*(drifted-1), strings.Join(left, ", "))
	}
	if !moved {
		return nil
	}
	_, err := fmt.Fprintln(w, "Where that happened in every block, all count.")
	return err
}
