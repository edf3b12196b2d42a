package hub

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/plume-run/plume/internal/filelock"
)

// EventKind says what an Event reports.
type EventKind string

// The kinds of events, in the order in which they come.
const (
	EventFound    EventKind = "found"    // the source has been asked: Revision, Files, Total; Done is there already
	EventProgress EventKind = "progress" // Done of Total bytes are safe
	EventRetry    EventKind = "retry"    // File: Text failed and is tried again after Wait
	EventFile     EventKind = "file"     // File is whole; Text says what it was compared with
	EventNote     EventKind = "note"     // Text is something people should know
	EventDone     EventKind = "done"     // the model is whole; Text says "" or that it was so before
)

// Event is a step of a pull.
type Event struct {
	Kind     EventKind     `json:"event"`
	Name     string        `json:"name"`
	Revision string        `json:"revision,omitempty"`
	Files    int           `json:"files,omitempty"`
	File     string        `json:"file,omitempty"`
	Done     int64         `json:"done"`
	Total    int64         `json:"total"`
	Text     string        `json:"text,omitempty"`
	Wait     time.Duration `json:"wait_ns,omitempty"`
}

// job is one pull.
type job struct {
	h     *Hub
	r     *ref
	dir   string
	found *remote
	parts []*part

	mu     sync.Mutex
	events func(Event)
}

