package checkpoint

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/plume-run/plume/internal/quant"
)

// Formats that [Catalog.Format] returns.
const (
	formatGGUF        = "gguf"
	formatSafetensors = "safetensors"
)

// NoType is the Type of a safetensors tensor whose dtype has no GGUF number
// (an 8-bit float, say). Such a tensor is listed but cannot be read.
const NoType quant.Type = 1<<32 - 1

// maxSideFileBytes bounds [Catalog.File]; a Gemma 4 tokenizer.json is 32 MB.
const maxSideFileBytes = 64 << 20

// Catalog is an open checkpoint: its tensors, its metadata and, for
// safetensors, the files beside it. It is safe for concurrent use.
type Catalog struct {
	path    string
	format  string
	sideDir string // where File looks; "" when there is nowhere
	meta    Meta
	tensors []*Tensor
	byName  map[string]*Tensor
	outside *Outside

	mu      sync.Mutex
	sources []*source // guarded by mu: emptied by Close
}

// Tensor is one named array in the checkpoint. Its fields must not be changed.
// It implements [io.ReaderAt] over its own Bytes bytes.
type Tensor struct {
	Name string
	// Type is the storage format. For a GGUF type that package quant does not
	// know, it is the number all the same (the type is then not Decodable).
	Type quant.Type
	// TypeName is the type as the file's format spells it: "Q4_0", "IQ2_XS",
	// "BF16", "BOOL", "F8_E4M3". Types read as another one (U8 and BOOL as I8)
	// can be told apart by it.
	TypeName string
	// Shape is row-major, outermost dimension first, so that the last one is
	// contiguous; GGUF's dimensions are reversed to this. Empty for a scalar.
	Shape []int
	// Bytes is the length of the stored tensor.
	Bytes int64

	values int64
	src    *source
	off    int64 // of the first byte, in src
}

// Values returns the number of values, the product of Shape.
func (t *Tensor) Values() int64 { return t.values }

// Location returns the file that holds the tensor and the offset in it of the
// tensor's first byte.
func (t *Tensor) Location() (path string, off int64) { return t.src.path, t.off }

// ReadAt fills p with the bytes from off, counted from the tensor's first byte,
// or fails and returns 0. A range outside the tensor and a type of [NoType] are
// errors; so is a file that has shrunk ([ErrCorrupt]) and a failing disk (the
// system's error, wrapped with path, tensor and offset).
func (t *Tensor) ReadAt(p []byte, off int64) (int, error) {
	if t.Type == NoType {
		return 0, unsupported(t.src.path, "tensor %q: dtype %s", t.Name, t.TypeName)
	}
	if off < 0 || off > t.Bytes || int64(len(p)) > t.Bytes-off {
		return 0, fmt.Errorf("read %s: tensor %q: %d bytes at %d of %d: %w",
			t.src.path, t.Name, len(p), off, t.Bytes, io.ErrUnexpectedEOF)
	}
	if err := t.src.readFull(p, t.off+off, t.Name); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Drop tells the system that n bytes from off on will not be read again soon, so that it
// may forget its copy of them. Whole pages only; where a system cannot, or the tensor
// is not on a disk, it does nothing.
func (t *Tensor) Drop(off, n int64) {
	if f, ok := t.src.r.(*os.File); ok {
		dropCached(f, t.off+off, n)
	}
}

// ReadExactly tells the system to read from the files what is asked for and nothing
// beyond: read-ahead of the small tensors of a layer would bring in what has been
// read and dropped already (see Drop), up to an eighth of all weights again.
func (c *Catalog) ReadExactly() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.sources {
		if f, ok := s.r.(*os.File); ok {
			stopReadAhead(f)
		}
	}
}

// DropAll is Drop for everything that the system holds of the files; it finds what
// Drop had to leave because it was in use then.
func (c *Catalog) DropAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.sources {
		if f, ok := s.r.(*os.File); ok {
			dropCached(f, 0, s.sizeBytes)
		}
	}
}

