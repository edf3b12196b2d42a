package plume

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"
)

// TestMeasureMemory is the process of docs/measurements/memory.md, to be run inside
// scripts/cgroup-run.sh. It opens the model that PLUME_MEASURE_MODEL names under the
// budget of PLUME_RAM, fills the context but for 40 tokens with a prompt, decodes,
// and prints the plan's total beside the speed.
func TestMeasureMemory(t *testing.T) {
	path := os.Getenv("PLUME_MEASURE_MODEL")
	if path == "" {
		t.Skip("PLUME_MEASURE_MODEL names no model")
	}
	number := func(name string, otherwise int) int {
		if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
			return n
		}
		return otherwise
	}
	context, prompt := number("PLUME_MEASURE_CTX", 4096), number("PLUME_MEASURE_PROMPT", 300)
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 2) // as the program does
	start := time.Now()
	m, err := Open(path, Options{
		Context: context, Chunk: number("PLUME_MEASURE_CHUNK", 256), KVType: os.Getenv("PLUME_MEASURE_KV"), LimitGo: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	load := time.Since(start)
	s, err := m.NewSession(SessionOptions{NoDraft: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ids := make([]int32, min(prompt, s.Context()-40))
	for i := range ids {
		ids[i] = rand.Int32N(int32(m.VocabSize()))
	}
	sampling := Sampling{Temperature: 1, TopK: 64, Seed: 1} // not the same token again and again
	a, err := Collect(s.Generate(t.Context(), Request{Tokens: ids, Sampling: &sampling, MaxTokens: 33}))
	if err != nil {
		t.Fatal(err)
	}
	r := a.Result
	fmt.Printf("plan %.1f MiB, load %.2f s, prefill %d tokens %.1f tok/s, decode %.2f tok/s\n",
		float64(m.Plan().Total())/(1<<20), load.Seconds(), len(ids), float64(len(ids))/r.Timings.Prefill.Seconds(), r.DecodeRate())
}
