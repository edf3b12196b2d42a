// Package plan decides, from a model's headers alone, what a process that runs it
// keeps in memory, which weights it reads for every token instead, and whether that
// fits a budget.
//
// Its numbers come from the code that allocates: package gemma sizes weights, caches
// and steps, the device's backend.Sizer sizes what is the device's. What has no
// formula (the Go runtime, the program's pages) is a named allowance in
// this package. It reads no tensor, allocates nothing large, asks the system nothing
// and changes nothing: the root package finds the budget and obeys the plan.
//
// All functions may be called by any number of goroutines; a Plan is a value that
// owns its memory.
package plan
