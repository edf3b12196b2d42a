//go:build !linux

package cpu

// Neither is known here.
func physicalCores() int { return 0 }
func quotaThreads() int  { return 0 }
