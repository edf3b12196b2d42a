package plume

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/plume-run/plume/internal/sysinfo"
)

const counterFile = "sys/class/powercap/intel-rapl:0/energy_uj"

// counted is a machine whose processor counts energy.
func counted(t *testing.T) (fstest.MapFS, *EnergyMeter) {
	t.Helper()
	files := fstest.MapFS{
		"sys/class/powercap/intel-rapl:0/name": {Data: []byte("package-0\n")},
		counterFile:                            {Data: []byte("1000\n")},
	}
	meter, err := (&sysinfo.Host{Files: files}).OpenMeter()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { meter.Close() })
	return files, meter
}

func TestWattsAreMeasuredWhereTheMachineCounts(t *testing.T) {
	files, meter := counted(t)
	m := &Machine{IdleWatts: -1, BusyWatts: -1, Sources: map[string]string{}}
	use := func(text string) func() error {
		return func() error { files[counterFile].Data = []byte(text); return nil }
	}
	if err := wattage(m, meter, use("1001\n"), use("90000000000001000\n")); err != nil {
		t.Fatal(err)
	}
	if m.IdleWatts < 0 || m.BusyWatts <= m.IdleWatts || !strings.Contains(m.Sources["idle_watts,busy_watts"], "package-0") {
		t.Errorf("%g W idle, %g W busy, from %q", m.IdleWatts, m.BusyWatts, m.Sources)
	}
}

func TestAssumedWattsStayWhereNothingCounts(t *testing.T) {
	files, meter := counted(t)
	m := &Machine{IdleWatts: 5, BusyWatts: 15, Sources: map[string]string{"idle_watts,busy_watts": "assumption"}}
	done, nonsense := 0, func() error { files[counterFile].Data = []byte("?\n"); return nil }
	work := func() error { done++; return nil }
	for _, err := range []error{wattage(m, nil, nil, work), wattage(m, meter, nonsense, work)} {
		if err != nil {
			t.Error(err)
		}
	}
	if done != 2 || m.IdleWatts != 5 || m.BusyWatts != 15 || m.Sources["idle_watts,busy_watts"] != "assumption" {
		t.Errorf("worked %d times: %+v", done, m)
	}
	broken := errors.New("broken")
	if err := wattage(m, meter, nonsense, func() error { return broken }); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func TestTheLargestCardCounts(t *testing.T) {
	m := &Machine{Sources: map[string]string{}}
	graphics(m, []sysinfo.GPU{{Name: "small", Bytes: 4 << 30}, {Name: "large", Bytes: 8 << 30}, {Name: "own", Bytes: 16 << 30, Shared: true}})
	if m.VRAM != 8<<30 || !strings.Contains(m.Sources["vram_bytes"], "large, 8.0 GiB") {
		t.Errorf("%d bytes, from %q", m.VRAM, m.Sources["vram_bytes"])
	}
	m = &Machine{Sources: map[string]string{}}
	if graphics(m, nil); m.VRAM != 0 || !strings.Contains(m.Sources["vram_bytes"], "no graphics card") {
		t.Errorf("%d bytes, from %q", m.VRAM, m.Sources["vram_bytes"])
	}
}
