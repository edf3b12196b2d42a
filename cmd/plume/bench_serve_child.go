package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/spf13/cobra"
)

// servedAt finds the address in what serve prints.
var servedAt = regexp.MustCompile(`^plume: serving .+ on (http://\S+)`)

// childServer is a `plume serve` that belongs to a measurement.
type childServer struct {
	url   string
	child *exec.Cmd
	said  sync.WaitGroup // reads what the child says
}

// start runs `plume serve` with model and waits until it answers.
func (f *benchServeFlags) start(ctx context.Context, cmd *cobra.Command, model string) (*childServer, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	line := append([]string{"serve", "-m", model, "--listen", "127.0.0.1:0", "--log-level", "error",
		"--ctx", strconv.Itoa(f.open.context), "--sequences", strconv.Itoa(f.sequences), "--queue", strconv.Itoa(f.queue)}, f.open.args()...)
	s := &childServer{child: exec.CommandContext(ctx, program, line...)}
	s.child.Env = append(os.Environ(), keyVariable+"=") // nobody else reaches it before it ends
	out, err := s.child.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := s.child.Start(); err != nil {
		return nil, fmt.Errorf("start plume serve: %w", err)
	}
	lines := bufio.NewScanner(out)
	var failure string
	s.url, failure = awaitServed(lines)
	s.said.Go(func() { // or it would stand still when the pipe is full
		for lines.Scan() {
			if text := lines.Text(); len(text) > 0 && text[0] != ' ' {
				fmt.Fprintln(cmd.ErrOrStderr(), text)
			}
		}
		io.Copy(io.Discard, out)
	})
	if s.url == "" {
		s.stop()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fmt.Errorf("start plume serve: %s", failure)
	}
	return s, nil
}

// awaitServed reads what a server prints until it names its address, or until it has ended:
// then failure is the last error it has told, with the hints in the lines behind it.
func awaitServed(lines *bufio.Scanner) (url, failure string) {
	for lines.Scan() {
		line := lines.Text()
		if m := servedAt.FindStringSubmatch(line); m != nil {
			return m[1], ""
		}
		if text, ok := strings.CutPrefix(line, "plume: "); ok {
			failure = text
		} else if failure != "" && strings.HasPrefix(line, "  ") {
			failure += "\n" + line
		}
	}
	return "", failure
}

// stop ends the child. Where there are no interrupts it is killed; it has
// nothing to save.
func (s *childServer) stop() {
	if s.child.Process.Signal(os.Interrupt) != nil {
		s.child.Process.Kill()
	}
	s.said.Wait()
	s.child.Wait()
}
