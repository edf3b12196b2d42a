package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/plume-run/plume"
	"github.com/plume-run/plume/internal/gemma"
)

const planStorageLong = `Replay look-ups of a model's per-layer table on simulated storage: read by the
host, row by row, and gathered by a device that cuts rows out of its pages
itself, so that only useful bytes cross the bus. For each: time until a step's
rows are there, how long the step stands still for them, bytes on the bus and
energy for each row, and how many rows per second the storage could keep up.

Rows are those of tokens that do not repeat, or of a text's tokens (--ids); a row
that several users need in the same step is read once. No product gathers rows
yet: those lines are what could be gained.`

func newPlanStorage() *cobra.Command {
	var (
		spec    plume.ModelSpec
		o       plume.StorageOptions
		ids     string
		asJSON  bool
		compute float64
	)
	cmd := &cobra.Command{
		Use:   "storage [MODEL]",
		Short: "Simulate look-ups by the host and inside the device",
		Long:  planStorageLong,
		Example: `  plume plan storage --shape e2b
  plume plan storage --shape e2b --storage ufs-3.1,nvme --users 1,1024 --compute-ms 100
  plume tokenize demo <lines.json | plume plan storage demo --ids -`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(args) > 0) == (spec.Shape != "") {
				return usageError{fmt.Errorf("want a MODEL or a --shape"), cmd}
			}
			var err error
			if len(args) > 0 {
				if spec.Path, err = modelPath(cmd, args[0]); err != nil {
					return err
				}
			}
			if ids != "" {
				if o.IDs, err = readIDs(cmd, ids); err != nil {
					return err
				}
			}
			o.Compute = time.Duration(compute * float64(time.Millisecond))
			list, err := plume.ForecastStorage(spec, o)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), list)
			}
			return printStorage(cmd.OutOrStdout(), list)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&spec.Shape, "shape", "", "a model that need not exist: e2b or e4b")
	fs.StringVar(&spec.Type, "type", "q4_0", "type of the shape's weights")
	fs.StringVar(&spec.PLE, "ple-type", "", "type of the shape's table (default: as convert chooses)")
	fs.StringSliceVar(&o.Storage, "storage", nil, "storage profiles: files, or "+strings.Join(plume.StorageNames(), ", ")+" (default: all)")
	fs.IntSliceVar(&o.Users, "users", nil, "sequences that need a row in the same step (default 1,16,256,4096)")
	fs.Float64Var(&compute, "compute-ms", 25, "what a step computes; a 35th of it passes before rows are used")
	fs.StringVar(&ids, "ids", "", "`FILE` of token ids to look up, - for standard input")
	fs.BoolVar(&asJSON, "json", false, "print JSON")
	complete(cmd, "shape", gemma.Shapes()...)
	complete(cmd, "storage", plume.StorageNames()...)
	return cmd
}

func printStorage(w io.Writer, list []plume.StorageOutcome) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "storage\tusers\tway\tmean ms\tp99 ms\twait ms\tbus B/row\tµJ/row\tpages/row\trows/s\t")
	for _, s := range list {
		fmt.Fprintf(t, "%s\t%d\t%s\t%.2f\t%.2f\t%.2f\t%.0f\t%.1f\t%.2f\t%.0f\t\n",
			s.Storage, s.Users, s.Mode, s.Mean/1000, s.P99/1000, s.Wait/1000, s.Bus, s.Energy, s.Sensed, s.Rate)
	}
	return t.Flush()
}

// maxIDs bounds the text of --ids: far more tokens than change anything.
const maxIDs = 64 << 20

// readIDs reads token ids, with or without brackets, from a file or standard input.
func readIDs(cmd *cobra.Command, path string) ([]int32, error) {
	in := cmd.InOrStdin()
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, maxIDs+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxIDs {
		return nil, fmt.Errorf("read token ids: %s is longer than %d bytes", path, maxIDs)
	}
	return parseIDs(strings.NewReplacer("[", " ", "]", " ", "\n", " ", "\r", " ").Replace(string(text)))
}
