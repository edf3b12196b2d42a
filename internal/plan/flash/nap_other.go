//go:build !linux

package flash

import "time"

// nap sleeps.
func nap(d time.Duration) { time.Sleep(d) }
