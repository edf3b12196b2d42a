package sysinfo

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync"
	"time"
)

// ErrNoCounter says that the machine has no energy counter that can be read.
var ErrNoCounter = errors.New("no energy counter on this machine")

// ErrDenied says that the machine counts energy but does not let this user see it.
var ErrDenied = errors.New("permission denied to read the energy counters: Linux shows them to root only; " +
	"run as root, or allow it until the next start with: sudo chmod a+r /sys/class/powercap/*/energy_uj")

// Meter reads the machine's energy counters: those of the processor and its memory (Linux
// powercap, "RAPL"), else of the processor's sockets (hwmon), else what a battery gives.
// All count everything that runs on the machine. It may be shared by goroutines until Close.
type Meter struct {
	name    string
	sources []source
	every   time.Duration // a span looks at the sources at least so often
}

// source is one counter, or one gauge of power that is summed over time.
type source struct {
	files []io.ReaderAt // one; of a battery without a gauge of power: current and voltage
	close []io.Closer
	wrap  uint64       // of a counter: it begins again at 0 from here, 0: never
	gauge bool         // microwatts (or microamperes and microvolts) now, not microjoules so far
	when  func() error // of a battery: why it says nothing now
}

// How often a span looks: counters begin again after minutes at full power, and the power of a
// battery changes all the time.
const (
	counterEvery = 10 * time.Second
	gaugeEvery   = 500 * time.Millisecond
)

// OpenMeter finds the counters. Its error is ErrNoCounter, ErrDenied, or names a file.
func (h *Host) OpenMeter() (*Meter, error) {
	denied := false
	for _, open := range []func() (*Meter, error){h.openRAPL, h.openSockets, h.openBattery} {
		m, err := open()
		switch {
		case err == nil && denied:
			m.name += " (the processor's own counters are for root only)"
			return m, nil
		case err == nil:
			return m, nil
		case errors.Is(err, fs.ErrPermission):
			denied = true
		case !errors.Is(err, ErrNoCounter):
			return nil, fmt.Errorf("open energy counters: %w", err)
		}
	}
	if denied {
		return nil, ErrDenied
	}
	return nil, ErrNoCounter
}

// String names what is counted: "RAPL: package-0, dram".
func (m *Meter) String() string { return m.name }

// Close closes the counters' files.
func (m *Meter) Close() error {
	var errs []error
	for i := range m.sources {
		errs = append(errs, m.sources[i].shut())
	}
	return errors.Join(errs...)
}

// add opens a source's files, all or none.
func (m *Meter) add(h *Host, s source, names ...string) error {
	for _, name := range names {
		if err := s.open(h, name); err != nil {
			return errors.Join(err, s.shut())
		}
	}
	m.sources = append(m.sources, s)
	return nil
}

// open opens one of the source's files.
func (s *source) open(h *Host, name string) error {
	f, err := h.Files.Open(name)
	if err != nil {
		return err
	}
	s.close = append(s.close, f)
	r, ok := f.(io.ReaderAt)
	if !ok {
		return fmt.Errorf("%s cannot be read again", name)
	}
	s.files = append(s.files, r)
	return nil
}

