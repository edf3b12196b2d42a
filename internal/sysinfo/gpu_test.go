package sysinfo

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/fstest"
)

const drm = "sys/class/drm/"

func TestGPUs(t *testing.T) {
	missing := errors.New("executable file not found")
	driver := map[string]string{
		"proc/driver/nvidia/gpus/0000:01:00.0/information": "Model: \t\t NVIDIA GeForce RTX 3070\nIRQ:   \t\t 87",
		drm + "card0/device/vendor":                        "0x10de", drm + "card0/device/device": "0x2484",
	}
	for _, c := range []struct {
		name   string
		files  fstest.MapFS
		prints string
		want   []string
	}{
		{"nothing", tree(nil), "", nil},
		{"NVIDIA's program answers", tree(driver), "NVIDIA GeForce RTX 3070, 8192\nNVIDIA GB10, [N/A]\n", []string{
			"NVIDIA GeForce RTX 3070, 8.0 GiB (nvidia-smi)", "NVIDIA GB10, of unknown memory (nvidia-smi)",
		}},
		{"it is not there", tree(driver), "", []string{"NVIDIA GeForce RTX 3070, of unknown memory (the NVIDIA driver)"}},
		{"it prints something else", tree(driver), "Failed to initialize NVML\n", []string{"NVIDIA GeForce RTX 3070, of unknown memory (the NVIDIA driver)"}},
		{"another driver", tree(map[string]string{drm + "card0/device/vendor": "0x10de", drm + "card0/device/device": "0x2484"}), "",
			[]string{"NVIDIA 0x2484, of unknown memory (sysfs)"}},
		{"a laptop with two, and what a server's board has", tree(map[string]string{
			drm + "card0/device/vendor": "0x8086", drm + "card0/device/device": "0x46a6",
			drm + "card1/device/vendor": "0x1002", drm + "card1/device/device": "0x73ff", drm + "card1/device/mem_info_vram_total": "8573157376",
			drm + "card1-DP-1/device/vendor": "0x1002", // a connector
			drm + "card2/device/vendor":      "0x1a03", // ASPEED
		}), "", []string{"Intel 0x46a6, of unknown memory (sysfs)", "AMD 0x73ff, 8.0 GiB (sysfs)"}},
	} {
		h := &Host{
			Files: c.files, Unified: func() (GPU, bool) { return GPU{}, false },
			Run: func(_ context.Context, program string, _ ...string) ([]byte, error) {
				if program != "nvidia-smi" || c.prints == "" {
					return nil, missing
				}
				return []byte(c.prints), nil
			},
		}
		var got []string
		for _, g := range h.GPUs(context.Background()) {
			got = append(got, g.String())
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestUnifiedMemory(t *testing.T) {
	h := This()
	h.Files = tree(nil)
	h.Run = func(context.Context, string, ...string) ([]byte, error) { return nil, errors.New("none") }
	h.Unified = func() (GPU, bool) {
		return GPU{Name: "Apple M2", Bytes: 16 << 30, Shared: true, From: "sysctl hw.memsize"}, true
	}
	list := h.GPUs(context.Background())
	if want := "Apple M2, 16.0 GiB shared with the processor (sysctl hw.memsize)"; len(list) != 1 || list[0].String() != want {
		t.Errorf("%v, want %s", list, want)
	}
}

// The machine at hand may tell anything; asking it must not fail.
func TestThisMachine(t *testing.T) {
	for _, g := range This().GPUs(context.Background()) {
		t.Log(g)
	}
	m, err := This().OpenMeter()
	if err == nil {
		t.Log(m)
		err = m.Close()
	} else if errors.Is(err, ErrNoCounter) || errors.Is(err, ErrDenied) {
		err = nil
	}
	if err != nil {
		t.Error(err)
	}
}
