package ple

import (
	"encoding/binary"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ring is the device for direct reads on Linux, by io_uring: whoever asks for
// rows starts their reads with one system call and goes on computing, without a
// goroutine that would need a processor first. Whoever waits looks for completions
// itself. Only while somebody sleeps, or reads are queued that found no buffer,
// completions are announced through an eventfd that the runtime polls.
//
// Against a pool of goroutines it halves the time of a prompt's rows; see
// docs/measurements/ple-io.md. Where the kernel refuses it, as many containers
// make it do, the pool takes its place.
type ring struct {
	t     *Table
	src   *direct
	fd    int      // of the ring
	file  int      // to read
	event *os.File // counts completions
	rings []byte   // both queues, shared with the kernel
	sqes  []byte   // entries of the submission queue, 64 bytes each
	sq    queueMap
	cq    queueMap
	deaf  *uint32 // flags of the completion queue: announce nothing; nil before Linux 5.8
	heard bool    // completions are announced

	buffers []byte // one for each read that may be under way
	free    [][]byte
	reads   []*read  // by user number; nil: none
	numbers []uint32 // user numbers not in use

	// fault, in tests, changes the result of a completion; false: it never comes.
	fault func(user uint32, res int32) (int32, bool)
}

// queueMap are the places of a queue's words in ring.rings.
type queueMap struct {
	head, tail, mask *uint32
	at               uint32 // offset of the entries
}

// The kernel's interface (linux/io_uring.h).
const (
	ringOffSQEs       = 0x10000000
	ringFeatOneMap    = 1 << 0
	ringOpRead        = 22
	ringDeaf          = 1 << 0 // IORING_CQ_EVENTFD_DISABLED
	ringRegisterEvent = 4
	sqeBytes          = 64
	cqeBytes          = 16
)

// ringParams is struct io_uring_params.
type ringParams struct {
	sqEntries, cqEntries, flags, cpu, idle, features, wq uint32
	_                                                    [3]uint32
	sqOff                                                struct {
		head, tail, mask, entries, flags, dropped, array, _ uint32
		_                                                   uint64
	}
	cqOff struct {
		head, tail, mask, entries, overflow, cqes, flags, _ uint32
		_                                                   uint64
	}
}

// newDevice returns a ring for t, or nil where there is none.
func (d *direct) newDevice(t *Table, depth int) device {
	g := &ring{t: t, src: d, fd: -1, file: int(d.f.Fd())}
	if g.setup(depth) != nil || g.try() != nil {
		g.close()
		return nil
	}
	t.opt.Workers = depth
	t.workers.Go(g.reap)
	return g
}

func (g *ring) name() string { return "ring" }

// directHides reports whether direct reads need no goroutine here.
func directHides() bool { return hasRing() }

// hasRing reports whether the system allows io_uring, which it does or does not for good.
var hasRing = sync.OnceValue(func() bool {
	var p ringParams
	fd, _, e := syscall.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&p)), 0)
	if e != 0 {
		return false
	}
	unix.Close(int(fd))
	return true
})

// setup makes the queues and the buffers.
func (g *ring) setup(depth int) error {
	var p ringParams
	fd, _, e := syscall.Syscall(unix.SYS_IO_URING_SETUP, uintptr(depth), uintptr(unsafe.Pointer(&p)), 0)
	if e != 0 {
		return e
	}
	g.fd = int(fd)
	unix.CloseOnExec(g.fd)
	if p.features&ringFeatOneMap == 0 {
		return unix.ENOSYS // before Linux 5.4
	}
	size := max(int(p.sqOff.array)+4*int(p.sqEntries), int(p.cqOff.cqes)+cqeBytes*int(p.cqEntries))
	const prot, flags = unix.PROT_READ | unix.PROT_WRITE, unix.MAP_SHARED | unix.MAP_POPULATE
	var err error
	if g.rings, err = unix.Mmap(g.fd, 0, size, prot, flags); err != nil {
		return err
	}
	if g.sqes, err = unix.Mmap(g.fd, ringOffSQEs, sqeBytes*int(p.sqEntries), prot, flags); err != nil {
		return err
	}
	word := func(off uint32) *uint32 { return (*uint32)(unsafe.Pointer(&g.rings[off])) }
	g.sq = queueMap{word(p.sqOff.head), word(p.sqOff.tail), word(p.sqOff.mask), p.sqOff.array}
	g.cq = queueMap{word(p.cqOff.head), word(p.cqOff.tail), word(p.cqOff.mask), p.cqOff.cqes}
	if p.cqOff.flags != 0 {
		g.deaf = word(p.cqOff.flags)
		atomic.StoreUint32(g.deaf, ringDeaf)
	}
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return err
	}
	g.event = os.NewFile(uintptr(event), "eventfd")
	n := int32(event)
	_, _, e = syscall.Syscall6(unix.SYS_IO_URING_REGISTER, fd, ringRegisterEvent, uintptr(unsafe.Pointer(&n)), 1, 0, 0)
	if e != 0 {
		return e
	}
	return g.allocate(depth)
}