// newCatalog indexes tensors by name. A name that occurs twice is an error.
func newCatalog(path, format string, sources []*source, tensors []*Tensor) (*Catalog, error) {
	byName := make(map[string]*Tensor, len(tensors))
	for _, t := range tensors {
		if first := byName[t.Name]; first != nil {
			return nil, corrupt(t.src.path, t.Name, t.off, "name occurs twice, first at byte %d of %s", first.off, first.src.path)
		}
		byName[t.Name] = t
	}
	return &Catalog{path: path, format: format, sources: sources, tensors: tensors, byName: byName}, nil
}

// OpenReader opens a single GGUF or safetensors file of size bytes that is not,
// or not necessarily, on disk. name stands for the path in messages. If r is an
// [io.Closer], [Catalog.Close] closes it; when OpenReader fails it stays open.
// A shard of a split set is refused.
func OpenReader(name string, r io.ReaderAt, size int64) (*Catalog, error) {
	if size < 0 {
		return nil, fmt.Errorf("open %s: negative size %d", name, size)
	}
	src := &source{path: name, r: r, sizeBytes: size}
	isGGUF, err := sniff(src)
	if err != nil {
		return nil, err
	}
	if !isGGUF {
		return catalogSafetensors(name, src)
	}
	file, err := parseGGUF(src)
	if err != nil {
		return nil, err
	}
	part, err := file.split()
	if err != nil {
		return nil, err
	}
	if part.count > 1 {
		return nil, unsupported(name, "part %d of %d of a split model cannot be opened by itself", part.no+1, part.count)
	}
	return catalogGGUF(name, []*ggufFile{file}, nil)
}

// Path returns the path given to [Open].
func (c *Catalog) Path() string { return c.path }

// Format returns "gguf" or "safetensors".
func (c *Catalog) Format() string { return c.format }

// Meta returns the GGUF keys, without those that only describe how a model is
// split over files. It is empty for safetensors.
func (c *Catalog) Meta() Meta { return c.meta }

// Tensors returns all tensors that are in the files: files in shard order, tensors in the
// order of the file. The slice is shared.
func (c *Catalog) Tensors() []*Tensor { return c.tensors[:len(c.tensors):len(c.tensors)] }

// Outside describes the tensor of the last part of a split model where that part is not
// here; nil when nothing is missing. The tensor is known to Lookup, not to Tensors, and
// reading it is ErrOutside.
func (c *Catalog) Outside() *Outside { return c.outside }

// Lookup returns the tensor called name, nil when there is none.
func (c *Catalog) Lookup(name string) *Tensor { return c.byName[name] }

// File reads a file that stands beside safetensors weights, such as
// "config.json". The error is [fs.ErrNotExist] when it is absent and for
// GGUF. name must be a plain file name; files over 64 MiB are refused.
func (c *Catalog) File(name string) ([]byte, error) {
	if !plainName(name) {
		return nil, fmt.Errorf("open side file %q: not a plain file name", name)
	}
	if c.sideDir == "" {
		return nil, fmt.Errorf("open side file %q of %s: %w", name, c.path, fs.ErrNotExist)
	}
	path := filepath.Join(c.sideDir, name)
	src, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer src.close()
	if src.sizeBytes > maxSideFileBytes {
		return nil, corrupt(path, "", -1, "%d bytes, more than the %d allowed", src.sizeBytes, int64(maxSideFileBytes))
	}
	p := make([]byte, src.sizeBytes)
	if err := src.readFull(p, 0, ""); err != nil {
		return nil, err
	}
	return p, nil
}

// Close closes the files; tensors can then no longer be read. Closing again
// does nothing.
func (c *Catalog) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := closeAll(c.sources)
	c.sources = nil
	return err
}

func closeAll(sources []*source) error {
	var errs []error
	for _, s := range sources {
		errs = append(errs, s.close())
	}
	return errors.Join(errs...)
}

// plainName reports whether name is one path element with nothing special
// about it on any system: a file of this name stays in its folder.
func plainName(name string) bool {
	return name != "" && name != "." && filepath.IsLocal(name) && !strings.ContainsAny(name, "/\\:\x00")
}

// isDir reports whether path is a folder; a missing path is an error.
func isDir(path string) (bool, error) {
	info, err := os.Stat(path)
	if err != nil {
		return false, err
	}
	return info.IsDir(), nil
}
