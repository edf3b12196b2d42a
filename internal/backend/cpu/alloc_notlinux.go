//go:build !linux

package cpu

func adviseHuge([]byte, int, int) {}

func hugePages([]byte) {}
