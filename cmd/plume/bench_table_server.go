package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// newTableServer is the web server of `plume bench table`. It is not shown in help:
// any web server that knows ranges is as good to others.
func newTableServer() *cobra.Command {
	var latency time.Duration
	cmd := &cobra.Command{
		Use:    "server FILE",
		Short:  "Serve one file on a free port of this machine until the input ends",
		Hidden: true,
		Args:   args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return serveTable(cmd.InOrStdin(), cmd.OutOrStdout(), args[0], latency)
		},
	}
	cmd.Flags().DurationVar(&latency, "latency", 0, "before each answer")
	return cmd
}

// serveTable prints its URL and answers with ranges of a file, each one latency
// later, until in ends.
func serveTable(in io.Reader, out io.Writer, path string, latency time.Duration) error {
	if _, err := os.Stat(path); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(latency)
		http.ServeFile(w, r, path)
	})}
	fmt.Fprintf(out, "http://%s/table\n", l.Addr())
	go func() {
		io.Copy(io.Discard, in)
		srv.Close()
	}()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// tableServer is that server in a process of its own.
type tableServer struct {
	url  string
	cmd  *exec.Cmd
	stay io.Closer // its input
}

// startTableServer starts it, by the command of --server-by if there is one.
func startTableServer(ctx context.Context, file string, f *tableFlags) (*tableServer, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	line := append(strings.Fields(f.serverBy), program, "bench", "table", "server", file, "--latency", f.latency.String())
	s := &tableServer{cmd: exec.CommandContext(ctx, line[0], line[1:]...)}
	s.cmd.Stderr = os.Stderr
	if s.stay, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the web server: %w", err)
	}
	if s.url, err = bufio.NewReader(out).ReadString('\n'); err != nil {
		s.stop()
		return nil, fmt.Errorf("start the web server: %w", err)
	}
	s.url = strings.TrimSpace(s.url)
	return s, nil
}

func (s *tableServer) stop() {
	s.stay.Close()
	s.cmd.Wait()
}
