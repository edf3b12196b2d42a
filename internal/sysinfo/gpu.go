package sysinfo

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// GPU is a graphics processor.
type GPU struct {
	Name   string // as its driver says, else by vendor and number
	Bytes  int64  // of memory; 0 where nobody says
	Shared bool   // the memory is the machine's own
	From   string // who says so
}

// String is a line for people.
func (g GPU) String() string {
	size := "of unknown memory"
	if g.Bytes > 0 {
		size = fmt.Sprintf("%.1f GiB", float64(g.Bytes)/(1<<30))
	}
	if g.Shared {
		size += " shared with the processor"
	}
	return fmt.Sprintf("%s, %s (%s)", g.Name, size, g.From)
}

// nvidiaTime is how long NVIDIA's program may take: it wakes the driver.
const nvidiaTime = 5 * time.Second

// The numbers of PCI vendors whose cards compute.
const (
	nvidia = "0x10de"
	amd    = "0x1002"
	intel  = "0x8086"
)

// card matches a card, and not its connectors.
var card = regexp.MustCompile(`^card[0-9]+$`)

// GPUs lists what computes graphics on the machine; nil where nothing is found. Displays of
// virtual machines and of server boards are left out.
func (h *Host) GPUs(ctx context.Context) []GPU {
	list := h.nvidia(ctx)
	named := len(list) > 0
	for _, file := range h.glob("sys/class/drm/card*/device/vendor") {
		dir := path.Dir(file)
		if !card.MatchString(path.Base(path.Dir(dir))) {
			continue
		}
		g := GPU{From: "sysfs", Bytes: h.number(path.Join(dir, "mem_info_vram_total"))}
		device := h.text(path.Join(dir, "device"))
		switch vendor := h.text(file); {
		case vendor == amd:
			g.Name = "AMD " + device
		case vendor == intel: // graphics of the processor, but for a few cards that tell no size either
			g.Name = "Intel " + device
		case vendor == nvidia && !named:
			g.Name = "NVIDIA " + device
		default:
			continue
		}
		list = append(list, g)
	}
	if g, ok := h.Unified(); ok {
		list = append(list, g)
	}
	return list
}

// nvidia asks NVIDIA's program, else its driver, which knows names only. Its library could be
// called instead, but only by a program that is linked dynamically.
func (h *Host) nvidia(ctx context.Context) []GPU {
	ctx, stop := context.WithTimeout(ctx, nvidiaTime)
	defer stop()
	text, err := h.Run(ctx, "nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits")
	if err == nil {
		if list := parseNVIDIA(text); list != nil {
			return list
		}
	}
	var list []GPU
	for _, file := range h.glob("proc/driver/nvidia/gpus/*/information") {
		for line := range strings.Lines(h.text(file)) {
			if name, ok := strings.CutPrefix(line, "Model:"); ok {
				list = append(list, GPU{Name: strings.TrimSpace(name), From: "the NVIDIA driver"})
			}
		}
	}
	return list
}

// parseNVIDIA reads lines of a name and mebibytes; nil when there is none.
func parseNVIDIA(text []byte) []GPU {
	var list []GPU
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		comma := strings.LastIndex(lines.Text(), ",")
		if comma < 0 {
			continue
		}
		g := GPU{Name: strings.TrimSpace(lines.Text()[:comma]), From: "nvidia-smi"}
		mib, err := strconv.ParseInt(strings.TrimSpace(lines.Text()[comma+1:]), 10, 64)
		if err == nil && mib > 0 && mib < 1<<30 { // "[N/A]" where the memory is the machine's
			g.Bytes = mib << 20
		}
		list = append(list, g)
	}
	return list
}
