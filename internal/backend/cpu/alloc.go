package cpu

// Weights are allocated outside the Go heap: gigabytes of them on the heap would
// double the collector's goal, and huge pages must be asked for by address.
//
//	allocate(n)   n > 0 zeroed bytes from the system
//	release(mem)  gives them back
//	adviseHuge(mem, from, n)  asks for huge pages in mem[from : from+n] only
//
// They are in alloc_unix.go, alloc_windows.go and, for the rest, alloc_other.go; the
// last one in alloc_linux.go.
