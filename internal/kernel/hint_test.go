package kernel

import (
	"testing"
	"time"
)

// TestPause: a spin loop counts on a wait that is short. The bound is generous: a busy machine.
func TestPause(t *testing.T) {
	fastest := time.Hour
	for range 100 {
		start := time.Now()
		for range 100 {
			Pause()
		}
		fastest = min(fastest, time.Since(start))
	}
	if d := fastest / 100; d > 2*time.Microsecond {
		t.Errorf("Pause takes %v", d)
	} else {
		t.Log(d)
	}
}

// TestFetch: lengths around a cache line, none included, end and change nothing.
func TestFetch(t *testing.T) {
	b := make([]byte, 300)
	for n := range b {
		Fetch(b[:n])
	}
	for i, v := range b {
		if v != 0 {
			t.Fatalf("byte %d is %d", i, v)
		}
	}
}
