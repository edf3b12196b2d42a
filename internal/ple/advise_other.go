//go:build !linux

package ple

import "os"

func adviseRandom(f *os.File, off, n int64) {}

func adviseSoon(f *os.File, off int64, n int) {}

func adviseGone(f *os.File, off int64, n int) {}

// directHides: nothing else would need fewer goroutines.
func directHides() bool { return true }

func hasRing() bool { return false }
