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
	"os"
	"path/filepath"
	"strings"
	"time"

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
// The key names everything that the bytes depend on. Marks come from the last used to the
// one not used for longest, each behind the nodes that lead to it, so that a reader with
// less room has what was used last. A record's size follows from its ids and the model, so
// a file cannot make the reader allocate more than the budget. One that is cut or damaged
// anywhere is not believed at all: the writer never leaves one behind.

const fileMagic = "plume prefixes 2"

// PrefixKey names what computed prefixes depend on: the model, its numbers' format, the
// device's way of computing.
type PrefixKey [sha256.Size]byte

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errNoMemory says that a device keeps its bytes to itself.
var errNoMemory = errors.New("the backend does not show its keys and values")

// snapshot is what a file is written from: everything that was known at one moment. It is
// not changed by what becomes known or is forgotten afterwards, but keeps alive what is.
type snapshot []record

type record struct {
	kind   byte
	at     uint32
	n      int
	ids    []int32
	pieces [2]*gemma.Piece // nil: none
}

func (p *prefixes) snapshot() snapshot {
	numbers := map[*node]uint32{&p.root: 0}
	var all snapshot
	var lead func(at *node)
	lead = func(at *node) {
		if _, ok := numbers[at]; ok {
			return
		}
		lead(at.parent)
		all = append(all, record{kind: 'N', at: numbers[at.parent], ids: at.ids, pieces: [2]*gemma.Piece{at.full}})
		numbers[at] = uint32(len(numbers))
	}
	for e := p.recent.Front(); e != nil; e = e.Next() {
		m := e.Value.(*mark)
		lead(m.at)
		all = append(all, record{'M', numbers[m.at], m.n, m.tail, [2]*gemma.Piece{m.full, m.rings}})
	}
	return append(all, record{kind: 'E'})
}

// tempPattern is added to the name of a file while it is written. A crash may leave one.
const tempPattern = ".*.part"

// leftFor is how long nothing must have been written to such a file until it is taken for
// what a crash has left: another server may be writing it.
const leftFor = 10 * time.Minute

// removeParts removes what a crash has left of a file.
func removeParts(path string) {
	folder := filepath.Dir(path)
	list, _ := os.ReadDir(folder)
	for _, e := range list {
		middle, ok := strings.CutPrefix(e.Name(), filepath.Base(path)+".")
		middle, part := strings.CutSuffix(middle, ".part")
		if !ok || !part || strings.Trim(middle, "0123456789") != "" { // as os.CreateTemp names them
			continue
		}
		if about, err := e.Info(); err == nil && time.Since(about.ModTime()) > leftFor {
			os.Remove(filepath.Join(folder, e.Name()))
		}
	}
}

// save writes a snapshot to path, replacing what is there when it is complete and on the
// disk. Prompts can be read from the file, so only its owner can.
func (all snapshot) save(path string, key PrefixKey) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+tempPattern)
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
	w := bufio.NewWriterSize(&lean{f: f}, 1<<20)
	if err := errors.Join(all.write(w, key, crc32.New(castagnoli)), w.Flush(), f.Sync()); err != nil {
		return err
	}
	forgetPages(f)
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	if dir, err := os.Open(filepath.Dir(path)); err == nil { // the new name shall survive a crash too
		dir.Sync() // where folders can be synced
		dir.Close()
	}
	return nil
}

// lean writes a file without letting the page cache grow, which a container's limit
// counts.
type lean struct {
	f     *os.File
	dirty int
}

// leanBytes may be in the page cache.
const leanBytes = 8 << 20

func (l *lean) Write(b []byte) (int, error) {
	n, err := l.f.Write(b)
	if l.dirty += n; l.dirty >= leanBytes && err == nil {
		l.dirty = 0
		err = l.f.Sync()
		forgetPages(l.f)
	}
	return n, err
}

// write writes all records.
func (all snapshot) write(to io.Writer, key PrefixKey, sum hash.Hash32) error {
	w := prefixWriter{w: to, sum: sum}
	w.plain([]byte(fileMagic))
	w.plain(key[:])
	for i := range all {
		w.record(&all[i])
	}
	return w.err
}

// prefixWriter writes records until an error has come.
type prefixWriter struct {
	w   io.Writer
	sum hash.Hash32
	err error
}

func (w *prefixWriter) record(r *record) {
	w.sum.Reset()
	w.plain([]byte{r.kind})
	for _, v := range []uint32{r.at, uint32(r.n), uint32(len(r.ids))} {
		w.plain(binary.LittleEndian.AppendUint32(nil, v))
	}
	for _, id := range r.ids {
		w.plain(binary.LittleEndian.AppendUint32(nil, uint32(id)))
	}
	for _, p := range r.pieces {
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
