package engine

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/plume-run/plume/internal/gemma"
)

// The file that prefixes survive a restart in, little endian:
//
//	magic [16] │ key [32] │ record … │ 'E' 0… crc
//
//	record:  kind u8      'N' a node, 'M' a mark, 'E' the end
//	         at   u32     the node it hangs on: 0 the root, then in the order of the file
//	         n    u32     of a mark, tokens from the beginning
//	         len  u32     ids
//	         ids  [len]i32
//	         K/V bytes, as many as such a piece has: full layers, then a mark's rings
//	         crc  u32     Castagnoli, of the record so far
//
// The key names everything that the bytes depend on. Nodes come before what hangs on
// them, marks from the one not used for longest to the last used. A record's size
// follows from its ids and the model, so a file cannot make the reader allocate more
// than the budget; one that is cut or damaged is good up to there.

const fileMagic = "plume prefixes 1"

// PrefixKey names what computed prefixes depend on: the model, its numbers' format, the
// device's way of computing.
type PrefixKey [sha256.Size]byte

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errNoMemory says that a device keeps its bytes to itself.
var errNoMemory = errors.New("the backend does not show its keys and values")

// save writes everything to path, replacing what is there when it is complete. Prompts
// can be read from the file, so only its owner can.
func (p *prefixes) save(path string, key PrefixKey) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".prefixes-*")
	if err != nil {
		return fmt.Errorf("save prefixes: %w", err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
			err = fmt.Errorf("save prefixes: %w", err)
		}
	}()
	w := prefixWriter{w: bufio.NewWriterSize(f, 1<<20), sum: crc32.New(castagnoli), numbers: map[*node]uint32{&p.root: 0}}
	w.plain([]byte(fileMagic))
	w.plain(key[:])
	w.nodes(&p.root)
	for e := p.recent.Back(); e != nil; e = e.Prev() {
		m := e.Value.(*mark)
		w.record('M', w.numbers[m.at], m.n, m.tail, m.full, m.rings)
	}
	w.record('E', 0, 0, nil)
	if w.err == nil {
		w.err = w.w.Flush()
	}
	if err = errors.Join(w.err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// prefixWriter writes records until an error has come.
type prefixWriter struct {
	w       *bufio.Writer
	sum     hash.Hash32
	numbers map[*node]uint32
	err     error
}

func (w *prefixWriter) nodes(at *node) {
	for _, kid := range at.kids {
		w.record('N', w.numbers[at], 0, kid.ids, kid.full)
		w.numbers[kid] = uint32(len(w.numbers))
		w.nodes(kid)
	}
}

func (w *prefixWriter) record(kind byte, at uint32, n int, ids []int32, pieces ...*gemma.Piece) {
	w.sum.Reset()
	w.plain([]byte{kind})
	for _, v := range []uint32{at, uint32(n), uint32(len(ids))} {
		w.plain(binary.LittleEndian.AppendUint32(nil, v))
	}
	for _, id := range ids {
		w.plain(binary.LittleEndian.AppendUint32(nil, uint32(id)))
	}
	for _, p := range pieces {
		if p == nil {
			continue
		}
		memory, ok := p.Memory()
		if !ok && w.err == nil {
			w.err = errNoMemory
		}
		for _, b := range memory {
			w.plain(b)
		}
	}
	w.plain(binary.LittleEndian.AppendUint32(nil, w.sum.Sum32()))
}

func (w *prefixWriter) plain(b []byte) {
	if w.err == nil {
		w.sum.Write(b)
		_, w.err = w.w.Write(b)
	}
}

// load reads what save has written for the same key, as much as is sound and fits. c is
// a cache like those that will be restored. What was wrong is in the error; a file that
// does not exist is right.
func (p *prefixes) load(path string, key PrefixKey, c *gemma.Cache) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("load prefixes: %w", err)
	}
	defer f.Close()
	r := prefixReader{p: p, c: c, r: bufio.NewReaderSize(f, 1<<20), sum: crc32.New(castagnoli), nodes: []*node{&p.root}}
	head := make([]byte, len(fileMagic)+len(key))
	if _, err := io.ReadFull(r.r, head); err != nil || string(head) != fileMagic+string(key[:]) {
		return fmt.Errorf("load prefixes: %s is of another model or version, and ignored", path)
	}
	for more := true; more && err == nil; {
		more, err = r.record()
	}
	for _, at := range r.nodes[1:] {
		p.prune(at)
	}
	if err != nil {
		return fmt.Errorf("load prefixes: %s was good for %d entries, then: %w", path, p.stats.Entries, err)
	}
	return nil
}

