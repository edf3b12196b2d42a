package cpu

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"testing"
)

// TestArenaTakesWhatItHolds fills slabs that end in the middle of a huge page each and
// compares what the process has grown by: nothing of the pages' other halves.
func TestArenaTakesWhatItHolds(t *testing.T) {
	const slab = 31<<20 + 1<<20/2
	before := residentBytes(t)
	var a arena
	defer a.release()
	var slabs [][]byte
	var held int64
	for range 8 { // all before any is filled, as models do
		mem, err := a.take(slab)
		if err != nil {
			t.Fatal(err)
		}
		slabs, held = append(slabs, mem), held+slab
	}
	for _, mem := range slabs {
		for i := 0; i < len(mem); i += 4096 {
			mem[i] = 1
		}
	}
	// Half a huge page for each of eight would be 4 MiB; an emulator of another processor
	// takes more than 1 MiB for the program's code as it translates it.
	if grown := residentBytes(t) - before; grown > held+2<<20 {
		t.Errorf("%d bytes take %d", held, grown)
	}
}

// residentBytes is the anonymous memory that the process holds.
func residentBytes(t *testing.T) int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip(err)
	}
	for line := range bytes.Lines(status) {
		if f := strings.Fields(string(line)); len(f) == 3 && f[0] == "RssAnon:" {
			n, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n << 10
		}
	}
	t.Skip("the system does not say what the process holds")
	return 0
}
