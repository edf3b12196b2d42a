package cpu

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"
)

// TestYardstickLiesAsWeightsDo: what the stream read is measured on and what weights lie on
// are the same kind of pages. On others, shares of the limit would mean nothing.
func TestYardstickLiesAsWeightsDo(t *testing.T) {
	skipWithoutHugePages(t)
	const size = 16 << 20
	var weights arena
	defer weights.release()
	mem, err := weights.take(size)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(mem); i += 4096 {
		mem[i] = 1
	}
	l, err := NewLimits(size)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	want, got := hugeBytes(t, mem), hugeBytes(t, l.mem)
	if want == 0 {
		t.Skip("the system has no huge pages left to give")
	}
	// Memory too fragmented for all of them is no fault of either.
	if got < want/2 {
		t.Errorf("of %d bytes the weights have %d on huge pages, the yardstick %d", size, want, got)
	}
}

func skipWithoutHugePages(t *testing.T) {
	const dir = "/sys/kernel/mm/transparent_hugepage"
	enabled, err := os.ReadFile(filepath.Join(dir, "enabled"))
	if err != nil || bytes.Contains(enabled, []byte("[never]")) {
		t.Skip("transparent huge pages are off")
	}
	if size, err := os.ReadFile(filepath.Join(dir, "hpage_pmd_size")); err != nil || strings.TrimSpace(string(size)) != fmt.Sprint(hugePage) {
		t.Skip("huge pages are of another size")
	}
}

// hugeBytes is how much of the mappings that mem touches lies on huge pages.
func hugeBytes(t *testing.T, mem []byte) int {
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Skip(err)
	}
	begin := uintptr(unsafe.Pointer(unsafe.SliceData(mem)))
	end := begin + uintptr(len(mem))
	inside, sum := false, 0
	for line := range bytes.Lines(smaps) {
		var lo, hi uintptr
		var kib int
		if n, _ := fmt.Sscanf(string(line), "%x-%x ", &lo, &hi); n == 2 {
			inside = lo < end && hi > begin
		} else if n, _ := fmt.Sscanf(string(line), "AnonHugePages: %d kB", &kib); n == 1 && inside {
			sum += kib << 10
		}
	}
	return sum
}
