//go:build unix

package ple

import "golang.org/x/sys/unix"

// allocate returns n zero bytes outside the Go heap.
func allocate(n int) ([]byte, error) {
	return unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
}

func free(mem []byte) error { return unix.Munmap(mem) }
