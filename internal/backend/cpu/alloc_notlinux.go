//go:build !linux

package cpu

// adviseSmall is for systems that give huge pages where they are asked for.
func adviseSmall([]byte) {}
