package flash

import "container/heap"

// Extent is a stretch of the device's address space.
type Extent struct {
	Off int64
	N   int
}

// Command is one request of the host.
type Command struct {
	Rows []Extent // one extent for a plain read

	// Gather: the device cuts the rows out itself and sends Out bytes for each as soon as
	// it has left its engine, or, with Sum, for all of them together when the last has.
	// Otherwise whole blocks of every row cross the link.
	Gather, Sum bool
	Out         int64

	// Done is called when the host has the data, with the time.
	Done func(at int64)
}

// Counts sums up what a device did.
type Counts struct {
	Commands     int64
	Pages        int64 // sensed, those of the address map included
	ChannelBytes int64
	LinkBytes    int64
	EngineBytes  int64 // handled by the gathering engines
	Energy       float64
}

// Device runs commands on a profile. Time begins at 0 and is counted in nanoseconds.
type Device struct {
	p      Profile
	now    int64
	events eventQueue
	turns  int64 // order of events of the same time
	random uint64

	slots    station // the queue
	cores    station
	planes   []station
	channels []station
	link     station
	engines  station

	counts Counts
}

// NewDevice returns an idle device. p must be valid.
func NewDevice(p *Profile) *Device {
	d := &Device{
		p: *p, random: 0x9E3779B97F4A7C15,
		slots: station{free: p.QueueDepth}, cores: station{free: p.Cores},
		link: station{free: 1}, engines: station{free: p.Engines},
		planes: make([]station, p.Channels*p.Dies*p.Planes), channels: make([]station, p.Channels),
	}
	for i := range d.planes {
		d.planes[i].free = 1
	}
	for i := range d.channels {
		d.channels[i].free = 1
	}
	return d
}

// Counts returns the sums so far.
func (d *Device) Counts() Counts { return d.counts }

// Now is the time of the last event.
func (d *Device) Now() int64 { return d.now }

// Next returns when something happens next, false when the device is idle.
func (d *Device) Next() (at int64, ok bool) {
	if len(d.events) == 0 {
		return 0, false
	}
	return d.events[0].at, true
}

// Run lets happen all that happens until then.
func (d *Device) Run(until int64) {
	for len(d.events) > 0 && d.events[0].at <= until {
		e := heap.Pop(&d.events).(event)
		d.now = e.at
		e.do()
	}
	d.now = max(d.now, until)
}

// Drain lets happen all that is under way, and what that leads to.
func (d *Device) Drain() {
	for {
		at, ok := d.Next()
		if !ok {
			return
		}
		d.Run(at)
	}
}

// Submit gives the device a command at a time that has not passed.
func (d *Device) Submit(at int64, c Command) {
	d.at(max(at, d.now)+nanos(d.p.Submit), func() {
		d.slots.take(func() { d.accept(c) })
	})
}

// accept is where the controller sees the command.
func (d *Device) accept(c Command) {
	d.counts.Commands++
	d.counts.Energy += d.p.CommandEnergy
	done := c.Done
	c.Done = func(at int64) {
		d.slots.leave()
		d.after(nanos(d.p.Complete), func() { done(d.now) })
	}
	d.serve(&d.cores, nanos(d.p.Controller), func() {
		left := len(c.Rows)
		for _, row := range c.Rows {
			d.row(row, &c, func() {
				if left--; left > 0 {
					return
				}
				if c.Sum {
					d.transfer(c.Out, func() { c.Done(d.now) })
					return
				}
				c.Done(d.now) // all that it sends has crossed the link bit by bit
			})
		}
	})
}

// row reads one extent of a command page by page, and brings it over the link or, to be
// summed, through an engine.
func (d *Device) row(x Extent, c *Command, done func()) {
	page := int64(d.p.PageBytes)
	first, last := x.Off/page, (x.Off+int64(x.N)-1)/page
	left := last - first + 1
	finish := func() {
		if left--; left > 0 {
			return
		}
		if c.Gather {
			d.cut(x, c, done)
			return
		}
		done()
	}
	pages := func() {
		for p := first; p <= last; p++ {
			from, to := max(x.Off, p*page), min(x.Off+int64(x.N), (p+1)*page)
			d.page(p, rounded(from, to, int64(d.p.SectorBytes)), func() {
				if c.Gather {
					finish()
					return
				}
				d.transfer(rounded(from, to, int64(d.p.LinkBlock)), finish)
			})
		}
	}
	if d.p.MapMiss > 0 && d.chance() < d.p.MapMiss {
		d.page(int64(d.draw()>>33), int64(d.p.SectorBytes), pages)
		return
	}
	pages()
}

