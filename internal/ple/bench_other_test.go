//go:build !linux

package ple

import "os"

func dropCached(*os.File) {}
