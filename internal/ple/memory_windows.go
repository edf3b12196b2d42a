package ple

import (
	"unsafe"

	"golang.org/x/sys/windows"
)

// allocate returns n zero bytes outside the Go heap.
func allocate(n int) ([]byte, error) {
	addr, err := windows.VirtualAlloc(0, uintptr(n), windows.MEM_RESERVE|windows.MEM_COMMIT, windows.PAGE_READWRITE)
	if err != nil {
		return nil, err
	}
	// The address is no Go pointer; read it as one without arithmetic.
	return unsafe.Slice(*(**byte)(unsafe.Pointer(&addr)), n), nil
}

func free(mem []byte) error {
	return windows.VirtualFree(uintptr(unsafe.Pointer(unsafe.SliceData(mem))), 0, windows.MEM_RELEASE)
}