// prefixReader reads records into a tree.
type prefixReader struct {
	p     *prefixes
	c     *gemma.Cache
	r     *bufio.Reader
	sum   hash.Hash32
	nodes []*node // as numbered in the file
}

var errRecord = errors.New("a record that cannot be")

// record reads one record and reports whether another may follow.
func (r *prefixReader) record() (more bool, err error) {
	r.sum.Reset()
	head, err := r.take(13)
	if err != nil {
		return false, err
	}
	at, n, count := binary.LittleEndian.Uint32(head[1:]), binary.LittleEndian.Uint32(head[5:]), binary.LittleEndian.Uint32(head[9:])
	if int64(at) >= int64(len(r.nodes)) || count > blockTokens || int64(n) > int64(r.c.Cap()) {
		return false, errRecord
	}
	raw, err := r.take(4 * int(count))
	if err != nil {
		return false, err
	}
	ids := make([]int32, count)
	for i := range ids {
		ids[i] = int32(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	switch head[0] {
	case 'E':
		return false, r.check()
	case 'N':
		return true, r.node(r.nodes[at], ids)
	case 'M':
		return true, r.mark(r.nodes[at], int(n), ids)
	}
	return false, errRecord
}

// node reads the rest of a node.
func (r *prefixReader) node(parent *node, ids []int32) error {
	n := parent.depth() + blockTokens
	if len(ids) != blockTokens || n > r.c.Cap() {
		return errRecord
	}
	if err := r.fits(blockTokens, 0); err != nil {
		return err
	}
	full, err := r.piece(n-blockTokens, blockTokens, false)
	if err == nil {
		err = r.check()
	}
	if err == nil {
		r.nodes = append(r.nodes, r.p.addNode(parent, ids, full))
	}
	return err
}

// mark reads the rest of a mark.
func (r *prefixReader) mark(at *node, n int, tail []int32) error {
	m := &mark{at: at, n: n, tail: tail}
	if n < 1 || n != at.depth()+len(tail) || len(tail) == blockTokens {
		return errRecord
	}
	err := r.fits(len(tail), n)
	if err == nil && len(tail) > 0 {
		m.full, err = r.piece(n-len(tail), len(tail), false)
	}
	if err == nil {
		m.rings, err = r.piece(0, n, true)
	}
	if err == nil {
		err = r.check()
	}
	if err == nil {
		r.p.link(m)
	}
	return err
}

// depth is how many tokens lead to a node, its own included.
func (n *node) depth() int {
	d := 0
	for ; n.parent != nil; n = n.parent {
		d += blockTokens
	}
	return d
}

// fits looks whether the budget has room for full layers at full positions and for the
// rings of rings positions.
func (r *prefixReader) fits(full, rings int) error {
	bytes, _ := r.c.PieceBytes(full)
	_, more := r.c.PieceBytes(rings)
	if bytes+more+4*blockTokens+bookBytes > r.p.budget-r.p.stats.Bytes {
		return errors.New("the rest does not fit the budget")
	}
	return nil
}

// piece reads a piece's bytes.
func (r *prefixReader) piece(from, n int, rings bool) (*gemma.Piece, error) {
	p, err := r.c.NewPiece(from, n, rings)
	if err != nil {
		return nil, err
	}
	memory, ok := p.Memory()
	if !ok {
		return nil, errNoMemory
	}
	for _, b := range memory {
		if _, err := io.ReadFull(r.r, b); err != nil {
			return nil, err
		}
		r.sum.Write(b)
	}
	return p, nil
}

// take reads n bytes of a record's head.
func (r *prefixReader) take(n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(r.r, b); err != nil {
		return nil, err
	}
	r.sum.Write(b)
	return b, nil
}

// check compares the sum of the record with what stands behind it.
func (r *prefixReader) check() error {
	var b [4]byte
	if _, err := io.ReadFull(r.r, b[:]); err != nil {
		return err
	}
	if binary.LittleEndian.Uint32(b[:]) != r.sum.Sum32() {
		return errors.New("checksum mismatch")
	}
	return nil
}
