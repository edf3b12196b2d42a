package main

import (
	"cmp"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/plume-run/plume"
)

func newList() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the models that plume pull has brought",
		Long: `List the models that plume pull has brought, and the downloads that were cut off.
TYPE is the model's shape and the number format of most of its bytes.

With --json, one object: "models" with everything that is known about each, its
path and the sums of its files included, and "unfinished".`,
		Example: `  plume list
  plume list --json | jq -r '.models[].path'`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			h, err := plume.NewHub(plume.HubOptions{})
			if err != nil {
				return err
			}
			models, err := h.Models()
			if err != nil {
				return err
			}
			unfinished, err := h.Unfinished()
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), map[string]any{"dir": h.Dir(), "models": models, "unfinished": append([]plume.HubUnfinished{}, unfinished...)})
			}
			return printModels(cmd, h, models, unfinished)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func printModels(cmd *cobra.Command, h *plume.Hub, models []plume.HubModel, unfinished []plume.HubUnfinished) error {
	if len(models) > 0 {
		w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
		fmt.Fprintf(w, "NAME\tSIZE\tTYPE\tPULLED\n")
		for _, m := range models {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", m.Name, sizeText(m.Bytes), cmp.Or(m.Type, m.Format), m.Pulled.Local().Format("2006-01-02 15:04"))
		}
		if err := w.Flush(); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(cmd.ErrOrStderr(), "no models in %s; plume pull NAME brings one\n", h.Dir())
	}
	for _, u := range unfinished {
		fmt.Fprintf(cmd.ErrOrStderr(), "unfinished: %s, %s of %s; plume pull %s goes on\n", u.Name, sizeText(u.Done), sizeText(u.Bytes), u.Name)
	}
	return nil
}
