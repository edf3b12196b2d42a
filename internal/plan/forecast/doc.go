// Package forecast says how fast a model will run on a machine, what that takes in energy
// and what it costs, before anything is loaded.
//
// It joins four things: what a step computes (gemma.Weights.Ops, counted by the code that
// computes), what the machine does per second (a [Machine], measured or from a profile
// whose figures have sources), how its storage answers (package flash), and prices. Every
// formula is in docs/planning.md with its units.
//
// It is pure: it measures nothing, reads no clock and no tensor. The root package measures
// and asks. Values are plain data; all functions may be called by any number of goroutines.
package forecast
