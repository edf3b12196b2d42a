//go:build !unix && !windows

package ple

func allocate(n int) ([]byte, error) { return make([]byte, n), nil }

func free([]byte) error { return nil }