// allocate gets a buffer for each read; memory is taken when one is used.
func (g *ring) allocate(depth int) error {
	page := os.Getpagesize()
	align := max(page, int(g.src.align))
	each := max(g.t.rowBytes, g.t.opt.MaxReadBytes) + 2*int(g.src.align)
	each = (each + align - 1) / align * align
	var err error
	if g.buffers, err = allocate(each * depth); err != nil {
		return err
	}
	if uintptr(unsafe.Pointer(&g.buffers[0]))&uintptr(g.src.align-1) != 0 {
		return unix.EINVAL // alignment beyond a page
	}
	for i := depth - 1; i >= 0; i-- {
		g.free = append(g.free, g.buffers[i*each:(i+1)*each:(i+1)*each])
		g.numbers = append(g.numbers, uint32(i))
	}
	g.reads = make([]*read, depth)
	return nil
}

// try reads the table's first block through the ring, which shows whether all
// of it works here, and waits for it.
func (g *ring) try() error {
	g.push(g.free[0][:g.src.align], g.src.spec.Offset&^(g.src.align-1), 0)
	if n, e := g.enter(1, 0); e != 0 || n != 1 {
		return unix.EIO
	}
	for {
		if _, res, ok := g.pop(); ok && res > 0 {
			return nil
		} else if ok {
			return unix.EIO
		}
		if _, e := g.enter(0, 1); e != 0 {
			return e
		}
	}
}

// push adds a read to the submission queue, which has room for all buffers.
func (g *ring) push(p []byte, off int64, user uint32) {
	tail := *g.sq.tail
	i := tail & *g.sq.mask
	e := g.sqes[i*sqeBytes : (i+1)*sqeBytes]
	clear(e)
	e[0] = ringOpRead
	binary.NativeEndian.PutUint32(e[4:], uint32(g.file))
	binary.NativeEndian.PutUint64(e[8:], uint64(off))
	binary.NativeEndian.PutUint64(e[16:], uint64(uintptr(unsafe.Pointer(unsafe.SliceData(p)))))
	binary.NativeEndian.PutUint32(e[24:], uint32(len(p)))
	binary.NativeEndian.PutUint64(e[32:], uint64(user))
	binary.NativeEndian.PutUint32(g.rings[g.sq.at+4*i:], i)
	atomic.StoreUint32(g.sq.tail, tail+1)
}

// pop takes a completion.
func (g *ring) pop() (user uint32, res int32, ok bool) {
	head := *g.cq.head
	if head == atomic.LoadUint32(g.cq.tail) {
		return 0, 0, false
	}
	e := g.rings[g.cq.at+head&*g.cq.mask*cqeBytes:]
	user, res = binary.NativeEndian.Uint32(e), int32(binary.NativeEndian.Uint32(e[8:]))
	atomic.StoreUint32(g.cq.head, head+1)
	if g.fault == nil {
		return user, res, true
	}
	if res, ok = g.fault(user, res); !ok {
		return g.pop()
	}
	return user, res, true
}

// enter gives n submissions to the kernel, or waits for some completions: both at
// once could not tell a wait that a signal has ended. It returns how many were taken. The
// scheduler is not told of submissions: they are short, and a processor given away would be
// missed by the computation. A wait may be for a device that hangs.
func (g *ring) enter(n, wait int) (int, syscall.Errno) {
	const getEvents = 1
	call, flags := syscall.RawSyscall6, uintptr(0)
	if wait > 0 {
		call, flags = syscall.Syscall6, getEvents
	}
	for range 100 {
		done, _, e := call(unix.SYS_IO_URING_ENTER, uintptr(g.fd), uintptr(n), uintptr(wait), flags, 0, 0)
		switch e {
		case 0:
			return int(done), 0
		case unix.EINTR:
		default:
			return 0, e
		}
	}
	return 0, unix.EINTR
}

