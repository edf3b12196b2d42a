package cpu

import (
	"fmt"
	"sync"
	"unsafe"
)

// arena holds the slabs. A large one begins on a huge page, since streaming weights from
// 4 KiB pages is 10–20 % slower, and consists of huge pages but for its end: one for
// that would waste up to 2 MiB.
type arena struct {
	mu       sync.Mutex // NewSlab may be called concurrently
	mappings [][]byte
}

const hugePage = 2 << 20

// take returns n zeroed bytes that live until release.
func (a *arena) take(n int) ([]byte, error) {
	if n == 0 {
		return nil, nil
	}
	room := n
	if n >= hugePage {
		room += hugePage
	}
	mem, err := allocate(room)
	if err != nil {
		return nil, fmt.Errorf("allocate %d bytes: %w", n, err)
	}
	a.mu.Lock()
	a.mappings = append(a.mappings, mem)
	a.mu.Unlock()
	if n < hugePage {
		return mem[:n:n], nil
	}
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(mem)))) & (hugePage - 1)
	adviseHuge(mem, skip, n&^(hugePage-1))
	return mem[skip : skip+n : skip+n], nil
}

// release gives all memory back.
func (a *arena) release() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var first error
	for _, m := range a.mappings {
		if err := release(m); err != nil && first == nil {
			first = err
		}
	}
	a.mappings = nil
	return first
}
