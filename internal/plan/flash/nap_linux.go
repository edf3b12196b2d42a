package flash

import (
	"syscall"
	"time"
)

// nap sleeps, or returns early. An idle Go program keeps its timers to a millisecond only
// (1.17 ms for a read of 0.66, 2026-11-23), the system some 60 µs.
func nap(d time.Duration) {
	t := syscall.NsecToTimespec(d.Nanoseconds())
	_ = syscall.Nanosleep(&t, nil) // cut short by a signal it is looked at again
}