// kick implements device.
func (g *ring) kick(int) {
	pushed := 0
	for len(g.free) > 0 {
		r := g.t.nextRead()
		if r == nil {
			break
		}
		r.buf = g.free[len(g.free)-1]
		g.free = g.free[:len(g.free)-1]
		r.user = g.numbers[len(g.numbers)-1]
		g.numbers = g.numbers[:len(g.numbers)-1]
		g.reads[r.user] = r
		from, n := g.src.widen(g.src.spec.Offset+r.off, r.n)
		g.push(r.buf[:n], from, r.user)
		pushed++
	}
	if pushed == 0 {
		return
	}
	if n, e := g.enter(pushed, 0); e != 0 || n < pushed {
		g.takeBack(pushed - n)
	}
}

// takeBack reads without the ring what the kernel did not want.
func (g *ring) takeBack(n int) {
	tail := *g.sq.tail
	for i := tail - uint32(n); i != tail; i++ {
		slot := binary.NativeEndian.Uint32(g.rings[g.sq.at+4*(i&*g.sq.mask):])
		user := binary.NativeEndian.Uint32(g.sqes[slot*sqeBytes+32:])
		g.plain(g.reads[user])
	}
	atomic.StoreUint32(g.sq.tail, tail-uint32(n))
}

// plain repeats a read by an ordinary system call, in a goroutine of its own: the
// rare way, which gives errors their usual form.
func (g *ring) plain(r *read) {
	off, n, buf := r.off, r.n, r.buf
	g.t.workers.Go(func() {
		got, err := g.src.ReadAt(buf[:n], off)
		g.t.mu.Lock()
		defer g.t.mu.Unlock()
		g.finish(r, buf[:max(0, got)], err)
		g.kick(0)
	})
}

// finish ends a read that brought p or err. The lock is held, but not while
// bytes are copied.
func (g *ring) finish(r *read, p []byte, err error) {
	buf, user := r.buf, r.user
	if g.t.end(r) {
		g.t.mu.Unlock()
		g.t.deliver(r, p, len(p), err)
		g.t.mu.Lock()
		g.t.settle(r, len(p))
	}
	g.reads[user] = nil
	g.free = append(g.free, buf)
	g.numbers = append(g.numbers, user)
}

// capacity implements device: a buffer is free, or may become so.
func (g *ring) capacity() bool { return len(g.free) > 0 }

// lookEvery is how often reap looks unasked while somebody depends on it: a
// completion that ends just when announcements are turned on may be missed.
const lookEvery = 5 * time.Millisecond

// attend implements device.
func (g *ring) attend(sleepers bool) {
	hear := sleepers || g.t.queue.n > 0
	if hear == g.heard {
		return
	}
	g.heard = hear
	switch {
	case hear:
		g.announce(0)
		g.event.SetReadDeadline(time.Now().Add(lookEvery))
		g.poll()
	default:
		g.announce(ringDeaf)
		g.event.SetReadDeadline(time.Time{})
	}
}

// announce turns the eventfd on and off.
func (g *ring) announce(flags uint32) {
	if g.deaf != nil {
		atomic.StoreUint32(g.deaf, flags)
	}
}

// reap finishes reads until the ring is closed.
func (g *ring) reap() {
	var count [8]byte
	for {
		_, err := g.event.Read(count[:])
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		g.t.mu.Lock()
		g.poll()
		if g.heard {
			g.event.SetReadDeadline(time.Now().Add(lookEvery))
		}
		g.t.attend()
		g.t.mu.Unlock()
	}
}

// poll implements device.
func (g *ring) poll() {
	for {
		user, res, ok := g.pop()
		if !ok {
			break
		}
		r := g.reads[user]
		skip := int((g.src.spec.Offset + r.off) & (g.src.align - 1))
		if int(res) < skip+r.n && !r.givenUp {
			g.plain(r) // an error, or the end of the file
			continue
		}
		n := min(max(0, int(res)-skip), r.n)
		g.finish(r, r.buf[skip:skip+n], nil)
		if len(g.free) >= len(g.reads)/4 {
			g.kick(0) // before the queue of the device runs dry
		}
	}
	g.kick(0)
}

// close implements device.
func (g *ring) close() {
	if g.event != nil {
		g.event.Close() // ends reap
	}
	if g.t.hangs() {
		return // the kernel may still write to the buffers
	}
	g.t.workers.Wait() // reap uses the maps
	for _, m := range [][]byte{g.sqes, g.rings, g.buffers} {
		if m != nil {
			unix.Munmap(m)
		}
	}
	if g.fd >= 0 {
		unix.Close(g.fd)
	}
}
