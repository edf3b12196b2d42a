//go:build arm64 && !purego

package kernel

import "golang.org/x/sys/cpu"

// Which variants the entries call; see cpu_amd64.go for why these are bools.
var useNEON, useDot bool

func supported() []string {
	levels := []string{levelGeneric, levelNEON} // every arm64 has NEON
	if cpu.ARM64.HasASIMDDP {
		levels = append(levels, levelDot)
	}
	return levels
}

func apply(level string) {
	useNEON = level == levelNEON || level == levelDot
	useDot = level == levelDot
}
