package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/plume-run/plume"
)

const packLong = `Write a packed copy of a model's weights: as the processor's kernels want them, in
order of use. A start then only reads them, into their place, and weights that are
read for every token (see --ram) need no packing each time. The per-layer table
stays in the model's file, which is needed as before. Answers are the same.

The copy takes as much disk as the weights take memory. It is kept in the cache
folder ($PLUME_CACHE, or plume in the user's), not beside the model, unless -o says
so; every command finds it there (--packed auto). One that -o has put elsewhere is
named by --packed FILE.

It belongs to one model file, known by length, time of change, all tensors' names and
places and some pages, and to the layouts of this program: when one of them changes,
it is not used, and a note says so. Each 16 rows have a checksum that is looked at
whenever they are read; where it is wrong the model's file is read instead, with a
note. --verify reads the whole copy; --remove deletes it.`

type packFlags struct {
	out            string
	remove, verify bool
	json           bool
}

func newPack() *cobra.Command {
	var f packFlags
	cmd := &cobra.Command{
		Use:   "pack MODEL",
		Short: "Write a copy of the weights that starts faster",
		Long:  packLong,
		Example: `  plume pack e2b.gguf
  plume pack e2b.gguf --verify
  plume pack e2b.gguf --remove`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0]) },
	}
	fs := cmd.Flags()
	fs.StringVarP(&f.out, "out", "o", "", "`file` of the copy (default: one in the cache folder)")
	fs.BoolVar(&f.remove, "remove", false, "delete the copy")
	fs.BoolVar(&f.verify, "verify", false, "read the copy and compare it with its checksums")
	fs.BoolVar(&f.json, "json", false, "print one JSON object: path, bytes, reason")
	cmd.MarkFlagsMutuallyExclusive("remove", "verify")
	return cmd
}

func (f *packFlags) run(cmd *cobra.Command, name string) error {
	path, err := modelPath(cmd, name)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(cmd.Context())
	defer stop()
	switch {
	case f.remove:
		return f.delete(cmd, path)
	case f.verify:
		return f.check(ctx, cmd, path)
	}
	b := newBar(cmd.ErrOrStderr(), "packing", unitBytes)
	c, err := plume.Pack(ctx, path, plume.PackOptions{Out: f.out, Progress: b.set})
	b.end()
	if err != nil {
		return err
	}
	return f.print(cmd, c, "packed")
}

func (f *packFlags) delete(cmd *cobra.Command, path string) error {
	file, err := plume.RemovePacked(path, f.out)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s has no packed copy: %w", path, err)
	}
	if err != nil {
		return err
	}
	return f.print(cmd, &plume.PackedCopy{Path: file}, "removed")
}

// check fails for a copy that cannot be used.
func (f *packFlags) check(ctx context.Context, cmd *cobra.Command, path string) error {
	b := newBar(cmd.ErrOrStderr(), "reading", unitBytes)
	c, err := plume.VerifyPacked(ctx, path, f.out, b.set)
	b.end()
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s has no packed copy: %w", path, err)
	}
	if err == nil && c.Reason != "" {
		err = fmt.Errorf("the packed copy cannot be used: %s", c.Reason)
	}
	if c != nil && f.json {
		return errors.Join(err, printJSON(cmd.OutOrStdout(), c))
	}
	if err != nil {
		return err
	}
	return f.print(cmd, c, "sound")
}

func (f *packFlags) print(cmd *cobra.Command, c *plume.PackedCopy, done string) error {
	if f.json {
		return printJSON(cmd.OutOrStdout(), c)
	}
	text := c.Path
	if c.Bytes > 0 {
		text += fmt.Sprintf(" (%s)", sizeText(c.Bytes))
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", done, text)
	return err
}
