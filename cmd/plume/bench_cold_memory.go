package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/plume-run/plume/internal/checkpoint"
)

// heldMemory is memory that this process has touched and keeps for one that begins later. A
// virtual machine may tell its host what is free, at once where that is more than it keeps in
// reserve: on the one of docs/measurements/memory.md that was 1 GiB, and of memory that was
// given back before a start that takes 1.4 GiB the last third came from the host again.
type heldMemory struct {
	blocks []func() // give one back each
	stop   chan struct{}
	lent   sync.WaitGroup
}

// Memory is held in blocks of heldBlock, and given back so that lendAhead of it is free beside
// what the other process has: less than a host takes, more than a start takes between two looks.
const (
	heldBlock = 64 << 20
	lendAhead = 512 << 20
	lendEvery = 4 * time.Millisecond
)

// holdMemory touches memory, of which this process then has at most so many bytes in all: where
// there is a limit, it is one for both.
func holdMemory(bytes int64) *heldMemory {
	debug.FreeOSMemory() // what measuring the disk has left
	own, _ := residentMemory(os.Getpid())
	h := &heldMemory{stop: make(chan struct{})}
	for bytes -= own; bytes >= heldBlock; bytes -= heldBlock {
		mem, free := checkpoint.DirectBuffers(1, heldBlock)
		for i := 0; i < len(mem[0]); i += os.Getpagesize() {
			mem[0][i] = 1
		}
		h.blocks = append(h.blocks, func() {
			runtime.KeepAlive(mem) // a block of Go's heap is given back by being forgotten
			free()
		})
	}
	return h
}

// lend gives the memory back while process pid grows, all of it at once where that cannot be
// seen. end ends it.
func (h *heldMemory) lend(pid int) {
	h.lendTo(func() (int64, bool) { return residentMemory(pid) })
}

// lendTo is lend to whatever grows.
func (h *heldMemory) lendTo(grown func() (bytes int64, known bool)) {
	h.lent.Go(func() {
		look := time.NewTicker(lendEvery)
		defer look.Stop()
		for given := int64(0); len(h.blocks) > 0; {
			held, known := grown()
			for len(h.blocks) > 0 && (!known || given < held+lendAhead) {
				h.giveBack()
				given += heldBlock
			}
			if !known {
				debug.FreeOSMemory() // where blocks are of Go's heap
			}
			select {
			case <-h.stop:
				return
			case <-look.C:
			}
		}
	})
}

func (h *heldMemory) giveBack() {
	h.blocks[0]()
	h.blocks[0] = nil // in the array that the slice leaves
	h.blocks = h.blocks[1:]
}

// end gives back what is left.
func (h *heldMemory) end() {
	close(h.stop)
	h.lent.Wait()
	for len(h.blocks) > 0 {
		h.giveBack()
	}
}

// residentMemory is what a process has of memory, where the system tells.
func residentMemory(pid int) (bytes int64, known bool) {
	if runtime.GOOS != "linux" {
		return 0, false
	}
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	var all, resident int64
	if n, _ := fmt.Sscan(string(data), &all, &resident); err != nil || n != 2 {
		return 0, false
	}
	return resident * int64(os.Getpagesize()), true
}
