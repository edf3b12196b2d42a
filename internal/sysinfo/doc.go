// Package sysinfo asks the operating system what the machine is made of, where measuring
// cannot tell: how much energy was used ([Meter]), which graphics cards are there with how
// much memory ([GPU]), and how much memory is free ([FreeMemory]).
//
// Everything is read from files (on Linux /sys and /proc) or asked of programs that may be
// missing; a machine that tells nothing is no error. A [Host] says where to look, so that tests
// bring their own machine. It knows neither models nor devices, starts no goroutine that
// outlives a [Span], and does not change anything. Used by the root package.
package sysinfo

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// Host is the machine that is asked.
type Host struct {
	// Files is the root of the file system.
	Files fs.FS
	// Run runs a program and returns what it prints.
	Run func(ctx context.Context, program string, args ...string) ([]byte, error)
	// Unified returns a processor's own graphics that use the machine's memory, where the
	// system tells of them elsewhere than in files.
	Unified func() (GPU, bool)
}

// This is the machine at hand.
func This() *Host {
	return &Host{Files: os.DirFS("/"), Run: run, Unified: unified}
}

func run(ctx context.Context, program string, args ...string) ([]byte, error) {
	return exec.CommandContext(ctx, program, args...).Output()
}

// text is what a small file holds, without the line's end; "" where it cannot be read.
func (h *Host) text(name string) string {
	data, err := fs.ReadFile(h.Files, name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// number is a file's decimal number, 0 where there is none.
func (h *Host) number(name string) int64 {
	n, err := strconv.ParseInt(h.text(name), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// glob lists files; patterns are ours and well formed.
func (h *Host) glob(pattern string) []string {
	names, err := fs.Glob(h.Files, pattern)
	if err != nil {
		panic("sysinfo: internal error: " + err.Error())
	}
	return names
}
