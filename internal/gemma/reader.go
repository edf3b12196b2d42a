package gemma

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/ple"
)

// reader reads weights and hands them to the device, piece by piece, on goroutines of
// its own. Several pieces are under way at once, of one matrix or of several, so that a
// disk's queue stays filled while other pieces are packed.
type reader struct {
	back       backend.Backend
	cat        *checkpoint.Catalog
	packed     *checkpoint.Catalog        // nil: there is no copy
	watch      *watch                     // of cat's files, while they are read again and again; may be nil
	drop       bool                       // leave nothing in the page cache, whatever the disk
	fault      func(error)                // told why the packed copy is no longer read; may be nil
	lasts      bool                       // goroutines stay for the next fetch
	progress   func(read int64)           // told of every piece, from several goroutines; may be nil
	readers    int                        // pieces under way at once, see Residency.readers
	pieceBytes int                        // of the largest piece
	patience   time.Duration              // without a single piece, until a device counts as hung
	timer      atomic.Pointer[time.Timer] // for a wait; nil while one has it

	mu     sync.Mutex
	work   sync.Cond // something was queued, or closed
	queue  []*fetch  // with pieces that nobody has taken
	active int       // goroutines
	closed bool
	bufs   [][]byte      // of goroutines to come; nil when there are none, and no memory
	free   func()        // gives them all back
	under  int           // pieces under way
	since  time.Time     // when that became more than 0
	busy   time.Duration // that it was before
	wg     sync.WaitGroup
	judged bool // slow is decided

	slow    atomic.Bool // the disk is: better have a copy in the page cache, for the next start
	damaged atomic.Bool // the packed copy is

	count readCounts
}

// readCounts is what a reader has done; read by any goroutine.
type readCounts struct {
	groups, reads, bytes, waits atomic.Int64
	ended                       atomic.Int64 // pieces, those that failed too
	wait                        atomic.Int64 // ns
}

// How many pieces are under way at once, and how much each is, about. In twelve pairs of starts
// of E2B in turn 12 were faster than 8 in ten (medians 0.90 and 0.94 s), 16 were not faster than
// 12, and 16 of 512 KiB slower (0.95 to 1.97 s); see docs/measurements/memory.md for more pairs,
// not all of which agree. While some are packed, the others keep the disk's queue filled. Each
// takes a buffer, so where memory is short there are 8.
const (
	manyReaders = 12
	fewReaders  = 8
	readPiece   = 1 << 20
)

// cut decides for all loads how many rows are read at once, and returns the bytes of
// the largest such piece, as stored or packed.
func (gs *groups) cut(size func(*load) int64) (most int) {
	for _, g := range gs.inOrder() {
		for i := range g.loads {
			ld := &g.loads[i]
			ld.pieceRows = ld.rowsAtOnce(size)
			piece := ld.rows(0, min(ld.pieceRows, ld.matrix.Out))
			most = max(most, piece.matrix.Out*ld.rowBytes, int(size(&piece)))
		}
	}
	return most
}

// rowsAtOnce is readPiece in rows: such that those of a packed copy are whole pages, if
// that does not make a piece much larger.
func (ld *load) rowsAtOnce(size func(*load) int64) int {
	panel := ld.rows(0, min(backend.FillRows, ld.matrix.Out))
	whole := backend.FillRows
	for n := size(&panel); n*int64(whole/backend.FillRows)%backend.SlabAlign != 0; {
		whole *= 2
	}
	if whole*ld.rowBytes > 4*readPiece {
		whole = backend.FillRows
	}
	return max(1, readPiece/ld.rowBytes/whole) * whole
}

// fetch is the reading of some matrices into a place. It can begin again when it has
// ended. All its fields but complete are guarded by reader.mu.
type fetch struct {
	rank  int              // the lowest is served first
	loads []load           // what is read
	into  []backend.Matrix // where to, by load

	state     fetchState
	next, row int // first piece that nobody has taken
	under     int // pieces under way
	err       error
	ended     chan struct{} // of capacity 1; full while the fetch is not running
	complete  atomic.Bool   // ended without an error
}

