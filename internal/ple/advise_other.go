//go:build !linux

package ple

import "os"

func adviseRandom(f *os.File, off, n int64) {}

func adviseSoon(f *os.File, off int64, n int) {}
