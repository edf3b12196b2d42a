//go:build amd64 && !purego

package kernel

import "golang.org/x/sys/cpu"

// Which variants the entries call. Plain bools and direct calls: a call through a func
// variable would make every argument escape.
var useAVX2, useAVXVNNI, useAVX512 bool

// vnniIsEVEX says how the AVX-VNNI functions were compiled, see vnni_amd64.h.
func vnniIsEVEX() bool

func supported() []string {
	levels := []string{levelGeneric}
	x := &cpu.X86
	// Every CPU with AVX2 and FMA has F16C, which x/sys does not report before
	// AVX2 does; there is none without it.
	if !x.HasAVX2 || !x.HasFMA {
		return levels
	}
	levels = append(levels, levelAVX2)
	if x.HasAVXVNNI && !vnniIsEVEX() || x.HasAVX512VNNI && x.HasAVX512VL && vnniIsEVEX() {
		levels = append(levels, levelAVXVNNI)
	}
	if x.HasAVX512F && x.HasAVX512BW && x.HasAVX512VL && x.HasAVX512DQ && x.HasAVX512VNNI {
		levels = append(levels, levelAVX512)
	}
	return levels
}

func apply(level string) {
	useAVX2 = level == levelAVX2 || level == levelAVXVNNI || level == levelAVX512
	useAVXVNNI = level == levelAVXVNNI
	useAVX512 = level == levelAVX512
	prefetchAhead = 2 << 10
	if cpu.X86.HasAVX512VNNI || cpu.X86.HasAVXVNNI {
		prefetchAhead = 0
	}
}
