package main

import (
	"os"
	"testing"
)

// TestLend lends memory to this process, which does not grow: what it has and lendAhead is
// given back at once, the rest at the end, and nothing twice.
func TestLend(t *testing.T) {
	const blocks = 1000
	h := &heldMemory{stop: make(chan struct{})}
	given := make(chan int, 2*blocks)
	for i := range blocks {
		h.blocks = append(h.blocks, func() { given <- i })
	}
	held, known := residentMemory(os.Getpid())
	first := blocks
	if known {
		first = lendAhead / heldBlock
		if held < 1<<20 {
			t.Fatalf("this process has %d bytes of memory, want more", held)
		}
	}
	h.lend(os.Getpid())
	for i := range first {
		if got := <-given; got != i {
			t.Fatalf("gave back block %d, want %d", got, i)
		}
	}
	h.end()
	for i := first; i < blocks; i++ {
		if got := <-given; got != i {
			t.Fatalf("gave back block %d, want %d", got, i)
		}
	}
	if len(given) != 0 {
		t.Fatalf("gave back %d blocks twice", len(given))
	}
}