// Pull downloads the model called name, or goes on where an earlier call was
// cut off, and returns it when it is whole and verified. A model that is there
// already is compared with the source: nothing is fetched when it has not
// changed, and only what has changed otherwise; the old version stays until the
// new one is whole. Without the source there is no Pull; see [Hub.Find].
//
// events, which may be nil, is called by one goroutine at a time and should
// return soon. When ctx ends, its cause is returned and what has arrived stays.
func (h *Hub) Pull(ctx context.Context, name string, events func(Event)) (*Model, error) {
	r, err := parseName(name)
	if err != nil {
		return nil, err
	}
	j := &job{h: h, r: r, dir: h.modelDir(r.name), events: events}
	c, err := h.client(h.base(r), func(what string, err error, wait time.Duration) {
		j.emit(Event{Kind: EventRetry, File: what, Text: err.Error(), Wait: wait})
	})
	if err != nil {
		return nil, err
	}
	defer c.close()
	if j.found, err = h.resolve(ctx, c, r); err != nil {
		return nil, err
	}
	unlock, err := h.lock(r.name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	h.sweep()
	old, err := whole(j.dir)
	if err == nil && old.Folder == j.found.fingerprint() {
		j.emit(Event{Kind: EventDone, Revision: old.Revision, Files: len(old.Files), Done: old.Bytes, Total: old.Bytes, Text: "already here"})
		return &old.Model, nil
	}
	return j.download(ctx, c, old)
}

func (j *job) emit(e Event) {
	if j.events == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	e.Name = j.r.name
	j.events(e)
}

// download fetches what is missing. old is the version that is there, or nil.
func (j *job) download(ctx context.Context, c *client, old *manifest) (*Model, error) {
	defer j.closeParts()
	if err := j.prepare(old); err != nil {
		return nil, err
	}
	total := j.found.bytes()
	done := j.doneBytes()
	j.emit(Event{Kind: EventFound, Revision: j.found.revision, Files: len(j.parts), Done: done, Total: total})
	if err := j.h.checkSpace(j.h.o.Dir, total-done); err != nil {
		return nil, err
	}
	f := &fetcher{
		c: c, parts: j.parts, spanChunks: j.h.spanChunks,
		progress: func() { j.emit(Event{Kind: EventProgress, Done: j.doneBytes(), Total: total}) },
		verified: func(p *part) {
			j.emit(Event{Kind: EventFile, File: p.name, Text: p.verifiedBy(), Done: j.doneBytes(), Total: total})
		},
	}
	if err := f.run(ctx, j.h.o.Connections); err != nil {
		if j.r.hf { // a gated repository tells everybody what it holds, and refuses only here
			err = explainHF(err, j.h.hf, j.r)
		}
		return nil, err
	}
	return j.install()
}

func (j *job) doneBytes() (n int64) {
	for _, p := range j.parts {
		n += p.doneBytes()
	}
	return n
}

// closeParts closes the files and removes those that turned out wrong.
func (j *job) closeParts() {
	for _, p := range j.parts {
		p.close()
		if p.bad {
			p.remove()
			if p.old != "" {
				os.Remove(p.old) // damaged since it was pulled
			}
		}
	}
}

// verifiedBy says what the source gave to compare with.
func (f *remoteFile) verifiedBy() string {
	switch {
	case f.sha256 != "":
		return "sha256"
	case f.git != "":
		return "git-sha1"
	}
	return ""
}

// prepare makes the folder for the files and opens them, with what earlier
// pulls have left.
func (j *job) prepare(old *manifest) error {
	partial := filepath.Join(j.dir, partialDir)
	if err := os.MkdirAll(j.dir, 0o755); err != nil {
		return err
	}
	// A crash between the last two steps of install leaves whole files under
	// the final name, but no manifest.
	if last := filepath.Join(j.dir, j.found.fingerprint()); exists(last) {
		if err := os.RemoveAll(partial); err != nil {
			return err
		}
		if err := os.Rename(last, partial); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(partial, 0o755); err != nil {
		return err
	}
	if err := j.clean(partial); err != nil {
		return err
	}
	m := manifest{Folder: partialDir, Chunk: j.h.chunkBytes, Model: j.model()}
	if err := writeManifest(j.dir, partialFile, m); err != nil {
		return err
	}
	for _, rf := range j.found.files {
		path := filepath.Join(partial, rf.name)
		link := ""
		if same := old.find(rf.sha256); same != "" {
			if from := filepath.Join(j.dir, old.Folder, same); adopt(from, path, &rf, j.h.chunkBytes) {
				link = from
			}
		}
		p, err := openPart(path, rf, j.h.chunkBytes)
		p.old = link
		j.parts = append(j.parts, p)
		if err != nil {
			return err
		}
		p.fault = j.h.fault
	}
	return nil
}

// clean removes from the folder what the source no longer has.
func (j *job) clean(partial string) error {
	wanted := map[string]bool{}
	for _, f := range j.found.files {
		wanted[f.name] = true
	}
	entries, err := os.ReadDir(partial)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !wanted[strings.TrimSuffix(e.Name(), journalSuffix)] {
			if err := os.RemoveAll(filepath.Join(partial, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// find returns the name of the file with this sum, "" when there is none.
func (m *manifest) find(sha256 string) string {
	if m == nil || sha256 == "" {
		return ""
	}
	for _, f := range m.Files {
		if f.SHA256 == sha256 {
			return f.Name
		}
	}
	return ""
}

// model describes what is being pulled, as far as that is known.
func (j *job) model() Model {
	m := Model{
		Name: j.r.name, Format: j.found.format, Source: j.found.source,
		Revision: j.found.revision, Bytes: j.found.bytes(),
	}
	for i, f := range j.found.files {
		file := File{Name: f.name, Bytes: f.bytes, SHA256: f.sha256, Verified: f.verifiedBy()}
		if i < len(j.parts) && j.parts[i].sum != "" {
			file.SHA256 = j.parts[i].sum
		}
		m.Files = append(m.Files, file)
	}
	return m
}

// install lists the model whose files are verified and on the disk.
func (j *job) install() (*Model, error) {
	j.closeParts()
	partial := filepath.Join(j.dir, partialDir)
	m := manifest{Folder: j.found.fingerprint(), Model: j.model()}
	m.Pulled = time.Now().UTC().Truncate(time.Second)
	if err := j.describe(&m, partial); err != nil {
		return nil, err
	}
	if err := syncDir(partial); err != nil {
		return nil, err
	}
	if err := os.Rename(partial, filepath.Join(j.dir, m.Folder)); err != nil {
		return nil, err
	}
	if err := syncDir(j.dir); err != nil {
		return nil, err
	}
	if err := writeManifest(j.dir, manifestFile, m); err != nil {
		return nil, err
	}
	// From here on the model is there; what is left over can wait.
	for _, f := range m.Files {
		os.Remove(filepath.Join(j.dir, m.Folder, f.Name+journalSuffix))
	}
	entries, _ := os.ReadDir(j.dir)
	for _, e := range entries {
		if e.Name() != m.Folder && e.Name() != manifestFile {
			os.RemoveAll(filepath.Join(j.dir, e.Name()))
		}
	}
	got, err := whole(j.dir)
	if err != nil {
		return nil, err
	}
	j.emit(Event{Kind: EventDone, Revision: got.Revision, Files: len(got.Files), Done: got.Bytes, Total: got.Bytes})
	return &got.Model, nil
}

// describe lets the caller look at the files before the model is listed.
func (j *job) describe(m *manifest, folder string) error {
	if j.h.o.Describe == nil {
		return nil
	}
	path := folder
	if m.Format == "gguf" {
		path = filepath.Join(folder, m.Files[0].Name)
	}
	typ, note, err := j.h.o.Describe(path)
	if err != nil {
		// It would be downloaded again and again otherwise.
		if e := os.RemoveAll(folder); e != nil {
			return e
		}
		return fmt.Errorf("%s: %w: what the source sent cannot be opened, and is deleted: %w", m.Name, ErrDamaged, err)
	}
	m.Type = typ
	if note != "" {
		j.emit(Event{Kind: EventNote, Text: note})
	}
	return nil
}

// spareBytes stay free beside a download: journals, manifests, other programs.
const spareBytes = 64 << 20

// checkSpace refuses a download that would fill the disk.
func (h *Hub) checkSpace(dir string, need int64) error {
	if need == 0 {
		return nil
	}
	free, err := h.free(dir)
	if err != nil {
		return fmt.Errorf("ask for the free space of %s: %w", dir, err)
	}
	if need > free-spareBytes {
		return fmt.Errorf("%w: %s to fetch, and %s has %s free; make room, or set %s to a folder elsewhere",
			ErrSpace, sizeText(need), dir, sizeText(max(free, 0)), DirVariable)
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// lock keeps everybody else from changing the model called name; the system
// lets go of it when the process dies. The lock is a file of its own, which
// stays: one that is deleted could be held by two.
func (h *Hub) lock(name string) (unlock func(), err error) {
	dir := filepath.Join(h.o.Dir, lockDir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	l, err := filelock.Try(filepath.Join(dir, slug(name)))
	if errors.Is(err, filelock.ErrHeld) {
		err = fmt.Errorf("%w: another plume is pulling or removing it", ErrBusy)
	}
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return func() { l.Close() }, nil
}