// cut takes a row out of its pages, and sends it unless it is to be summed.
func (d *Device) cut(x Extent, c *Command, done func()) {
	d.counts.EngineBytes += int64(x.N)
	d.counts.Energy += d.p.EngineEnergy * float64(x.N)
	d.serve(&d.engines, nanos(d.p.Row)+d.byteTime(int64(x.N), d.p.Engine), func() {
		if c.Sum {
			done()
			return
		}
		d.transfer(c.Out, done)
	})
}

// page senses a page and moves n of its bytes to the controller. The plane keeps them
// until the channel has taken them.
func (d *Device) page(number, n int64, done func()) {
	channel := int(number % int64(d.p.Channels))
	unit := int(number % int64(len(d.planes)))
	plane, bus := &d.planes[unit], &d.channels[channel]
	d.counts.Pages++
	d.counts.ChannelBytes += n
	d.counts.Energy += d.p.SenseEnergy + d.p.ChannelEnergy*float64(n)
	sense := d.p.Sense * (1 + d.p.Jitter*(2*d.chance()-1))
	plane.take(func() {
		d.after(nanos(sense), func() {
			d.serve(bus, d.byteTime(n, d.p.ChannelRate), func() {
				plane.leave()
				d.after(nanos(d.p.Decode), done)
			})
		})
	})
}

// transfer moves n bytes over the link.
func (d *Device) transfer(n int64, done func()) {
	d.counts.LinkBytes += n
	d.counts.Energy += d.p.LinkEnergy * float64(n)
	d.serve(&d.link, d.byteTime(n, d.p.LinkRate), done)
}

// serve holds one of s's servers for a time.
func (d *Device) serve(s *station, dt int64, done func()) {
	s.take(func() {
		d.after(dt, func() {
			s.leave()
			done()
		})
	})
}

func (d *Device) after(dt int64, do func()) { d.at(d.now+dt, do) }

func (d *Device) at(t int64, do func()) {
	d.turns++
	heap.Push(&d.events, event{t, d.turns, do})
}

// byteTime is how long n bytes take at mbps.
func (d *Device) byteTime(n int64, mbps float64) int64 { return int64(float64(n) * 1000 / mbps) }

// draw is the next number of a fixed sequence (xorshift64*), so that runs repeat.
func (d *Device) draw() uint64 {
	d.random ^= d.random >> 12
	d.random ^= d.random << 25
	d.random ^= d.random >> 27
	return d.random * 0x2545F4914F6CDD1D
}

// chance is evenly spread over [0, 1).
func (d *Device) chance() float64 { return float64(d.draw()>>11) / (1 << 53) }

func nanos(us float64) int64 { return int64(us * 1000) }

// rounded is the length of [from, to) widened to whole units.
func rounded(from, to, unit int64) int64 {
	return (to+unit-1)/unit*unit - from/unit*unit
}

// station is something that serves few at a time; the others wait in order.
type station struct {
	free    int
	waiting []func()
}

// take calls start as soon as there is a free server.
func (s *station) take(start func()) {
	if s.free > 0 {
		s.free--
		start()
		return
	}
	s.waiting = append(s.waiting, start)
}

// leave gives a server to the next one.
func (s *station) leave() {
	if len(s.waiting) == 0 {
		s.free++
		return
	}
	next := s.waiting[0]
	s.waiting[0] = nil
	s.waiting = s.waiting[1:]
	next()
}

// event is something that happens at a time.
type event struct {
	at, turn int64
	do       func()
}

// eventQueue implements heap.Interface: the earliest first, in order of creation.
type eventQueue []event

func (q eventQueue) Len() int { return len(q) }
func (q eventQueue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].turn < q[j].turn
}
func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *eventQueue) Push(x any)   { *q = append(*q, x.(event)) }
func (q *eventQueue) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	(*q)[last] = event{}
	*q = (*q)[:last]
	return e
}