type fetchState uint8

const (
	fetchIdle    fetchState = iota // nothing asked for yet
	fetchRunning                   //
	fetchDone                      // everything is there
	fetchFailed                    // with err, which nobody has been told
	fetchTold                      // with err
)

// rowRange is a piece: rows [row, row+n) of a fetch's load number i.
type rowRange struct{ load, row, n int }

var (
	errClosed    = errors.New("model is closed")
	errAbandoned = errors.New("reading was given up")
)

// begin starts a fetch that is not running, of what its fields say.
func (r *reader) begin(f *fetch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.beginLocked(f)
}

func (r *reader) beginLocked(f *fetch) {
	if f.ended == nil {
		f.ended = make(chan struct{}, 1)
	}
	select {
	case <-f.ended:
	default:
	}
	f.state, f.next, f.row, f.err = fetchRunning, 0, 0, nil
	f.complete.Store(false)
	if r.closed {
		r.end(f, errClosed)
		return
	}
	r.queue = append(r.queue, f)
	for r.active < r.readers { // this fetch may be the only one
		r.hire()
	}
	r.work.Signal()
}

// ensure starts a fetch unless it is running or has succeeded. A failure that nobody
// knows of is kept for the next wait.
func (r *reader) ensure(f *fetch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f.state == fetchIdle || f.state == fetchTold {
		r.beginLocked(f)
	}
}

// ErrLeft marks, beside ple.ErrSlow, that reads hang in the system and were left behind:
// they may still write into the backend's memory, which must not be freed then.
var ErrLeft = errors.New("reads were left behind")

// wait waits until a fetch that was begun has ended, and returns its error. The error is
// ple.ErrSlow when nothing at all has arrived for too long; the fetch then goes on, and
// who waits again may be luckier.
func (r *reader) wait(ctx context.Context, f *fetch) error {
	if f.complete.Load() {
		return nil
	}
	begin, strikes := time.Now(), ple.Begin(r.count.ended.Load())
	timer := r.timer.Swap(nil)
	if timer == nil {
		timer = time.NewTimer(r.patience / 2)
	}
	timer.Reset(r.patience / 2)
	defer r.timer.Store(timer)
	defer timer.Stop()
	for {
		select {
		case <-f.ended:
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			if strikes.Out(r.count.ended.Load()) {
				return r.hung(f)
			}
			timer.Reset(r.patience / 2)
			continue
		}
		if ended, err := r.outcome(f); ended {
			r.count.waits.Add(1)
			r.count.wait.Add(int64(time.Since(begin)))
			return err
		}
	}
}

// hung is the error of waiting for f in vain. It names what is read next: which of the pieces
// under way hang is not known, and they lie right before that.
func (r *reader) hung(f *fetch) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	ld := &f.loads[min(f.next, len(f.loads)-1)]
	from := ld.packed.tensor
	if from == nil || r.damaged.Load() {
		from = ld.src.Tensors()[0]
	}
	return fmt.Errorf("load up to %s: %s: %w for %v", ld.src.Spec, path(from), ple.ErrSlow, r.patience)
}

// outcome is for who has taken from f.ended: it leaves that for others and returns the
// fetch's error, unless somebody has begun it again meanwhile.
func (r *reader) outcome(f *fetch) (ended bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f.state == fetchRunning {
		return false, nil // it ends once more
	}
	select {
	case f.ended <- struct{}{}:
	default: // it has ended once more already
	}
	if f.state == fetchFailed {
		f.state = fetchTold
	}
	return true, f.err
}

// waitEnd waits until a fetch that was begun has ended, well or not.
func (r *reader) waitEnd(ctx context.Context, f *fetch) error {
	if err := r.wait(ctx, f); err != nil && r.running(f) {
		return err
	}
	return nil
}

