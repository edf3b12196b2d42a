package main

import (
	"os"
	"runtime"
	"slices"
	"testing"
)

// lent is a heldMemory of so many blocks, which tell when they are given back.
func lent(blocks int) (h *heldMemory, given chan int) {
	h, given = &heldMemory{stop: make(chan struct{})}, make(chan int, 2*blocks)
	for i := range blocks {
		h.blocks = append(h.blocks, func() { given <- i })
	}
	return h, given
}

// next are the next n blocks that are given back.
func next(given chan int, n int) (blocks []int) {
	for range n {
		blocks = append(blocks, <-given)
	}
	return blocks
}

// upTo is from … n−1.
func upTo(from, n int) (all []int) {
	for i := from; i < n; i++ {
		all = append(all, i)
	}
	return all
}

// Memory is given back as the other process grows and no faster: lendAhead of it, then as much
// as has been taken; the rest at the end, and nothing twice.
func TestLend(t *testing.T) {
	const blocks, ahead = 100, lendAhead / heldBlock
	h, given := lent(blocks)
	looked, size := make(chan struct{}), make(chan int64)
	h.lendTo(func() (int64, bool) {
		looked <- struct{}{}
		return <-size, true
	})
	for i, taken := range []int{0, 0, 3, 3, 10} {
		<-looked // what the look before has led to is done
		if i > 0 {
			before := []int{0, 0, 3, 3}[i-1]
			if n := len(given); n != ahead+before {
				t.Fatalf("after look %d %d blocks are back, want %d", i, n, ahead+before)
			}
		}
		size <- int64(taken) * heldBlock
	}
	<-looked
	if got := next(given, ahead+10); !slices.Equal(got, upTo(0, ahead+10)) || len(given) != 0 {
		t.Fatalf("gave back %v and %d more, want %d in order", got, len(given), ahead+10)
	}
	go func() { size <- 0 }()
	h.end()
	if got := next(given, blocks-ahead-10); !slices.Equal(got, upTo(ahead+10, blocks)) || len(given) != 0 {
		t.Fatalf("gave back %v at the end and %d more, want the rest once", got, len(given))
	}
}

// Where the system does not tell how a process grows, all is given back at once.
func TestLendUnseen(t *testing.T) {
	h, given := lent(100)
	h.lendTo(func() (int64, bool) { return 0, false })
	if got := next(given, 100); !slices.Equal(got, upTo(0, 100)) {
		t.Fatalf("gave back %v", got)
	}
	h.end()
}

// What is held counts what the process has already, and no block is begun that would exceed it.
func TestHoldMemory(t *testing.T) {
	own, known := residentMemory(os.Getpid())
	if runtime.GOOS == "linux" && (!known || own < 1<<20) {
		t.Fatalf("this process has %d bytes of memory, known %v, want more than 1 MiB", own, known)
	}
	if h := holdMemory(heldBlock - 1); len(h.blocks) != 0 {
		t.Errorf("%d blocks within less than one", len(h.blocks))
	}
	if !known {
		return
	}
	h := holdMemory(own + 3*heldBlock)
	if n := len(h.blocks); n < 2 || n > 3+int(own/heldBlock) {
		t.Errorf("%d blocks beside the %d MiB of the process, want 3", n, own>>20)
	}
	h.end()
}
