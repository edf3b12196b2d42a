package engine

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"io/fs"
	"os"

	"github.com/plume-run/plume/internal/gemma"
)

// load reads what save has written for the same key, as much as fits. c is a cache like
// those that will be restored. What was wrong is in the error, and nothing is known then;
// a file that does not exist is right.
func (p *prefixes) load(path string, key PrefixKey, c *gemma.Cache) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("load prefixes: %w", err)
	}
	defer func() {
		forgetPages(f)
		f.Close()
	}()
	if err := p.read(f, key, c, crc32.New(castagnoli)); err != nil {
		return fmt.Errorf("load prefixes: %s: %w", path, err)
	}
	return nil
}

// errFull says that a file holds more than the budget has room for.
var errFull = errors.New("the rest does not fit the budget")

// read reads a file into an empty tree, which stays empty when the file is not sound.
func (p *prefixes) read(from io.Reader, key PrefixKey, c *gemma.Cache, sum hash.Hash32) error {
	r := prefixReader{p: p, c: c, r: bufio.NewReaderSize(from, 1<<20), sum: sum, nodes: []*node{&p.root}}
	head := make([]byte, len(fileMagic)+len(key))
	if _, err := io.ReadFull(r.r, head); err != nil || string(head) != fileMagic+string(key[:]) {
		return errors.New("it is of another model or version, and ignored")
	}
	var err error
	for more := true; more && err == nil; {
		more, err = r.record()
	}
	if err != nil && !errors.Is(err, errFull) {
		*p = *newPrefixes(p.budget)
		return fmt.Errorf("it is damaged, and ignored: %w", err)
	}
	for _, at := range r.nodes[1:] {
		p.prune(at)
	}
	if err != nil {
		return fmt.Errorf("%w: %d places to go on from are loaded, those used last", err, p.stats.Entries)
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
		return false, r.end(at, n, count)
	case 'N':
		return true, r.node(r.nodes[at], ids)
	case 'M':
		return true, r.mark(r.nodes[at], int(n), ids)
	}
	return false, errRecord
}

// end reads the rest of the last record, behind which there is nothing.
func (r *prefixReader) end(at, n, count uint32) error {
	if at != 0 || n != 0 || count != 0 {
		return errRecord
	}
	if err := r.check(); err != nil {
		return err
	}
	if _, err := r.r.ReadByte(); err != io.EOF {
		return errors.Join(errRecord, err)
	}
	return nil
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
		r.p.recent.MoveToBack(m.place) // the last used come first
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
		return errFull
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