// running reports whether a fetch has begun and not ended.
func (r *reader) running(f *fetch) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return f.state == fetchRunning
}

// busyTime is how long something has been under way.
func (r *reader) busyTime() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.busyLocked()
}

func (r *reader) busyLocked() time.Duration {
	if r.under > 0 {
		return r.busy + time.Since(r.since)
	}
	return r.busy
}

// giveUp ends a fetch that nobody wants any more, at once or when the pieces under way
// are here, and reports whether it has ended.
func (r *reader) giveUp(f *fetch) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f.state == fetchRunning {
		r.stop(f, errAbandoned)
	}
	return f.state != fetchRunning
}

// stop hands out no further pieces of f, which ends with err.
func (r *reader) stop(f *fetch, err error) {
	if f.err == nil {
		f.err = err
	}
	f.next = len(f.loads)
	r.unqueue(f)
	if f.under == 0 {
		r.end(f, f.err)
	}
}

func (r *reader) unqueue(f *fetch) {
	for i, q := range r.queue {
		if q == f {
			r.queue = append(r.queue[:i], r.queue[i+1:]...)
			return
		}
	}
}

// end makes a fetch done.
func (r *reader) end(f *fetch, err error) {
	f.state, f.err = fetchDone, err
	if err != nil {
		f.state = fetchFailed
	} else {
		f.complete.Store(true)
		r.count.groups.Add(1)
	}
	f.ended <- struct{}{}
}

// hire starts a goroutine with one of the buffers, which come and go with them.
func (r *reader) hire() {
	if r.active == 0 {
		r.bufs, r.free = checkpoint.DirectBuffers(r.readers, r.pieceBytes)
	}
	buf := r.bufs[len(r.bufs)-1]
	r.bufs = r.bufs[:len(r.bufs)-1]
	r.active++
	r.wg.Go(func() { r.run(buf) })
}

// leave ends a goroutine.
func (r *reader) leave(buf []byte) {
	r.bufs = append(r.bufs, buf)
	if r.active--; r.active == 0 {
		r.bufs = nil
		r.free()
	}
}

// run reads pieces until there are none, or until close.
func (r *reader) run(buf []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		f, p := r.take()
		if f == nil {
			if r.closed || !r.lasts {
				r.leave(buf)
				return
			}
			r.work.Wait()
			continue
		}
		if len(r.queue) > 0 {
			r.work.Signal() // one wakes the next: those that find nothing would take processors from the step
		}
		r.mu.Unlock()
		err := r.read(f, p, buf)
		r.mu.Lock()
		r.finish(f, err)
	}
}

// take hands out the most urgent piece.
func (r *reader) take() (*fetch, rowRange) {
	if len(r.queue) == 0 {
		return nil, rowRange{}
	}
	f := r.queue[0]
	for _, q := range r.queue[1:] {
		if q.rank < f.rank {
			f = q
		}
	}
	ld := &f.loads[f.next]
	p := rowRange{f.next, f.row, min(ld.pieceRows, ld.matrix.Out-f.row)}
	if f.row += p.n; f.row == ld.matrix.Out {
		f.next, f.row = f.next+1, 0
	}
	if f.next == len(f.loads) {
		r.unqueue(f)
	}
	if r.under == 0 {
		r.since = time.Now()
	}
	f.under++
	r.under++
	return f, p
}

// read fills one piece's rows.
func (r *reader) read(f *fetch, p rowRange, buf []byte) error {
	ld := &f.loads[p.load]
	err := r.fill(ld, f.into[p.load], p, buf)
	if err == nil {
		err = r.watch.check()
	}
	if err != nil {
		return fmt.Errorf("load %s: %w", ld.src.Spec, err)
	}
	n := int64(p.n) * int64(ld.rowBytes)
	r.count.reads.Add(1)
	if read := r.count.bytes.Add(n); r.drop && read/sweepBytes > (read-n)/sweepBytes {
		r.cat.DropAll()
		if r.packed != nil {
			r.packed.DropAll()
		}
	}
	if r.progress != nil {
		r.progress(n)
	}
	return nil
}