// shut closes the source's files.
func (s *source) shut() error {
	var errs []error
	for _, c := range s.close {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// finish returns m with its name, or closes what is open.
func (m *Meter) finish(kind string, names []string, err error) (*Meter, error) {
	if err == nil && len(names) == 0 {
		err = ErrNoCounter
	}
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	m.name = kind + ": " + strings.Join(names, ", ")
	return m, nil
}

// openRAPL takes packages and their memory. A package's other parts (cores, graphics) are
// in its own count, and the second interface to the same registers counts the same again.
func (h *Host) openRAPL() (*Meter, error) {
	m := &Meter{every: counterEvery}
	zones := h.glob("sys/class/powercap/intel-rapl:*/name")
	if len(zones) == 0 {
		zones = h.glob("sys/class/powercap/intel-rapl-mmio:*/name")
	}
	var names []string
	for _, zone := range zones {
		name, dir := h.text(zone), path.Dir(zone)
		if !strings.HasPrefix(name, "package-") && name != "dram" {
			continue
		}
		s := source{wrap: uint64(max(0, h.number(path.Join(dir, "max_energy_range_uj"))))}
		if err := m.add(h, s, path.Join(dir, "energy_uj")); err != nil {
			return m.finish("", nil, err)
		}
		names = append(names, name)
	}
	return m.finish("RAPL", names, nil)
}

// openSockets takes the counters of AMD's driver for hwmon, those of whole sockets only.
func (h *Host) openSockets() (*Meter, error) {
	m := &Meter{every: counterEvery}
	var names []string
	for _, file := range h.glob("sys/class/hwmon/*/energy*_input") {
		label := h.text(strings.TrimSuffix(file, "_input") + "_label")
		if h.text(path.Join(path.Dir(file), "name")) != "amd_energy" || !strings.HasPrefix(label, "Esocket") {
			continue
		}
		if err := m.add(h, source{}, file); err != nil {
			return m.finish("", nil, err)
		}
		names = append(names, label)
	}
	return m.finish("hwmon amd_energy", names, nil)
}

// openBattery takes the power that batteries give, which is that of the whole machine, its
// screen included, while no charger is plugged in. Their energy_now is of no use here: it
// moves in steps of some ten joules.
func (h *Host) openBattery() (*Meter, error) {
	m := &Meter{every: gaugeEvery}
	var names []string
	for _, file := range h.glob("sys/class/power_supply/*/type") {
		dir := path.Dir(file)
		if h.text(file) != "Battery" || h.text(path.Join(dir, "scope")) == "Device" { // a mouse's
			continue
		}
		status := path.Join(dir, "status")
		if h.text(status) != "Discharging" {
			continue
		}
		s := source{gauge: true, when: func() error {
			if now := h.text(status); now != "Discharging" {
				return fmt.Errorf("the battery is %s now", strings.ToLower(cmp.Or(now, "gone")))
			}
			return nil
		}}
		err := m.add(h, s, path.Join(dir, "power_now"))
		if errors.Is(err, fs.ErrNotExist) {
			err = m.add(h, s, path.Join(dir, "current_now"), path.Join(dir, "voltage_now"))
		}
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return m.finish("", nil, err)
		}
		names = append(names, path.Base(dir))
	}
	return m.finish("battery, the whole machine", names, nil)
}

// Span is a stretch of time whose energy is counted.
type Span struct {
	m    *Meter
	stop chan struct{}
	done chan struct{}

	mu   sync.Mutex
	at   time.Time
	last []float64 // of each source: microjoules so far, or microwatts
	sum  float64   // microjoules since the last lap
	buf  [32]byte  // a counter's text
	err  error
}

// Begin begins to count. End must be called.
func (m *Meter) Begin() *Span {
	s := m.begin(time.Now())
	go s.watch()
	return s
}

func (m *Meter) begin(now time.Time) *Span {
	s := &Span{m: m, stop: make(chan struct{}), done: make(chan struct{}), at: now, last: make([]float64, len(m.sources))}
	for i := range m.sources {
		s.last[i], s.err = m.sources[i].read(&s.buf, s.err)
	}
	return s
}

// watch looks often enough to miss nothing.
func (s *Span) watch() {
	defer close(s.done)
	t := time.NewTicker(s.m.every)
	defer t.Stop()
	for {
		select {
		case now := <-t.C:
			s.mu.Lock()
			s.look(now)
			s.mu.Unlock()
		case <-s.stop:
			return
		}
	}
}

// Lap returns the joules since Begin or the last Lap.
func (s *Span) Lap() (float64, error) { return s.lap(time.Now()) }

func (s *Span) lap(now time.Time) (float64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.look(now)
	joules := s.sum / 1e6
	s.sum = 0
	if s.err != nil {
		return 0, fmt.Errorf("count energy: %w", s.err)
	}
	return joules, nil
}

// End is a last Lap.
func (s *Span) End() (float64, error) {
	joules, err := s.Lap()
	close(s.stop)
	<-s.done
	return joules, err
}

// look adds what was used since the last look.
func (s *Span) look(now time.Time) {
	dt := now.Sub(s.at).Seconds()
	s.at = now
	for i := range s.m.sources {
		src, was := &s.m.sources[i], s.last[i]
		var is float64
		if is, s.err = src.read(&s.buf, s.err); s.err != nil {
			return
		}
		s.last[i] = is
		switch {
		case src.gauge:
			s.sum += (was + is) / 2 * dt
		case is >= was:
			s.sum += is - was
		case src.wrap > 0:
			s.sum += is + float64(src.wrap) - was
		default:
			s.err = errors.New("a counter went back, and nothing says where it begins again")
			return
		}
	}
}

// read is the source now, unless there was an error before. Counters are read without
// allocating, into buf, so that a benchmark may count allocations beside.
func (s *source) read(buf *[32]byte, before error) (float64, error) {
	if before != nil {
		return 0, before
	}
	if s.when != nil {
		if err := s.when(); err != nil {
			return 0, err
		}
	}
	product := 1.0
	for _, f := range s.files {
		n, err := f.ReadAt(buf[:], 0)
		if err != nil && err != io.EOF {
			return 0, err
		}
		x, err := parse(buf[:n])
		if err != nil {
			return 0, err
		}
		product *= x
	}
	if len(s.files) == 2 { // microamperes times microvolts
		product /= 1e6
	}
	return product, nil
}

// parse reads a decimal number; drivers disagree about the sign of what leaves a battery.
func parse(text []byte) (float64, error) {
	x, digits := 0.0, 0
	for i, c := range text {
		switch {
		case c >= '0' && c <= '9':
			x, digits = 10*x+float64(c-'0'), digits+1
		case c == '\n' && digits > 0:
			return x, nil
		case c != '-' || i > 0:
			return 0, fmt.Errorf("read a counter: %q is no number", text)
		}
	}
	if digits == 0 {
		return 0, fmt.Errorf("read a counter: %q is no number", text)
	}
	return x, nil
}
