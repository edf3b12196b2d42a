package main

import (
	"context"
	"errors"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/plume-run/plume"
	"github.com/plume-run/plume/internal/checkpoint"
)

// Exit codes.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitCorrupt     = 4
	exitUnsupported = 5
	exitContext     = 6
	exitInput       = 7
	exitMemory      = 8
	exitInterrupted = 130
)

const exitHelp = `Exit codes: 0 success, 1 other failure, 2 wrong usage, 3 file not found,
4 corrupt file, 5 unsupported by plume or by the model, 6 context full,
7 some input lines failed, 8 not enough memory, 130 interrupted.`

// errorClass is one line of the table that turns errors into exit codes; the
// first line that fits counts.
type errorClass struct {
	is   error
	code int
	hint string
}

var errorClasses = []errorClass{
	{errInterrupted, exitInterrupted, ""},
	{context.Canceled, exitInterrupted, ""},
	{errLines, exitInput, ""},
	{errNoModel, exitNotFound, `a model is a GGUF file, a folder with config.json, or what plume pull has brought; "demo" is built in`},
	{plume.ErrHubName, exitUsage, "see: plume pull --help"},
	{plume.ErrHubDamaged, exitCorrupt, ""},
	{plume.ErrHubNotFound, exitNotFound, ""},
	{plume.ErrHubUnusable, exitUnsupported, ""},
	{fs.ErrNotExist, exitNotFound, ""},
	{plume.ErrCorrupt, exitCorrupt, "the file is damaged or incomplete: fetch or convert it again"},
	{plume.ErrNoTokenizer, exitUnsupported, "put tokenizer.json beside the weights, or work with token ids"},
	{plume.ErrUnsupported, exitUnsupported, ""},
	{checkpoint.ErrUnsupported, exitUnsupported, ""},
	{plume.ErrContextFull, exitContext, "a larger --ctx, or a shorter prompt, makes room"},
	{plume.ErrMemory, exitMemory, "plume inspect MODEL --ram SIZE shows what takes how much; --ram sets another budget"},
	{plume.ErrRequest, exitUsage, ""},
	{plume.ErrToken, exitUsage, ""},
}

// errNoModel marks the name of a model that is not there.
var errNoModel = errors.New("no such file or folder")

// usageError is a command line that cannot be understood.
type usageError struct {
	err error
	cmd *cobra.Command
}

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// classify returns the exit code of err and a hint for people, which may be "".
func classify(err error) (code int, hint string) {
	var usage usageError
	if errors.As(err, &usage) {
		return exitUsage, strings.TrimSpace("see: " + usage.cmd.CommandPath() + " --help")
	}
	for _, c := range errorClasses {
		if errors.Is(err, c.is) {
			return c.code, c.hint
		}
	}
	return exitFailed, ""
}
