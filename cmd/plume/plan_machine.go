package main

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/plume-run/plume"
)

// fact is a line about the machine that a plan is for.
type fact struct{ Name, Text string }

// machineFacts are what is known of a machine, for people: --json has all of it. limit is the
// memory that was asked for, 0: all.
func machineFacts(m *plume.Machine, limit int64) []fact {
	memory := sizeText(m.RAM) + " for the process: " + cmp.Or(m.RAMFrom, m.Sources["ram_bytes"], "as the profile says")
	if limit > 0 {
		memory = fmt.Sprintf("%s as asked for; the machine has %s", sizeText(limit), memory)
	}
	facts := []fact{
		{"kernels", cmp.Or(m.Level, "not measured: the rates are a profile's")},
		{"memory", memory},
	}
	for _, r := range m.Threads {
		text := fmt.Sprintf("reads memory at %.1f GB/s", r.Stream)
		if r.Int8 > 0 {
			text += fmt.Sprintf(", computes %.0f·10⁹ int8 and %.0f·10⁹ float multiply-adds a second on registers", r.Int8, r.F32)
		}
		name := fmt.Sprintf("%d threads", r.Threads)
		if r.Threads == 1 {
			name = "1 thread"
		}
		facts = append(facts, fact{name, text})
	}
	card := m.Sources["vram_bytes"]
	if card == "" && m.VRAM > 0 {
		card = sizeText(m.VRAM)
	}
	return append(facts, fact{"storage", storageFact(m)}, fact{"graphics", cmp.Or(card, "none with memory of its own")})
}

// storageFact says how fast small reads and large ones are.
func storageFact(m *plume.Machine) string {
	sequential := fmt.Sprintf("%.2f GB/s in order", m.ReadRate)
	if len(m.Measured) == 0 {
		return fmt.Sprintf("profile %s, %s", m.Storage, sequential)
	}
	var parts []string
	first := m.Measured[0] // of the smallest reads, the shallowest queue
	for _, p := range m.Measured {
		if p.Bytes == first.Bytes {
			parts = append(parts, fmt.Sprintf("%.0f at depth %d", p.IOPS, p.Depth))
		}
	}
	return fmt.Sprintf("%s; a random read of %d KiB takes %.0f µs, in a second come %s", sequential, first.Bytes>>10, first.Mean, strings.Join(parts, ", "))
}

// machineText is a block of text of a machine's facts.
func machineText(m *plume.Machine, limit int64) string {
	var b strings.Builder
	fmt.Fprintf(&b, "machine   %s: %s\n", m.Name, m.About)
	for _, f := range machineFacts(m, limit) {
		fmt.Fprintf(&b, "  %-10s %s\n", f.Name, f.Text)
	}
	return b.String()
}
