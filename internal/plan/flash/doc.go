// Package flash is a discrete-event model of flash storage: what it takes in time, bytes
// on the bus and energy to fetch rows of a per-layer embedding table, when the host reads
// them, and when the device gathers them itself.
//
// A [Profile] describes a device in the terms of its makers: channels, dies, planes,
// pages, times and rates, each figure with its source. A [Device] runs commands on it:
//
//	host ──command──▶ queue ─▶ controller ─▶ plane: sense a page ─▶ channel ─▶ ECC ─▶ host link ─▶ host
//
// Planes, channels, the controller's cores and the link serve one command at a time, first
// come first served; what is waited for is what a real device makes wait. Writes, garbage
// collection, heat and caches inside the device are left out, so the model speaks of a device
// that only serves reads spread over more data than it caches.
//
// With [Gather] one command names many rows and the device's own engine cuts them out of the
// pages it has sensed, so that only useful bytes cross the link.
//
// Time is counted in nanoseconds of the model; nothing here reads a clock but [Emulator],
// which makes real reads as slow as a profile says. Used by packages plan and plume (the
// emulation). A Device belongs to one goroutine; an Emulator may be shared.
package flash
