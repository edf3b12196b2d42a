package plume

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/plan"
	"github.com/plume-run/plume/internal/ple"
)

// PLEPlaces are the names that Options.PLE takes beside a URL.
func PLEPlaces() []string { return []string{"auto", "disk", "direct", "mmap", "ram"} }

// isURL reports whether a place is a web address.
func isURL(place string) bool {
	return strings.HasPrefix(place, "http://") || strings.HasPrefix(place, "https://")
}

// publicPlace is a place without the secrets that a URL may hold.
func publicPlace(place string) string {
	if u, err := url.Parse(place); err == nil && isURL(place) {
		return u.Scheme + "://" + u.Host + u.Path
	}
	return place
}

// validatePLE checks what the options say of the table.
func (o Options) validatePLE() error {
	if !slices.Contains(PLEPlaces(), o.PLE) && !isURL(o.PLE) {
		return requestError{fmt.Errorf("ple %q, want %s, or an http or https URL", o.PLE, strings.Join(PLEPlaces(), ", "))}
	}
	if len(o.PLEHeader) > 0 && !isURL(o.PLE) {
		return requestError{fmt.Errorf("ple headers go with a URL, not with %q", o.PLE)}
	}
	if o.PLEETag != "" && !isURL(o.PLE) {
		return requestError{fmt.Errorf("a ple ETag goes with a URL, not with %q", o.PLE)}
	}
	if o.PLETimeout < 0 {
		return requestError{fmt.Errorf("ple timeout %v, want 0 (for 30 s) or more", o.PLETimeout)}
	}
	return nil
}

// tablePlace is what the plan must know of Options.PLE.
func tablePlace(place string) plan.Place {
	switch ple.Kind(place) {
	case ple.RAM:
		return plan.Held
	case ple.Mmap:
		return plan.Mapped
	}
	return plan.Outside
}

// placeText says how rows of a table of so many bytes will be reached.
func (p *MemoryPlan) placeText(o Options, tableBytes int64) string {
	dropped := ""
	if p.limited {
		dropped = ", which keeps nothing of them"
	}
	switch ple.Kind(o.PLE) {
	case ple.RAM:
		return "all of it in memory"
	case ple.Mmap:
		return "rows are copied from a mapping of the file"
	case ple.Disk:
		return "rows are read through the page cache" + dropped
	case ple.Direct:
		return "rows are read past the page cache"
	}
	if isURL(o.PLE) {
		return "rows come by range requests to " + publicPlace(o.PLE)
	}
	slow := "through the page cache" + dropped
	if left := max(p.p.Budget-p.p.Total, 0); tableBytes <= left {
		slow = fmt.Sprintf("held in memory, of which %d MiB are left for its %d", left>>20, tableBytes>>20)
	}
	fast := "past the page cache"
	if ple.FastKind() == ple.Disk {
		fast = "ahead into the page cache and dropped after use"
	}
	return "rows are read " + fast + ", or where the storage turns out to be too slow, " + slow
}

// pleKind is the kind of source behind a place; "auto" counts as the one of its
// choices that takes most memory for reads.
func pleKind(place string) ple.Kind {
	switch {
	case place == "auto":
		return ple.Direct
	case isURL(place):
		return ple.HTTP
	}
	return ple.Kind(place)
}

// rowReads is what reads of the table take where the options put it.
func (o Options) rowReads(rowBytes int64) (atOnce int, bytes int64, heap bool) {
	atOnce, bytes, heap = ple.ReadMemory(pleKind(o.PLE), o.PLEWorkers, rowBytes)
	return atOnce, bytes, heap || o.PLEEmulate != ""
}

// countReads corrects the plan now that the table is open and it is known into whose memory is
// read: a limit that is too low for Go's has the collector run without end, so limitGo follows.
// Nobody else has m yet.
func (m *Model) countReads() { m.plan.p.CountReads(m.gm.PLEDevice() != "ring") }

// rowOptions are the options of a table with a row cache of so many bytes, wherever it
// is: what rowReads counts on.
func (m *Model) rowOptions(cacheBytes int64) ple.Options {
	o := ple.Options{Workers: m.opt.PLEWorkers, CacheBytes: cacheBytes, Timeout: m.opt.PLETimeout}
	if o.CacheBytes == 0 {
		o.CacheBytes = -1 // none: 0 is the package's default
	}
	return o
}

// PLEPlace says in a sentence how the rows of the per-layer table are reached, and
// where Options.PLE is "auto", why; "" for a model without a table.
func (m *Model) PLEPlace() string { return m.place }

// openPLE opens the place that the options ask for, and notes how rows are reached.
func (m *Model) openPLE(spec ple.Spec, rowBytes int) (src ple.Source, err error) {
	src, m.place, err = m.openPlace(m.opt.PLE, spec, rowBytes)
	return src, err
}

// openPlace opens a place by its name in Options.PLE, as slow as the options ask for,
// and says how rows are reached there. spec is where the checkpoint has the table; a URL
// has the same file. Whether it is held in memory is in the plan already, but for
// "auto", which may take what the plan has left. A device that hangs is given up after
// Options.PLETimeout.
func (m *Model) openPlace(place string, spec ple.Spec, rowBytes int) (src ple.Source, about string, err error) {
	p := m.plan.p
	spec.Through = m.opt.emulate
	spec.Drop = spec.Drop || m.plan.limited // the page cache counts for a container
	if isURL(place) {                       // its requests have deadlines
		if src, err = m.findRemote(place, spec); err != nil {
			return nil, "", err
		}
		return src, src.Traits().String(), nil
	}
	o, err := openFile(place, spec, rowBytes, max(p.Budget-p.Total, 0), filePatience(m.opt.PLETimeout))
	if err != nil {
		return nil, "", err
	}
	if place == "auto" {
		if o.Traits().Kind == ple.RAM {
			p.HoldTable()
		}
		if m.opt.PLEEmulate != "" {
			o.about += ", as on " + m.opt.PLEEmulate
		}
	}
	return o.Source, o.about, nil
}

