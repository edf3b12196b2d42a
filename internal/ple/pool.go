package ple

// device performs the queued reads of a table. Its methods are called with the
// table's lock held and do not wait.
type device interface {
	// name is for Table.Device.
	name() string
	// kick says that up to n reads have been queued.
	kick(n int)
	// poll ends the reads that are complete, and may let go of the lock in between.
	poll()
	// attend says whether somebody sleeps until reads end. While nobody does, reads
	// may end unnoticed until poll. It may let go of the lock in between.
	attend(sleepers bool)
	// capacity reports whether a queued read could begin now or after one under way.
	capacity() bool
	// close gives back what the device holds, without the lock. No read is queued
	// or under way, but those that hang keep what they may still write to.
	close()
}

// pool is the device for any io.ReaderAt: goroutines that read.
//
// Where the source can tell what needs no waiting, that is copied by the asking
// goroutine, in Fetch and in Wait. The rest has been announced to the kernel, which
// reads it meanwhile; goroutines begin when somebody sleeps, or when there is more
// than could be announced.
type pool struct {
	t       *Table
	started int // goroutines, those that hang included
	asleep  int // of these: sleeping and not yet signalled
}

// maxHung bounds the goroutines that hang in a read which the watchdog has given
// up, as a multiple of Options.Workers; each one was replaced.
const maxHung = 4

func (p *pool) name() string { return "pool" }

func (p *pool) kick(n int) {
	if p.t.cached != nil {
		p.t.takeCached()
	} else {
		p.wake(n)
	}
}

func (p *pool) poll() {
	if p.t.cached != nil && !p.t.queue.empty() {
		p.t.takeCached()
	}
}

func (p *pool) attend(sleepers bool) {
	if p.t.cached != nil && (sleepers || p.t.queue.n > p.t.ahead) {
		p.wake(p.t.queue.n)
	}
}

// wake sets up to n goroutines to work, as far as those that are on their way to
// the queue are too few.
func (p *pool) wake(n int) {
	coming := p.running() - p.asleep - p.t.under.n - p.t.ending
	for n = min(n, p.t.queue.n-max(0, coming)); n > 0; n-- {
		switch {
		case p.asleep > 0:
			p.asleep--
			p.t.wake.Signal()
		case p.capacity() && p.running() < p.t.opt.Workers:
			p.started++
			p.t.workers.Go(p.work)
		default:
			return
		}
	}
}

// running is the number of goroutines that do not hang.
func (p *pool) running() int { return p.started - p.t.hung }

func (p *pool) capacity() bool { return p.running() > 0 || p.t.hung < maxHung*p.t.opt.Workers }

func (p *pool) close() { p.t.wake.Broadcast() }

// work reads what is queued until the table is closed.
func (p *pool) work() {
	t := p.t
	var scratch []byte
	t.mu.Lock()
	defer t.mu.Unlock()
	for p.running() <= t.opt.Workers { // more: this one hung and was replaced
		r := t.nextRead()
		if r == nil {
			if t.closed {
				break
			}
			p.asleep++ // kick takes it back before it signals
			t.wake.Wait()
			continue
		}
		t.mu.Unlock()
		if len(scratch) < r.n {
			scratch = make([]byte, max(r.n, t.rowBytes))
		}
		n, err := t.src.ReadAt(scratch[:r.n], r.off)
		t.mu.Lock()
		if t.end(r) {
			t.mu.Unlock()
			t.deliver(r, scratch, n, err)
			t.mu.Lock()
			t.settle(r, n)
		}
		p.wake(t.queue.n) // rows that failed in company
	}
	p.started--
}
