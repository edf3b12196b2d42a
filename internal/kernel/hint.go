package kernel

// Pause waits a few tens of cycles and tells the CPU that the caller spins, which saves power
// and leaves more of the core to its other hardware thread. It does not yield to the scheduler.
func Pause() { pause() }

// Fetch asks for b to be brought into the caches and returns at once. It is for the beginning of
// a stream of rows; what follows is named in [Rows].
func Fetch(b []byte) {
	if len(b) > 0 {
		fetch(&b[0], len(b))
	}
}
