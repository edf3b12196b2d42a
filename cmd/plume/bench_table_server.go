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
	"runtime"
	"slices"
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

// serveTable prints its URL and answers with ranges of a file, each one latency later,
// until in ends. It shares the processors with what is measured, so it does little: a
// server of net/http took 0.7 ms of processor time for a row.
func serveTable(in io.Reader, out io.Writer, path string, latency time.Duration) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	runtime.GOMAXPROCS(1) // nothing looks for work beside the one that works
	fmt.Fprintf(out, "http://%s/table\n", l.Addr())
	go func() {
		io.Copy(io.Discard, in)
		l.Close()
	}()
	for {
		c, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case err != nil:
			return err
		}
		s := rangeServer{file: f, bytes: st.Size(), latency: latency}
		go s.serve(c)
	}
}

// rangeServer answers the requests of one connection.
type rangeServer struct {
	file    io.ReaderAt
	bytes   int64
	latency time.Duration
	answer  []byte
}

func (s *rangeServer) serve(c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return // gone, or no HTTP
		}
		time.Sleep(s.latency)
		s.read(req.Header.Get("Range"))
		if _, err := c.Write(s.answer); err != nil {
			return
		}
	}
}

// read fills answer with the bytes FROM to TO of a range "bytes=FROM-TO".
func (s *rangeServer) read(span string) {
	var from, to int64
	if _, err := fmt.Sscanf(span, "bytes=%d-%d", &from, &to); err != nil || from < 0 || to < from || to >= s.bytes {
		s.answer = fmt.Appendf(s.answer[:0], "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */%d\r\nContent-Length: 0\r\n\r\n", s.bytes)
		return
	}
	s.answer = fmt.Appendf(s.answer[:0], "HTTP/1.1 206 Partial Content\r\nETag: \"1\"\r\nContent-Range: bytes %d-%d/%d\r\nContent-Length: %d\r\n\r\n",
		from, to, s.bytes, to-from+1)
	head := len(s.answer)
	s.answer = slices.Grow(s.answer, int(to-from+1))[:head+int(to-from+1)]
	if _, err := s.file.ReadAt(s.answer[head:], from); err != nil {
		s.answer = append(s.answer[:0], "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"...)
	}
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
