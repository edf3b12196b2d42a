package ple

// device performs the queued reads of a table. Its methods are called with the
// table's lock held and do not wait.
type device interface {
	// kick says that up to n reads have been queued.
	kick(n int)
	// capacity reports whether a queued read could begin now or after one under way.
	capacity() bool
	// close gives back what the device holds, without the lock. No read is queued
	// or under way, but those that hang keep what they may still write to.
	close()
}

// ringDepth is how many reads a device without goroutines has under way. 32 were
// as fast on the disk measured; flash with more channels likes more.
const ringDepth = 64

// pool is the device for any io.ReaderAt: goroutines that read.
type pool struct {
	t       *Table
	started int // goroutines, those that hang included
	asleep  int // of these: sleeping and not yet signalled
}

// maxHung bounds the goroutines that hang in a read which the watchdog has given
// up, as a multiple of Options.Workers; each one was replaced.
const maxHung = 4

func (p *pool) kick(n int) {
	for ; n > 0; n-- {
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
		p.kick(t.queue.n) // rows that failed in company
	}
	p.started--
}
