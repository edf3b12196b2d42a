package ple

import (
	"errors"
	"fmt"
	"io"
	"math"
)

// Kind is a way to reach a table.
type Kind string

// The kinds of sources.
const (
	// Disk reads through the page cache, which may keep what it likes.
	Disk Kind = "disk"
	// Direct reads past the page cache, where the file system can do that.
	Direct Kind = "direct"
	// Mmap copies from a mapping of the file.
	Mmap Kind = "mmap"
	// RAM holds the whole table in memory; it is read once, at the start.
	RAM Kind = "ram"
	// HTTP asks a web server for ranges of bytes.
	HTTP Kind = "http"
)

// Kinds lists the kinds that a file can be opened as, for messages.
func Kinds() []Kind { return []Kind{Disk, Direct, Mmap, RAM} }

// Source is where the bytes of a table lie. Offsets count from the table's first
// byte. ReadAt may be called by any number of goroutines; it fills p or returns
// an error. Close comes after the Close of the tables on it.
//
// The sources of this package have faster ways than ReadAt, which Open knows.
type Source interface {
	io.ReaderAt
	Traits() Traits
	Close() error
}

// Traits say what a source is and how it likes to be read. Zero values mean the
// defaults of Options.
type Traits struct {
	Kind Kind
	Name string // file or URL, without secrets, for messages
	Base int64  // offset of the table in it

	Workers    int    // for Options.Workers
	GapBytes   int    // for Options.GapBytes
	AlignBytes int    // the device is read in pieces of this size; 0: any
	Resident   int64  // bytes of memory that the source holds
	note       string // how it reads, for String

	// yields says that reads are begun by goroutines that never block a thread. Fetch
	// lets them run at once, in its own place: waking another thread where all
	// processors compute takes milliseconds, and the request would leave late.
	yields bool
}

// String describes the source in a few words: "direct reads of model.gguf".
func (r Traits) String() string {
	if r.note != "" {
		return r.note
	}
	return fmt.Sprintf("%s %s", r.Kind, r.Name)
}

// Spec names a table for OpenSource: the Bytes bytes from Offset of a file or of
// what a URL gives.
type Spec struct {
	Path   string // of the file; unused when URL is set
	URL    string // http or https
	Offset int64
	Bytes  int64

	// FileBytes, when not 0, is the length that the file must have; another one
	// is refused, since the table would not be what the caller thinks.
	FileBytes int64

	// Drop makes kind Disk take what it has read out of the page cache again, where
	// the system can do that (Linux).
	Drop bool

	// HTTP sets how a server is asked.
	HTTP HTTPOptions

	// Through, when set, stands between the source and whoever reads it, but for kind
	// RAM: to make it as slow as another one. What it returns owns the source; when it
	// fails, the source is closed.
	Through func(Source) (Source, error)

	// Ended, when set, is called after each of the many reads that filling kind RAM and
	// measuring for Auto take, by several goroutines: see Within.
	Ended func()
}

// ended tells of a read.
func (s Spec) ended() {
	if s.Ended != nil {
		s.Ended()
	}
}

func (s Spec) validate() error {
	switch {
	case s.Path == "" && s.URL == "":
		return errors.New("no file")
	case s.Offset < 0 || s.Bytes < 1 || s.Bytes > math.MaxInt64-s.Offset:
		return fmt.Errorf("%d bytes from offset %d", s.Bytes, s.Offset)
	case s.FileBytes != 0 && s.Offset+s.Bytes > s.FileBytes:
		return fmt.Errorf("%d bytes from offset %d of a file of %d", s.Bytes, s.Offset, s.FileBytes)
	}
	return nil
}

// name is what messages call the source.
func (s Spec) name() string {
	if s.URL != "" {
		return publicURL(s.URL)
	}
	return s.Path
}

// OpenSource opens the table that spec names. Kind HTTP needs spec.URL, the others need
// spec.Path alone. A kind that the system or the file system
// does not have fails with errors.ErrUnsupported.
func OpenSource(kind Kind, spec Spec) (Source, error) {
	src, err := openSource(kind, spec)
	if err == nil && spec.Through != nil && kind != RAM {
		src, err = spec.Through(src)
	}
	if err != nil {
		return nil, fmt.Errorf("open table %s as %s: %w", spec.name(), kind, err)
	}
	return src, nil
}

func openSource(kind Kind, spec Spec) (Source, error) {
	if err := spec.validate(); err != nil {
		return nil, err
	}
	switch {
	case kind == HTTP && spec.URL == "":
		return nil, errors.New("no URL")
	case spec.URL != "" && kind != HTTP:
		return nil, fmt.Errorf("a URL is read as %s", HTTP)
	}
	switch kind {
	case Disk:
		return asSource(openFile(spec))
	case Direct:
		return asSource(openDirect(spec))
	case Mmap:
		return asSource(openMmap(spec))
	case RAM:
		return asSource(openRAM(spec))
	case HTTP:
		return asSource(openHTTP(spec))
	}
	return nil, fmt.Errorf("unknown kind %q, want one of %v or %s", kind, Kinds(), HTTP)
}

// asSource keeps a nil pointer from becoming a Source that is not nil.
func asSource[S Source](s S, err error) (Source, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Ways that some sources offer beside ReadAt.
type (
	// adviser is told what will be read soon, and does not wait for it.
	adviser interface{ advise(off int64, n int) }
	// cached fills p with the bytes from off when that needs no waiting: false when
	// it would, or when anything else is in the way.
	cached interface {
		readCached(p []byte, off int64) bool
	}
	// watched is a file that somebody may write to.
	watched interface{ watched() (stamper, error) }
	// stamper tells what the system knows of an open file, to one goroutine.
	stamper interface{ stamp() (stamp, error) }
	// holder has the whole table in memory.
	holder interface{ bytes() []byte }
	// interrupter ends the reads under way with an error.
	interrupter interface{ interrupt() }
	// submitter has a device of its own; nil where it does not work.
	submitter interface {
		newDevice(t *Table, depth int) device
	}
)

// shrunk is the error of a table that no longer has the byte at its offset off.
func shrunk(fileBytes, off int64) error {
	return fmt.Errorf("%w: the file has %d bytes, the read needs %d: it was truncated since it was opened",
		io.ErrUnexpectedEOF, fileBytes, off)
}
