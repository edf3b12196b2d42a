//go:build amd64 && !purego

package kernel

import "golang.org/x/sys/cpu"

// Which variants the entries call. Plain bools and direct calls: a call through a func
// variable would make every argument escape.
var useAVX2, useAVX512 bool

func supported() []string {
	levels := []string{levelGeneric}
	x := &cpu.X86
	// Every CPU with AVX2 and FMA has F16C, which x/sys does not report before
	// AVX2 does; there is none without it.
	if !x.HasAVX2 || !x.HasFMA {
		return levels
	}
	levels = append(levels, levelAVX2)
	if x.HasAVX512F && x.HasAVX512BW && x.HasAVX512VL && x.HasAVX512DQ && x.HasAVX512VNNI {
		levels = append(levels, levelAVX512)
	}
	return levels
}

func apply(level string) {
	useAVX2 = level == levelAVX2 || level == levelAVX512
	useAVX512 = level == levelAVX512
	prefetchAhead = 2 << 10
	if cpu.X86.HasAVX512VNNI {
		prefetchAhead = 0
	}
}
