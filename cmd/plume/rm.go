package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/plume-run/plume"
)

func newRm() *cobra.Command {
	return &cobra.Command{
		Use:   "rm NAME...",
		Short: "Remove models that plume pull has brought",
		Long: `Remove models that plume pull has brought, or what a download that was cut off has
left. A packed copy in the cache folder (see plume pack) goes with its model. Nothing
is asked. A model that is being pulled is refused; a program that has one open keeps
it until it ends (on Windows the model is refused instead).`,
		Example: `  plume rm google/gemma-4-E2B-it
  plume rm gemma4:e2b`,
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, names []string) error {
			h, err := plume.NewHub(plume.HubOptions{})
			if err != nil {
				return err
			}
			var errs []error
			for _, name := range names {
				errs = append(errs, removeModel(h, name, cmd.ErrOrStderr()))
			}
			return errors.Join(errs...)
		},
		ValidArgsFunction: completePulled,
	}
}

// removeModel removes a model and the packed copy that is found by where the model lies.
func removeModel(h *plume.Hub, name string, out io.Writer) error {
	var path, copied string
	if m, err := h.Find(name); err == nil {
		path = m.Path
		if copied, err = plume.PackedPath(path); err != nil {
			copied = "" // no folder, no copy
		}
	}
	full, err := h.Remove(name)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "removed %s\n", full)
	if copied == "" {
		return nil
	}
	switch _, err := plume.RemovePacked(path, copied); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("%s: %w", full, err)
	default:
		fmt.Fprintf(out, "removed its packed copy %s\n", copied)
	}
	return nil
}
