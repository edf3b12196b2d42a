package kernel

import (
	"fmt"
	"os"
	"strings"
)

// A level names a set of SIMD variants. Every level gives the same bits (see the package
// comment), so the choice is one of speed only.
const (
	levelGeneric = "generic"
	levelAVX2    = "avx2"    // AVX2, FMA, F16C
	levelAVXVNNI = "avxvnni" // and AVX-VNNI
	levelAVX512  = "avx512"  // AVX2 and AVX-512 F, BW, VL, DQ, VNNI
	levelNEON    = "neon"
	levelDot     = "neon-dot" // and the dot product instructions (ASIMDDP)
)

// forceEnv is the environment variable that forces a level.
const forceEnv = "PLUME_CPU"

var (
	current  string
	envError error
)

func init() {
	best := supported()
	current = best[len(best)-1]
	if want := os.Getenv(forceEnv); want != "" {
		envError = SetLevel(want)
	}
	apply(current)
}

// Level is the name of the variants in use: generic, avx2, avxvnni, avx512, neon
// or neon-dot.
func Level() string { return current }

// Levels lists the levels this machine can run, slowest first.
func Levels() []string { return supported() }

// EnvError says why the level named by PLUME_CPU is not in use; nil when it is, or when the
// variable is not set. A program should print it: the kernels then run at the best level.
func EnvError() error { return envError }

// SetLevel forces a level. It is for tests and benchmarks and must not run while other
// goroutines call kernels.
func SetLevel(name string) error {
	for _, l := range supported() {
		if l == name {
			current = name
			apply(name)
			return nil
		}
	}
	return fmt.Errorf("use kernel level %q: this machine has %s", name, strings.Join(supported(), ", "))
}
