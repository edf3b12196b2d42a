package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/plume-run/plume"
)

// runFit holds the model against the storage under --fit.
func (f *storageFlags) runFit(cmd *cobra.Command) error {
	fmt.Fprintln(cmd.ErrOrStderr(), "measuring storage, twice …")
	fit, err := plume.FitStorage(f.fit)
	if err != nil {
		return fmt.Errorf("fit storage: %w", err)
	}
	if f.json {
		return printJSON(cmd.OutOrStdout(), fit)
	}
	return printFit(cmd.OutOrStdout(), fit)
}

func printFit(w io.Writer, fit *plume.StorageFit) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "KiB\tdepth\tmeasured/s\tagain\tdifference\tmodel/s\terror\t\t")
	for _, p := range fit.Points {
		note := ""
		switch {
		case !p.Steady:
			note = "not steady"
		case !p.Fitted:
			note = "not fitted"
		}
		fmt.Fprintf(t, "%d\t%d\t%.0f\t%.0f\t%+.1f %%\t%.0f\t%+.1f %%\t%s\t\n",
			p.Bytes>>10, p.Depth, p.Measured, p.Again, 100*p.Spread, p.Model, 100*p.Error, note)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if fit.Unsteady {
		fmt.Fprintln(w, "\ntoo few points are steady: the model is fitted to the others as well, and says little about this storage; measure again when it is idle")
	}
	_, err := fmt.Fprintf(w, `
%d of %d points are steady: measured twice, they do not differ by more than %.0f %%
of these the model is within %.0f %% of the mean of both at %d; its worst error is %.0f %%
one after the other, in blocks of 1 MiB: %.2f GB/s measured, %.2f by the model
`, fit.Steady, len(fit.Points), 100*plume.FitMark, 100*plume.FitMark, fit.Within, 100*fit.Worst, fit.ReadGBps, fit.ModelGBps)
	return err
}
