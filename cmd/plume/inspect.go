package main

import (
	"cmp"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/plume-run/plume"
)

func newInspect() *cobra.Command {
	var (
		asJSON bool
		open   modelFlags
	)
	cmd := &cobra.Command{
		Use:   "inspect MODEL",
		Short: "Show what a model file holds",
		Long: `Show what a model file holds: parameters by role, bytes by type, and what plume
will load, leave on disk, or not use. Only headers are read.

With --ram SIZE, show instead what a run within that budget would hold, use by
use, where the per-layer table would be, what had to shrink for it, and which
weights would be read from disk for every token, with the most tokens per second
that the disk then allows; a budget that is too small is refused with the smallest
one that works (exit code 8). --ram auto takes the budget that a run would find.`,
		Example: `  plume inspect demo
  plume inspect e2b.gguf --json | jq .tiers
  plume inspect e2b.gguf --ram 1500MiB --ctx 8192
  plume inspect e2b.gguf --ram auto`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := modelPath(cmd, args[0])
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("ram") {
				return printPlan(cmd.OutOrStdout(), path, &open, asJSON)
			}
			in, err := plume.Inspect(path)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), in)
			}
			return printInspection(cmd.OutOrStdout(), in)
		},
	}
	fs := cmd.Flags()
	fs.BoolVar(&asJSON, "json", false, "print one JSON object")
	fs.IntVar(&open.context, "ctx", 0, "with --ram: tokens of context (default: the model's, at most 4096, less where memory is short)")
	fs.IntVar(&open.chunk, "chunk", 0, "with --ram: prompt tokens per step (default 256, less where memory is short)")
	open.add(cmd, "f16")
	fs.Lookup("ram").Usage = "plan a run within this much memory, as 1500MiB or 1.5G; auto: $" + plume.RAMVariable + ",\nthe memory cgroup's limit, or what is free"
	return cmd
}

// printPlan prints what a run would hold.
func printPlan(out io.Writer, path string, f *modelFlags, asJSON bool) error {
	o, err := f.options()
	if err != nil {
		return err
	}
	p, err := plume.Plan(path, o)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(out, p)
	}
	_, err = fmt.Fprint(out, p)
	return err
}

var tierWords = map[plume.Tier]string{
	plume.TierResident: "memory",
	plume.TierDisk:     "stays on disk",
	plume.TierUnused:   "not used",
}

func printInspection(out io.Writer, in *plume.Inspection) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%s\n", in.Path)
	fmt.Fprintf(w, "  shape\t%s\n", cmp.Or(in.Name, "none of the published ones"))
	fmt.Fprintf(w, "  format\t%s, %d tensors, %s parameters, %s\n", in.Format, in.Tensors, countText(in.Parameters), sizeText(in.Bytes))
	fmt.Fprintf(w, "  decoder\t%d layers of %d, window %d, context %d\n", in.Layers, in.Hidden, in.Window, in.Context)
	if in.Tokens > 0 {
		fmt.Fprintf(w, "  text\t%d tokens, %s chat template\n", in.Tokens, in.Template)
	} else {
		fmt.Fprintf(w, "  text\tno vocabulary: token ids only (%d)\n", in.Vocab)
	}
	if c := in.Packed; c != nil && c.Reason == "" {
		fmt.Fprintf(w, "  packed copy\t%s, weights are read from it: %s\n", sizeText(c.Bytes), c.Path)
	} else if c != nil {
		fmt.Fprintf(w, "  packed copy\tnot used: %s\n", c.Reason)
	}
	if p := in.PLE; p != nil {
		fmt.Fprintf(w, "  PLE table\t%d rows of %d values, %s, %s a token\n", p.Rows, p.Values, p.Type, sizeText(p.RowBytes))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out)
	w = tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "role\ttensors\tparameters\tsize\t  place\n")
	for _, r := range in.Roles {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t  %s\n", r.Role, r.Tensors, countText(r.Parameters), sizeText(r.Bytes), tierWords[r.Tier])
	}
	fmt.Fprintf(w, "\t\t\t\t\n")
	fmt.Fprintf(w, "type\ttensors\tparameters\tsize\t\n")
	for _, t := range in.Types {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t\n", t.Type, t.Tensors, countText(t.Parameters), sizeText(t.Bytes))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\nin memory %s, on disk %s, not used %s\n",
		sizeText(in.TierBytes(plume.TierResident)), sizeText(in.TierBytes(plume.TierDisk)), sizeText(in.TierBytes(plume.TierUnused)))
	for _, n := range in.Notes {
		fmt.Fprintf(out, "note: %s\n", n)
	}
	return err
}
