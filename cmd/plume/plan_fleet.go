package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/plume-run/plume"
)

const planFleetLong = `Find how many replicas of a machine serve a load of requests: a queueing
simulation with prompts and answers of lognormal length and continuous batching on
every replica as 'plume serve' does it, each request going to the replica with the
fewest. Requests come at a --rate, independent of one another or in --burst; or
from --users who each wait for their answer and --think before they ask again.

What a step takes is the forecast's, waits for rows of the table included. With
--first-p99 0 and --token-p99 0 one replica is enough: what it would do for so many
users is then what 'plume bench serve' measures.

Two fleets are set side by side: with a copy of the table on every replica's
storage, and with one table for all, in the memory of a server like a replica, asked
over a network. docs/planning.md has the formulas.`

// fleetFlags are the command line of `plume plan fleet`.
type fleetFlags struct {
	planFlags
	fleet plume.FleetOptions
}

func newPlanFleet() *cobra.Command {
	f := &fleetFlags{
		planFlags: planFlags{prices: plume.DefaultPrices()},
		fleet: plume.FleetOptions{Load: plume.Load{
			Prompt: plume.Lengths{Mean: 400, P95: 1000}, Answer: plume.Lengths{Mean: 200, P95: 500}, Requests: 20000, Seed: 1,
		}},
	}
	cmd := &cobra.Command{
		Use:   "fleet [MODEL]",
		Short: "Find how many replicas a load takes",
		Long:  planFleetLong,
		Example: `  plume plan fleet --shape e2b --hardware server-2core --rate 2 --first-p99 3
  plume plan fleet e2b.gguf --rate 10 --prompt-mean 1500 --prompt-p95 4000 --token-p99 0.2
  plume plan fleet --shape e2b --hardware laptop --users 500 --think 30
  plume plan fleet --shape e2b --hardware laptop --rate 5 --burst 10 --network-rtt-us 5000`,
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
	fs.Float64Var(&o.Load.Rate, "rate", 0, "requests per second (default 1, without --users)")
	fs.Float64Var(&o.Load.Burst, "burst", 0, "variance of the times between arrivals, by their mean squared (default 1: independent arrivals)")
	fs.IntVar(&o.Load.Users, "users", 0, "in place of --rate: users who each wait for an answer before they ask again")
	fs.Float64Var(&o.Load.Think, "think", 0, "seconds from an answer to the user's next request, on average")
	fs.Float64Var(&o.Load.Prompt.Mean, "prompt-mean", o.Load.Prompt.Mean, "tokens of a prompt, on average")
	fs.Float64Var(&o.Load.Prompt.P95, "prompt-p95", o.Load.Prompt.P95, "19 of 20 prompts are shorter")
	fs.Float64Var(&o.Load.Answer.Mean, "answer-mean", o.Load.Answer.Mean, "tokens of an answer, on average")
	fs.Float64Var(&o.Load.Answer.P95, "answer-p95", o.Load.Answer.P95, "19 of 20 answers are shorter")
	fs.Float64Var(&o.Target.FirstP99, "first-p99", 5, "seconds within which 99 of 100 requests get their first token; 0: any")
	fs.Float64Var(&o.Target.TokenP99, "token-p99", 0.25, "seconds between tokens that 99 of 100 answers stay below; 0: any")
	fs.IntVar(&o.Sequences, "sequences", 0, "answered at once by a replica (default: as many as fit, at most 16)")
	fs.IntVar(&o.ChunkTokens, "busy-chunk", 32, "prompt tokens of a step in which others decode")
	fs.Float64Var(&o.Network.RTT, "network-rtt-us", 200, "one table for all: µs from a question to the first byte of its answer")
	fs.Float64Var(&o.Network.Rate, "network-mbps", 1250, "and 10⁶ bytes per second that its server's link carries")
	fs.Float64Var(&o.StoragePrice, "storage-price", 0.1, "price of 10⁹ bytes of a replica's storage")
	fs.Float64Var(&f.prices.Life, "life-years", f.prices.Life, "years after which the machine is worth nothing")
	fs.Float64Var(&f.prices.Power, "power-price", f.prices.Power, "price of a kWh")
	fs.Float64Var(&f.prices.Overhead, "power-overhead", f.prices.Overhead, "power drawn for each watt used: cooling, supply")
	fs.IntVar(&o.Load.Requests, "requests", o.Load.Requests, "requests to simulate")
	fs.Uint64Var(&o.Load.Seed, "seed", o.Load.Seed, "of the simulation")
}

func (f *fleetFlags) run(cmd *cobra.Command, model string) error {
	if err := f.checkNumbers(cmd); err != nil {
		return usageError{err, cmd}
	}
	if cmd.Flags().Changed("vram") {
		return usageError{errors.New("plan fleet computes on processors: leave --vram out ('plume plan --vram' says what a card would hold)"), cmd}
	}
	if l := &f.fleet.Load; !cmd.Flags().Changed("rate") && l.Users == 0 && l.Think == 0 {
		l.Rate = 1
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
