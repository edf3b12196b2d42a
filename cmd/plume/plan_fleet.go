package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/plume-run/plume"
)

const planFleetLong = `Find how many replicas of a machine serve a load of requests: independent
arrivals, prompts and answers of lognormal length, continuous batching on every
replica, each request to the replica with the fewest. A queueing simulation with
step times from the forecast, without waits for rows; the table is counted once
per replica, and once for all with what its rows would take over the network.`

// fleetFlags are the command line of `plume plan fleet`.
type fleetFlags struct {
	planFlags
	fleet plume.FleetOptions
}

func newPlanFleet() *cobra.Command {
	f := &fleetFlags{
		planFlags: planFlags{prices: plume.DefaultPrices()},
		fleet: plume.FleetOptions{Load: plume.Load{
			Rate: 1, Prompt: plume.Lengths{Mean: 400, P95: 1000}, Answer: plume.Lengths{Mean: 200, P95: 500}, Requests: 20000, Seed: 1,
		}},
	}
	cmd := &cobra.Command{
		Use:   "fleet [MODEL]",
		Short: "Find how many replicas a load takes",
		Long:  planFleetLong,
		Example: `  plume plan fleet --shape e2b --hardware server-2core --rate 2 --first-p99 3
  plume plan fleet e2b.gguf --rate 10 --prompt-mean 1500 --prompt-p95 4000 --token-p99 0.2`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			model := ""
			if len(args) > 0 {
				model = args[0]
			}
			return f.run(cmd, model)
		},
	}
	f.addModel(cmd)
	f.addMachine(cmd)
	f.addLoad(cmd)
	return cmd
}

// addLoad adds the flags that say what the fleet is to serve.
func (f *fleetFlags) addLoad(cmd *cobra.Command) {
	fs, o := cmd.Flags(), &f.fleet
	fs.Float64Var(&o.Load.Rate, "rate", o.Load.Rate, "requests per second")
	fs.Float64Var(&o.Load.Prompt.Mean, "prompt-mean", o.Load.Prompt.Mean, "tokens of a prompt, on average")
	fs.Float64Var(&o.Load.Prompt.P95, "prompt-p95", o.Load.Prompt.P95, "19 of 20 prompts are shorter")
	fs.Float64Var(&o.Load.Answer.Mean, "answer-mean", o.Load.Answer.Mean, "tokens of an answer, on average")
	fs.Float64Var(&o.Load.Answer.P95, "answer-p95", o.Load.Answer.P95, "19 of 20 answers are shorter")
	fs.Float64Var(&o.Target.FirstP99, "first-p99", 5, "seconds within which 99 of 100 requests get their first token; 0: any")
	fs.Float64Var(&o.Target.TokenP99, "token-p99", 0.25, "seconds between tokens that 99 of 100 answers stay below; 0: any")
	fs.IntVar(&o.Sequences, "sequences", 0, "answered at once by a replica (default: as many as fit, at most 16)")
	fs.IntVar(&o.Load.Requests, "requests", o.Load.Requests, "requests to simulate")
	fs.Uint64Var(&o.Load.Seed, "seed", o.Load.Seed, "of the simulation")
}

func (f *fleetFlags) run(cmd *cobra.Command, model string) error {
	if err := f.checkNumbers(cmd); err != nil {
		return usageError{err, cmd}
	}
	specs, err := f.specs(cmd, model)
	if err == nil && len(specs) != 1 {
		err = errors.New("one model at a time")
	}
	if err != nil {
		return usageError{err, cmd}
	}
	m, err := f.machine(cmd, specs)
	if err != nil {
		return err
	}
	f.fleet.ForecastOptions = f.forecast(m)
	fc, err := plume.ForecastFleet(specs[0], f.fleet)
	if err != nil {
		return err
	}
	if f.json {
		return printJSON(cmd.OutOrStdout(), fc)
	}
	_, err = fmt.Fprint(cmd.OutOrStdout(), fc)
	return err
}
