//go:build !darwin

package sysinfo

func unified() (GPU, bool) { return GPU{}, false }
