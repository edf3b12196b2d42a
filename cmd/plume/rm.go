package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/plume-run/plume"
)

func newRm() *cobra.Command {
	return &cobra.Command{
		Use:   "rm NAME...",
		Short: "Remove models that plume pull has brought",
		Long: `Remove models that plume pull has brought, or what a download that was cut off has
left. Nothing is asked. A model that is being pulled is refused; a program that has
one open keeps it until it ends (on Windows the model is refused instead).`,
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
				full, err := h.Remove(name)
				if err != nil {
					errs = append(errs, err)
					continue
				}
				fmt.Fprintf(cmd.ErrOrStderr(), "removed %s\n", full)
			}
			return errors.Join(errs...)
		},
		ValidArgsFunction: completePulled,
	}
}
