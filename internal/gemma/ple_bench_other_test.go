//go:build !linux

package gemma

import "os"

func dropPages(*os.File) {}