// fill reads rows of ld into m, from the packed copy as long as that is sound.
func (r *reader) fill(ld *load, m backend.Matrix, p rowRange, buf []byte) error {
	if ld.packed.tensor != nil && !r.damaged.Load() {
		err := ld.readPacked(r.back, m, p.row, p.n, buf, r.readPlace)
		if err == nil {
			return nil
		}
		if !r.damaged.Swap(true) && r.fault != nil {
			r.fault(err)
		}
	}
	raw, err := r.readStored(ld.src, buf, ld.off+int64(p.row)*int64(ld.rowBytes), p.n*ld.rowBytes)
	if err != nil {
		return err
	}
	return r.back.Fill(m, p.row, raw)
}

// readStored returns n bytes of src, in buf. What the page cache has comes from there;
// else a disk that is fast is read past it, which takes half the time and leaves memory to
// others, and of a slow one a copy stays there for the next start.
func (r *reader) readStored(src *Source, buf []byte, off int64, n int) ([]byte, error) {
	if !src.Cached(off, n) && (r.drop || src.Direct() && !r.slow.Load()) {
		return src.ReadDirect(buf, off, n)
	}
	_, err := src.ReadAt(buf[:n], off)
	return buf[:n], err
}

// readPlace is readStored for bytes that go to dst as they are.
func (r *reader) readPlace(t *checkpoint.Tensor, dst, buf []byte, off int64) error {
	if !t.Cached(off, len(dst)) && (r.drop || t.Direct() && !r.slow.Load()) {
		return t.ReadPlace(dst, buf, off)
	}
	_, err := t.ReadAt(dst, off)
	return err
}

// A disk is judged by the first judgeBytes. One of slowRate bytes per second takes 2.5
// seconds for E2B's weights, most of which the next start saves when they stay in the page
// cache: that is worth it for a SATA disk or a memory card, and not for NVMe.
const (
	judgeBytes = 64 << 20
	slowRate   = 600e6
)

// judge decides whether the disk is slow, once. r.mu is held.
func (r *reader) judge() {
	if read := r.count.bytes.Load(); !r.judged && read >= judgeBytes {
		r.judged = true
		r.slow.Store(float64(read) < slowRate*r.busyLocked().Seconds())
	}
}

// sweepBytes is how much is read between two sweeps of the file's pages: where reads go
// through the page cache, dropping each leaves pages that were in use at the moment.
const sweepBytes = 16 << 20

// finish notes that a piece is here.
func (r *reader) finish(f *fetch, err error) {
	r.count.ended.Add(1)
	r.judge()
	f.under--
	if r.under--; r.under == 0 {
		r.busy += time.Since(r.since)
	}
	switch {
	case err != nil:
		r.stop(f, err)
	case f.under == 0 && f.next == len(f.loads):
		r.end(f, f.err)
	}
}

// close ends all fetches and waits for the goroutines, as long as pieces arrive. The error is
// ErrLeft and ple.ErrSlow when the device has given nothing for too long.
func (r *reader) close() error {
	r.mu.Lock()
	r.closed = true
	for len(r.queue) > 0 {
		r.stop(r.queue[0], errClosed)
	}
	r.work.Broadcast()
	r.mu.Unlock()
	gone := make(chan struct{})
	go func() {
		r.wg.Wait()
		close(gone)
	}()
	strikes := ple.Begin(r.count.ended.Load())
	timer := time.NewTicker(r.patience / 2)
	defer timer.Stop()
	for {
		select {
		case <-gone:
			return nil
		case <-timer.C:
			if strikes.Out(r.count.ended.Load()) {
				return fmt.Errorf("stop reading %s: %w for %v: %w", r.cat.Path(), ple.ErrSlow, r.patience, ErrLeft)
			}
		}
	}
}
