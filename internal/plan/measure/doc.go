// Package measure finds the figures of a forecast.Machine on the machine at hand: what the
// device's kernels reach on weights of each type, and how the storage answers random and
// sequential reads.
//
// It measures through the contract of package backend, so it knows no device, and through
// io.ReaderAt, so it knows no file: the caller opens them, and sees to it that reads reach
// the storage and not a copy in memory. A measurement takes seconds, is as noisy as the
// machine is busy, and is used by one goroutine. The root package calls it.
package measure
