package sysinfo

import (
	"errors"
	"io"
	"io/fs"
	"math"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// tree makes files of texts.
func tree(files map[string]string) fstest.MapFS {
	m := fstest.MapFS{}
	for name, text := range files {
		m[name] = &fstest.MapFile{Data: []byte(text + "\n")}
	}
	return m
}

func set(m fstest.MapFS, name, text string) { m[name].Data = []byte(text + "\n") }

// denied refuses to open files whose name ends so.
type denied struct {
	fs.FS
	suffix string
}

func (d denied) Open(name string) (fs.File, error) {
	if strings.HasSuffix(name, d.suffix) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return d.FS.Open(name)
}

const rapl = "sys/class/powercap/intel-rapl:"

// server has one package with cores and memory, the platform's counter, and the second
// interface to the package's.
func server() fstest.MapFS {
	return tree(map[string]string{
		"sys/class/powercap/intel-rapl/enabled": "1",
		rapl + "0/name":                         "package-0", rapl + "0/energy_uj": "900000", rapl + "0/max_energy_range_uj": "1000000",
		rapl + "0:0/name": "core", rapl + "0:0/energy_uj": "5",
		rapl + "0:1/name": "dram", rapl + "0:1/energy_uj": "100000", rapl + "0:1/max_energy_range_uj": "1000000",
		rapl + "1/name": "psys", rapl + "1/energy_uj": "7",
		"sys/class/powercap/intel-rapl-mmio:0/name": "package-0", "sys/class/powercap/intel-rapl-mmio:0/energy_uj": "1",
	})
}

func open(t *testing.T, files fs.FS) *Meter {
	t.Helper()
	m, err := (&Host{Files: files}).OpenMeter()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// lap wants so many joules after a time.
func lap(t *testing.T, s *Span, at time.Time, want float64) {
	t.Helper()
	if got, err := s.lap(at); err != nil || math.Abs(got-want) > 1e-9 {
		t.Errorf("%g J, %v, want %g J", got, err, want)
	}
}

func TestCountersAreAddedUpAndBeginAgain(t *testing.T) {
	files := server()
	m := open(t, files)
	if want := "RAPL: package-0, dram"; m.String() != want {
		t.Errorf("counts %q, want %q", m, want)
	}
	now := time.Unix(0, 0)
	s := m.begin(now)
	set(files, rapl+"0/energy_uj", "950000")
	set(files, rapl+"0:1/energy_uj", "130000")
	lap(t, s, now, 0.08)
	lap(t, s, now, 0)
	set(files, rapl+"0/energy_uj", "20000") // begins again at 1,000,000
	lap(t, s, now, 0.07)
	set(files, rapl+"0/energy_uj", "999999")
	s.look(now)
	set(files, rapl+"0/energy_uj", "10") // twice between two laps, seen by a look
	lap(t, s, now, 0.979999+0.000011)
}

func TestASpanEnds(t *testing.T) {
	s := open(t, server()).Begin()
	if j, err := s.End(); j != 0 || err != nil {
		t.Errorf("%g J, %v", j, err)
	}
}

func TestCountersReadWithoutAllocating(t *testing.T) {
	s := open(t, server()).begin(time.Now())
	if n := testing.AllocsPerRun(100, func() { s.look(time.Now()) }); n != 0 {
		t.Errorf("%g allocations", n)
	}
}

func TestACounterThatGoesBackUnexplained(t *testing.T) {
	files := server()
	delete(files, rapl+"0/max_energy_range_uj")
	s := open(t, files).begin(time.Now())
	set(files, rapl+"0/energy_uj", "3")
	if _, err := s.lap(time.Now()); err == nil {
		t.Error("no error")
	}
}

func TestNonsenseInACounter(t *testing.T) {
	files := server()
	set(files, rapl+"0/energy_uj", "many")
	if _, err := open(t, files).begin(time.Now()).lap(time.Now()); err == nil || !strings.Contains(err.Error(), "many") {
		t.Errorf("got %v", err)
	}
}

func TestMachinesWithoutCounters(t *testing.T) {
	for _, c := range []struct {
		name  string
		files fs.FS
		want  error
	}{
		{"nothing at all", tree(nil), ErrNoCounter},
		{"cores only", tree(map[string]string{rapl + "0/name": "core", rapl + "0/energy_uj": "1"}), ErrNoCounter},
		{"a charged laptop", laptop("Full", "0"), ErrNoCounter},
		{"for root only", denied{server(), "energy_uj"}, ErrDenied},
	} {
		if _, err := (&Host{Files: c.files}).OpenMeter(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// laptop has a battery, and a mouse with one.
func laptop(status, power string) fstest.MapFS {
	return tree(map[string]string{
		"sys/class/power_supply/AC/type":  "Mains",
		"sys/class/power_supply/hid/type": "Battery", "sys/class/power_supply/hid/scope": "Device",
		"sys/class/power_supply/hid/status": "Discharging", "sys/class/power_supply/hid/power_now": "9",
		"sys/class/power_supply/BAT0/type": "Battery", "sys/class/power_supply/BAT0/status": status,
		"sys/class/power_supply/BAT0/power_now": power,
	})
}

func TestABatterysPowerIsSummedOverTime(t *testing.T) {
	files := laptop("Discharging", "10000000")
	m := open(t, files)
	now := time.Unix(0, 0)
	s := m.begin(now)
	set(files, "sys/class/power_supply/BAT0/power_now", "-20000000") // some drivers have the sign of the current
	lap(t, s, now.Add(2*time.Second), 30)
	lap(t, s, now.Add(3*time.Second), 20)
	set(files, "sys/class/power_supply/BAT0/status", "Charging")
	if _, err := s.lap(now.Add(4 * time.Second)); err == nil || !strings.Contains(err.Error(), "charging now") {
		t.Errorf("on mains: %v", err)
	}
}

func TestABatteryOfCurrentAndVoltage(t *testing.T) {
	files := laptop("Discharging", "")
	delete(files, "sys/class/power_supply/BAT0/power_now")
	files["sys/class/power_supply/BAT0/current_now"] = &fstest.MapFile{Data: []byte("2000000\n")}
	files["sys/class/power_supply/BAT0/voltage_now"] = &fstest.MapFile{Data: []byte("12000000\n")}
	now := time.Unix(0, 0)
	lap(t, open(t, files).begin(now), now.Add(time.Second), 24)
}

// counting counts the files that are open.
type counting struct {
	fstest.MapFS
	now *int
}

type counted struct {
	fs.File
	now *int
}

func (c counting) Open(name string) (fs.File, error) {
	f, err := c.MapFS.Open(name)
	if err != nil {
		return nil, err
	}
	*c.now++
	return counted{f, c.now}, nil
}

func (c counted) ReadAt(p []byte, off int64) (int, error) { return c.File.(io.ReaderAt).ReadAt(p, off) }
func (c counted) Close() error                            { *c.now--; return c.File.Close() }

func TestABatteryWithoutVoltageLeavesNothingOpen(t *testing.T) {
	files := laptop("Discharging", "")
	delete(files, "sys/class/power_supply/BAT0/power_now")
	files["sys/class/power_supply/BAT0/current_now"] = &fstest.MapFile{Data: []byte("2000000\n")}
	now := 0
	if _, err := (&Host{Files: counting{files, &now}}).OpenMeter(); !errors.Is(err, ErrNoCounter) || now != 0 {
		t.Errorf("%v, %d files are open", err, now)
	}
}

func TestABatteryStandsInForCountersOfRoot(t *testing.T) {
	files := server()
	for name, f := range laptop("Discharging", "1") {
		files[name] = f
	}
	if m := open(t, denied{files, "energy_uj"}); !strings.HasPrefix(m.String(), "battery") || !strings.Contains(m.String(), "root") {
		t.Errorf("counts %q", m)
	}
}

func TestSocketsOfHwmon(t *testing.T) {
	files := tree(map[string]string{
		"sys/class/hwmon/hwmon3/name":          "amd_energy",
		"sys/class/hwmon/hwmon3/energy1_label": "Ecore000", "sys/class/hwmon/hwmon3/energy1_input": "5",
		"sys/class/hwmon/hwmon3/energy9_label": "Esocket0", "sys/class/hwmon/hwmon3/energy9_input": "1000000",
		"sys/class/hwmon/hwmon4/name": "other", "sys/class/hwmon/hwmon4/energy1_label": "Esocket1", "sys/class/hwmon/hwmon4/energy1_input": "5",
	})
	m := open(t, files)
	if want := "hwmon amd_energy: Esocket0"; m.String() != want {
		t.Errorf("counts %q, want %q", m, want)
	}
	now := time.Unix(0, 0)
	s := m.begin(now)
	set(files, "sys/class/hwmon/hwmon3/energy9_input", "4000000")
	lap(t, s, now, 3)
}
