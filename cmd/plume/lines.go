package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// errLines says that some lines failed; each has been reported already.
var errLines = errors.New("some lines failed")

// maxLine bounds one line of input.
const maxLine = 256 << 20

// eachLine calls fn with every line of stdin that is not blank and writes what
// it returns. A line that fails is reported with its number and gives the
// line instead, so that output lines keep their partners; the rest goes on.
func eachLine(cmd *cobra.Command, instead string, fn func(line []byte) ([]byte, error)) error {
	in := bufio.NewReaderSize(cmd.InOrStdin(), 1<<16)
	out := bufio.NewWriterSize(cmd.OutOrStdout(), 1<<16)
	failed := 0
	for n := 1; ; n++ {
		line, err := readLine(in)
		if err == io.EOF {
			break
		} else if err != nil {
			out.Flush()
			return fmt.Errorf("read line %d: %w", n, err)
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		res, err := fn(line)
		if err != nil {
			fmt.Fprintf(cmd.ErrOrStderr(), "plume: line %d: %v\n", n, err)
			failed++
			res = []byte(instead)
		}
		out.Write(append(res, '\n'))
		if in.Buffered() == 0 { // answer a partner that waits before it goes on
			if err := out.Flush(); err != nil {
				return fmt.Errorf("write: %w", err)
			}
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if failed > 0 {
		return fmt.Errorf("%w: %d", errLines, failed)
	}
	return nil
}

// readLine returns the next line without its end, io.EOF after the last.
func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > maxLine:
			return nil, fmt.Errorf("longer than %d bytes", maxLine)
		case err == bufio.ErrBufferFull:
			continue
		case err == io.EOF && len(line) > 0, err == nil:
			return bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r")), nil
		}
		return nil, err
	}
}
