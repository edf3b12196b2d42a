package cpu

import (
	"fmt"
	"sync"
	"unsafe"
)

// arena holds the weights. Slabs are cut one after the other from large pieces
// that begin on a huge page: a mapping for each would leave most of the smaller
// ones on 4 KiB pages, and streaming from those is 10–20 % slower. What a piece has
// left when the next slab does not fit is never touched and takes no memory, and the
// huge page that it begins in becomes small ones for the same reason.
type arena struct {
	mu     sync.Mutex // NewSlab may be called concurrently
	pieces [][]byte
	last   []byte // the piece that slabs are cut from
	free   []byte // what is left of it
}

const (
	arenaPiece = 64 << 20
	hugePage   = 2 << 20
	arenaAlign = 64 // a cache line
)

// take returns n zeroed bytes that live until release.
func (a *arena) take(n int) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	room := (n + arenaAlign - 1) &^ (arenaAlign - 1)
	if room > arenaPiece/2 { // a piece of its own
		piece, err := a.piece(room)
		if err != nil {
			return nil, err
		}
		smallPages(piece, n)
		return piece[:n:n], nil
	}
	if room > len(a.free) {
		a.leave()
		piece, err := a.piece(arenaPiece)
		if err != nil {
			return nil, err
		}
		a.last, a.free = piece, piece
	}
	mem := a.free[:n:n]
	a.free = a.free[room:]
	return mem, nil
}

// leave ends the use of the last piece; more will be cut from another one.
func (a *arena) leave() { smallPages(a.last, len(a.last)-len(a.free)) }

// smallPages asks for ordinary pages where the use of a piece, used bytes of it, ends: a
// huge page there would take memory for what is not used.
func smallPages(piece []byte, used int) {
	if from := used &^ (hugePage - 1); from < len(piece) && used > from {
		adviseSmall(piece[from:])
	}
}

// piece maps n bytes that begin on a huge page.
func (a *arena) piece(n int) ([]byte, error) {
	mem, err := allocate(n + hugePage)
	if err != nil {
		return nil, fmt.Errorf("allocate %d bytes: %w", n, err)
	}
	a.pieces = append(a.pieces, mem)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(mem)))) & (hugePage - 1)
	return mem[skip : skip+n : skip+n], nil
}

// release gives all memory back.
func (a *arena) release() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var first error
	for _, p := range a.pieces {
		if err := release(p); err != nil && first == nil {
			first = err
		}
	}
	a.pieces, a.last, a.free = nil, nil, nil
	return first
}
