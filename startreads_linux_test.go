package plume

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/plume-run/plume/demo"
)

// bytesRead is what this process has read so far, by the system's own account: of files, page
// cache or not.
func bytesRead(t *testing.T) int64 {
	t.Helper()
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Skip(err)
	}
	var n int64
	if _, err := fmt.Sscanf(strings.TrimSpace(string(text)), "rchar: %d", &n); err != nil {
		t.Skipf("/proc/self/io: %v", err)
	}
	return n
}

// A start reads every weight once: from the model's file or from its packed copy, all of
// them or all that stay and what the first step streams.
func TestAStartReadsNothingTwice(t *testing.T) {
	path, _, err := demo.Path()
	if err != nil {
		t.Fatal(err)
	}
	packed := filepath.Join(t.TempDir(), "demo.packed")
	if _, err := Pack(t.Context(), path, PackOptions{Out: packed}); err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]Options{
		"model":      {Packed: PackedOff},
		"packed":     {Packed: packed},
		"limit":      {Packed: PackedOff, RAM: 64 << 20},
		"background": {Packed: PackedOff, Background: true},
		"streamed":   {Packed: PackedOff, Stream: &Stream{Bytes: 4 << 20}},
	} {
		t.Run(name, func(t *testing.T) {
			o.PLE = "disk" // not measured
			before := bytesRead(t)
			m, err := Open(path, o)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			if err := m.Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
			m.Close() // which ends what is under way
			weights, read := m.Stats().Weights.ReadBytes, bytesRead(t)-before
			if most := weights + weights/10 + 512<<10; weights < 4<<20 || read < weights || read > most {
				t.Errorf("read %d bytes for %d of weights", read, weights)
			}
		})
	}
}