// opened is a source, and a sentence about it.
type opened struct {
	ple.Source
	about string
}

// openFile opens the table in a file; left is the memory that "auto" may take. It ends when
// no read has come back from the device for patience.
func openFile(place string, spec ple.Spec, rowBytes int, left int64, patience time.Duration) (opened, error) {
	var read atomic.Int64
	spec.Ended = func() { read.Add(1) }
	o, err := ple.Within(patience, read.Load, func() (o opened, err error) {
		if place == "auto" {
			o.Source, o.about, err = ple.Auto(spec, rowBytes, left)
		} else if o.Source, err = ple.OpenSource(ple.Kind(place), spec); err == nil {
			o.about = o.Traits().String()
		}
		return o, err
	}, func(o opened) { o.Close() })
	if errors.Is(err, ple.ErrSlow) {
		err = fmt.Errorf("open table %s: %w", spec.Path, err)
	}
	return o, err
}

// leastHeaderPatience is how long opening a file may take where Options.PLETimeout is shorter:
// a model's header is megabytes, and nothing tells of its parts; a table for memory comes in
// reads as long.
const leastHeaderPatience = 5 * time.Second

// filePatience is how long nothing may arrive while a file is opened, where timeout is
// Options.PLETimeout.
func filePatience(timeout time.Duration) time.Duration {
	return max(leastHeaderPatience, ple.Patience(timeout))
}

// openModel reads the header of the model at path; timeout is Options.PLETimeout.
func openModel(path string, timeout time.Duration) (*checkpoint.Catalog, error) {
	return openCatalog(path, filePatience(timeout), checkpoint.Open)
}

// openCatalog does open, which reads the header of the file at path, for as long as a device
// is waited for.
func openCatalog[T io.Closer](path string, patience time.Duration, open func(string) (T, error)) (T, error) {
	cat, err := ple.Within(patience, nil, func() (T, error) { return open(path) }, func(late T) { late.Close() })
	if errors.Is(err, ple.ErrSlow) {
		err = fmt.Errorf("read the header of %s: %w", path, err)
	}
	return cat, err
}

// tableAway is the error of a model whose table is not here, and of which nobody has said
// where it is.
func tableAway(cat *checkpoint.Catalog) error {
	path, _ := cat.Lookup(cat.Outside().Name).Location()
	return fmt.Errorf("open %s: its per-layer table is in %s, and %w: put it there, or say by --ple at which URL it is", cat.Path(), path, notHereError{})
}

// notHereError is a file that does not exist, and need not.
type notHereError struct{}

func (notHereError) Error() string { return checkpoint.ErrOutside.Error() }
func (notHereError) Unwrap() error { return fs.ErrNotExist }

// findRemote opens a copy of the file that has the table, on a web server. It must be as
// long, and have the same table as far as samples show: another model's rows would make
// answers that are wrong and look right.
func (m *Model) findRemote(url string, spec ple.Spec) (ple.Source, error) {
	path := spec.Path
	spec.URL, spec.Path = url, ""
	spec.HTTP = ple.HTTPOptions{Header: http.Header(m.opt.PLEHeader), ETag: quoteETag(m.opt.PLEETag)}
	if t := m.opt.PLETimeout; t > 0 && t < httpPatience {
		spec.HTTP.Timeout = t
	}
	want := m.outside
	if want == nil {
		own := spec
		own.Path, own.URL, own.Through = path, "", nil
		var err error
		if want, err = describeTable(own, ple.Patience(m.opt.PLETimeout)); err != nil {
			return nil, err
		}
	}
	spec.FileBytes = want.FileBytes
	src, err := ple.OpenSource(ple.HTTP, spec)
	if err != nil {
		return nil, err
	}
	found, err := checkpoint.Samples(src, spec.Bytes)
	switch {
	case err != nil:
		err = fmt.Errorf("compare %s with %s: %w", publicPlace(url), path, err)
	case found != want.Samples:
		err = fmt.Errorf("%s is no copy of %s: %w", publicPlace(url), path, errOther)
	default:
		return src, nil
	}
	src.Close()
	return nil, err
}

// errOther is why a file is no copy of another one.
var errOther = errors.New("it has another table than the model's own file")

// describeTable is what a copy of the table in a file here must agree with: length of the file
// and samples. It ends when no read has come back for patience.
func describeTable(spec ple.Spec, patience time.Duration) (*checkpoint.Outside, error) {
	var reads ple.Counted
	o, err := ple.Within(patience, reads.Ended, func() (*checkpoint.Outside, error) {
		st, err := os.Stat(spec.Path)
		if err != nil {
			return nil, err
		}
		src, err := ple.OpenSource(ple.Disk, spec)
		if err != nil {
			return nil, err
		}
		defer src.Close()
		reads.ReaderAt = src
		samples, err := checkpoint.Samples(&reads, spec.Bytes)
		return &checkpoint.Outside{FileBytes: st.Size(), Samples: samples}, err
	}, func(*checkpoint.Outside) {})
	if errors.Is(err, ple.ErrSlow) {
		err = fmt.Errorf("read samples of %s: %w", spec.Path, err)
	}
	return o, err
}

// httpPatience is how long one attempt to read a row over HTTP takes at most.
const httpPatience = 5 * time.Second

// quoteETag adds the quotes that an ETag has, and that a shell takes away.
func quoteETag(tag string) string {
	if tag == "" || strings.HasPrefix(tag, `"`) || strings.HasPrefix(tag, "W/") {
		return tag
	}
	return `"` + tag + `"`
}
