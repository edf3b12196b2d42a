package hub

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
)

const journalSuffix = ".journal"

// A piece of a file is open, taken by a connection, or safe on the disk.
const (
	pieceOpen = iota
	pieceTaken
	pieceDone
)

// part is a file on its way: full length from the start, filled piece by piece.
// Its methods may be called by many goroutines at once.
type part struct {
	remoteFile
	path  string
	chunk int64
	fault func(file string, off int64) error

	f       *os.File
	journal *os.File

	mu      sync.Mutex
	state   []byte
	ready   []int // written, but not yet on the disk
	syncing bool
	broken  error         // of the first sync or journal write that failed
	wake    chan struct{} // tells the hasher that pieces were done

	// The server sends this file only whole: one connection takes it all.
	whole, streaming bool

	sum string // SHA-256 of all, once computed
	bad bool   // the source says another one
	old string // the file of an older version that this one is a link to
}

// journalHead is the first line of a journal. Another version of the file, or
// other pieces, make it another line, and the download begins anew.
type journalHead struct {
	ID    string `json:"id"`
	Bytes int64  `json:"bytes"`
	Chunk int64  `json:"chunk"`
}

// head is what the journal of f says first.
func (f *remoteFile) head(chunk int64) []byte {
	line, err := json.Marshal(journalHead{f.id(), f.bytes, chunk})
	if err != nil {
		panic("hub: internal error: " + err.Error())
	}
	return append(line, '\n')
}

// openPart goes on with the file at path where its journal allows it, else
// begins anew.
func openPart(path string, rf remoteFile, chunk int64) (*part, error) {
	p := &part{remoteFile: rf, path: path, chunk: chunk, wake: make(chan struct{}, 1)}
	p.state = make([]byte, (rf.bytes+chunk-1)/chunk)
	if p.resume() == nil {
		return p, nil
	}
	p.close()
	return p, p.begin()
}

// begin makes an empty file. What was there is removed and not overwritten: it
// may be linked to an older version of the model.
func (p *part) begin() error {
	clear(p.state)
	var err error
	if err = p.remove(); err != nil {
		return err
	}
	if p.f, err = os.OpenFile(p.path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644); err != nil {
		return err
	}
	if err = p.f.Truncate(p.bytes); err != nil {
		return p.diskError(err)
	}
	p.journal, err = os.OpenFile(p.path+journalSuffix, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o644)
	if err == nil {
		_, err = p.journal.Write(p.head(p.chunk))
	}
	if err != nil {
		return p.diskError(err)
	}
	return nil
}

// resume opens both files and believes the journal as far as it can be read.
func (p *part) resume() error {
	done, good, err := readJournal(p.path+journalSuffix, &p.remoteFile, p.chunk)
	if err != nil {
		return err
	}
	for _, i := range done {
		p.state[i] = pieceDone
	}
	if p.f, err = os.OpenFile(p.path, os.O_RDWR, 0); err != nil {
		return err
	}
	if info, err := p.f.Stat(); err != nil || info.Size() != p.bytes || !info.Mode().IsRegular() {
		return errors.New("the file has another length")
	}
	// A last line cut off by a crash must not become the beginning of the next.
	if err := os.Truncate(p.path+journalSuffix, good); err != nil {
		return err
	}
	p.journal, err = os.OpenFile(p.path+journalSuffix, os.O_WRONLY|os.O_APPEND, 0)
	return err
}

// readJournal returns the pieces that are done and the length of the journal
// up to its last good line. It fails for another version of f, and for a
// version that nothing identifies.
func readJournal(path string, f *remoteFile, chunk int64) (done []int, good int64, err error) {
	if f.id() == "" {
		return nil, 0, errors.New("nothing tells one version from another")
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer file.Close()
	pieces := (f.bytes + chunk - 1) / chunk
	text, err := io.ReadAll(io.LimitReader(file, 1<<10+pieces*16))
	if err != nil {
		return nil, 0, err
	}
	head := f.head(chunk)
	rest, ok := bytes.CutPrefix(text, head)
	if !ok {
		return nil, 0, errors.New("the journal is of another version")
	}
	done, n := journalPieces(rest, pieces)
	return done, int64(len(head) + n), nil
}

// journalPieces reads the lines behind the first, up to the first that is none.
// n is the length of the good ones.
func journalPieces(lines []byte, pieces int64) (done []int, n int) {
	for {
		line, rest, ok := bytes.Cut(lines, []byte{'\n'})
		i, err := strconv.ParseUint(string(line), 10, 32)
		if !ok || err != nil || int64(i) >= pieces {
			return done, n
		}
		done, lines, n = append(done, int(i)), rest, n+len(line)+1
	}
}

// journaledBytes counts what a journal says, for people: whether it is of the
// right version shows when the pull goes on.
func journaledBytes(path string, total, chunk int64) int64 {
	text, err := os.ReadFile(path)
	if err != nil || total < 0 || total > maxFileBytes {
		return 0
	}
	_, lines, _ := bytes.Cut(text, []byte{'\n'})
	state := make([]byte, (total+chunk-1)/chunk)
	done, _ := journalPieces(lines, int64(len(state)))
	for _, i := range done {
		state[i] = pieceDone
	}
	return sumPieces(state, total, chunk)
}

// adopt makes the finished file old, which has the same sum, this part's,
// without a copy. Where links are not possible it does nothing and returns false.
func adopt(old, path string, rf *remoteFile, chunk int64) bool {
	if exists(path) || os.Link(old, path) != nil {
		return false
	}
	text := rf.head(chunk)
	for i := range (rf.bytes + chunk - 1) / chunk {
		text = append(strconv.AppendInt(text, i, 10), '\n')
	}
	if os.WriteFile(path+journalSuffix, text, 0o644) != nil {
		os.Remove(path)
		os.Remove(path + journalSuffix)
		return false
	}
	return true
}

// span is a run of pieces that one connection fetches.
type span struct {
	part     *part
	pos, end int64
	whole    bool // the server sends all of the file
	finished int  // pieces completed by this span
}

// take hands out the next run of at most n open pieces, nil when there is none.
func (p *part) take(n int) *span {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.whole {
		if p.streaming || !bytes.ContainsAny(p.state, "\x00\x01") {
			return nil
		}
		p.streaming = true
		return &span{part: p, end: p.bytes, whole: true}
	}
	first := bytes.IndexByte(p.state, pieceOpen)
	if first < 0 {
		return nil
	}
	last := first
	for ; last < len(p.state) && last < first+n && p.state[last] == pieceOpen; last++ {
		p.state[last] = pieceTaken
	}
	return &span{part: p, pos: int64(first) * p.chunk, end: min(int64(last)*p.chunk, p.bytes)}
}

// claim makes s the connection that reads the whole file; false when another
// one is.
func (p *part) claim(s *span) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.whole = true
	if p.streaming && !s.whole {
		return false
	}
	p.streaming, s.whole = true, true
	s.pos, s.end = 0, p.bytes
	return true
}

