package kernel

// Pause waits a few tens of cycles and tells the CPU that the caller spins, which saves power
// and leaves more of the core to its other hardware thread. It does not yield to the scheduler.
func Pause() { pause() }