// write stores b at off, inside piece i, unless that is done already.
func (p *part) write(b []byte, i int, off int64) error {
	p.mu.Lock()
	done := p.state[i] == pieceDone
	p.mu.Unlock()
	if done {
		return nil
	}
	if p.fault != nil {
		if err := p.fault(p.name, off); err != nil {
			return p.diskError(err)
		}
	}
	if _, err := p.f.WriteAt(b, off); err != nil {
		return p.diskError(err)
	}
	return nil
}

// complete notes that piece i is written: data to the disk first, then the
// journal. Pieces that others complete meanwhile share the next sync.
func (p *part) complete(i int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ready = append(p.ready, i)
	for !p.syncing && len(p.ready) > 0 && p.broken == nil {
		batch := p.ready
		p.ready, p.syncing = nil, true
		p.mu.Unlock()
		err := p.settle(batch)
		p.mu.Lock()
		p.syncing = false
		if err != nil {
			p.broken = p.diskError(err)
			break
		}
		for _, i := range batch {
			p.state[i] = pieceDone
		}
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
	return p.broken
}

func (p *part) settle(batch []int) error {
	if err := p.f.Sync(); err != nil {
		return err
	}
	var lines []byte
	for _, i := range batch {
		lines = append(strconv.AppendInt(lines, int64(i), 10), '\n')
	}
	_, err := p.journal.Write(lines)
	return err
}

// doneBytes is how much of the file is safe.
func (p *part) doneBytes() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return sumPieces(p.state, p.bytes, p.chunk)
}

func sumPieces(state []byte, total, chunk int64) int64 {
	n := int64(bytes.Count(state, []byte{pieceDone})) * chunk
	if len(state) > 0 && state[len(state)-1] == pieceDone {
		n -= int64(len(state))*chunk - total
	}
	return n
}

// verify reads the file back, each piece as soon as it is done, and compares
// its sum with the source's.
func (p *part) verify(ctx context.Context) error {
	sum, git := sha256.New(), sha1.New()
	to := io.Writer(sum)
	if p.git != "" {
		fmt.Fprintf(git, "blob %d\x00", p.bytes)
		to = io.MultiWriter(sum, git)
	}
	buf := make([]byte, 1<<20)
	for i := range p.state {
		if err := p.await(ctx, i); err != nil {
			return err
		}
		off := int64(i) * p.chunk
		n := min(p.chunk, p.bytes-off)
		// Not a Reader with a ReadFrom or WriteTo of its own: buf is what is used.
		got, err := io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{io.NewSectionReader(p.f, off, n)}, buf)
		if err == nil && got != n {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return p.diskError(err)
		}
	}
	p.sum = hex.EncodeToString(sum.Sum(nil))
	if got := hex.EncodeToString(git.Sum(nil)); p.git != "" && got != p.git {
		return p.reject("Git's SHA-1", got, p.git)
	}
	if p.sha256 != "" && p.sum != p.sha256 {
		return p.reject("SHA-256", p.sum, p.sha256)
	}
	return nil
}

// await returns when piece i is done.
func (p *part) await(ctx context.Context, i int) error {
	for {
		p.mu.Lock()
		done := p.state[i] == pieceDone
		p.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-p.wake:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// reject marks a file that is not what the source says. Nobody can tell which
// piece is wrong, so all of it will go, once no connection writes any more.
func (p *part) reject(what, got, want string) error {
	p.bad = true
	return fmt.Errorf("%s: %w: its %s is %s, the source says %s; what has arrived is deleted, try again", p.name, ErrDamaged, what, got, want)
}

func (p *part) diskError(err error) error {
	if noSpace(err) {
		err = fmt.Errorf("%w: %w", ErrSpace, err)
	}
	return finalError{fmt.Errorf("store %s: %w", filepath.Base(p.path), err)}
}

// close closes the files and leaves them as they are. Closing again does nothing.
func (p *part) close() {
	for _, f := range []*os.File{p.f, p.journal} {
		if f != nil {
			f.Close()
		}
	}
	p.f, p.journal = nil, nil
}

func (p *part) remove() error {
	var errs []error
	for _, path := range []string{p.path + journalSuffix, p.path} {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
