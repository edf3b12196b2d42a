package hub

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Names inside the store.
const (
	manifestFile = "manifest.json"
	partialFile  = "partial.json"
	partialDir   = "partial"
	lockDir      = ".locks"
	trashPrefix  = ".trash-"
)

// Model is a model in the store.
type Model struct {
	Name     string    `json:"name"`           // what Pull was asked for
	Path     string    `json:"path,omitempty"` // what to open: the GGUF file, or the folder
	Format   string    `json:"format"`         // "gguf" or "safetensors"
	Type     string    `json:"type"`           // what Options.Describe said, "" when nothing
	Source   string    `json:"source"`         // where it came from
	Revision string    `json:"revision"`       // commit or digest there, "" for a URL
	Bytes    int64     `json:"bytes"`          // of all files
	Pulled   time.Time `json:"pulled"`         // when it was whole
	Files    []File    `json:"files"`          // in the order of the source
}

// File is one file of a Model.
type File struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"` // of what is on the disk
	// Verified says what the source gave to compare with: "sha256", "git-sha1"
	// or "" for nothing but the length.
	Verified string `json:"verified"`
}

// Unfinished is a pull that was cut off; another Pull of the name goes on.
type Unfinished struct {
	Name  string `json:"name"`
	Done  int64  `json:"done"`  // bytes that will not be fetched again
	Bytes int64  `json:"bytes"` // of all files
}

// manifest is the file that makes a model whole, or describes one on its way.
type manifest struct {
	Version int    `json:"version"`
	Folder  string `json:"folder"` // of the files, beside the manifest
	Chunk   int64  `json:"chunk,omitempty"`
	Model
}

const manifestVersion = 1

func (h *Hub) modelDir(name string) string { return filepath.Join(h.o.Dir, slug(name)) }

// readManifest reads and checks dir/file.
func readManifest(dir, file string) (*manifest, error) {
	f, err := os.Open(filepath.Join(dir, file))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxManifestBytes))
	if err != nil {
		return nil, err
	}
	var m manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	if m.Version != manifestVersion || plainName(m.Folder) != nil || slug(m.Name) != filepath.Base(dir) || len(m.Files) == 0 {
		return nil, fmt.Errorf("read %s: not a manifest of this store, or of a later version", f.Name())
	}
	for _, f := range m.Files {
		if err := plainName(f.Name); err != nil {
			return nil, fmt.Errorf("read %s: %w", filepath.Join(dir, file), err)
		}
	}
	m.Path = filepath.Join(dir, m.Folder)
	if m.Format == "gguf" {
		m.Path = filepath.Join(m.Path, m.Files[0].Name)
	}
	return &m, nil
}

// writeManifest replaces dir/file in one step that survives a crash.
func writeManifest(dir, file string, m manifest) error {
	m.Version, m.Path = manifestVersion, ""
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already when all went well
	_, err = f.Write(append(text, '\n'))
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), filepath.Join(dir, file)); err != nil {
		return err
	}
	return syncDir(dir)
}

// whole returns the model in dir if all of it is there.
func whole(dir string) (*manifest, error) {
	m, err := readManifest(dir, manifestFile)
	if err != nil {
		return nil, err
	}
	for _, f := range m.Files {
		path := filepath.Join(dir, m.Folder, f.Name)
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if !info.Mode().IsRegular() || info.Size() != f.Bytes {
			return nil, fmt.Errorf("%s: %w: it has %d bytes, want %d", path, ErrDamaged, info.Size(), f.Bytes)
		}
	}
	return m, nil
}

// folders lists the folders of the store, which may not exist yet.
func (h *Hub) folders() ([]string, error) {
	entries, err := os.ReadDir(h.o.Dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var dirs []string
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			dirs = append(dirs, filepath.Join(h.o.Dir, e.Name()))
		}
	}
	return dirs, nil
}

// Models lists the models that are whole, by name.
func (h *Hub) Models() ([]Model, error) {
	dirs, err := h.folders()
	if err != nil {
		return nil, err
	}
	models := []Model{}
	for _, dir := range dirs {
		if m, err := whole(dir); err == nil {
			models = append(models, m.Model)
		}
	}
	slices.SortFunc(models, func(a, b Model) int { return cmp.Compare(a.Name, b.Name) })
	return models, nil
}

// Unfinished lists the pulls that were cut off or are under way, by name.
func (h *Hub) Unfinished() ([]Unfinished, error) {
	dirs, err := h.folders()
	if err != nil {
		return nil, err
	}
	var list []Unfinished
	for _, dir := range dirs {
		m, err := readManifest(dir, partialFile)
		if err != nil || m.Chunk < 1<<10 {
			continue
		}
		u := Unfinished{Name: m.Name, Bytes: m.Bytes}
		for _, f := range m.Files {
			u.Done += journaledBytes(filepath.Join(dir, partialDir, f.Name+journalSuffix), f.Bytes, m.Chunk)
		}
		list = append(list, u)
	}
	slices.SortFunc(list, func(a, b Unfinished) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}

// Find returns the model called name, or, when there is only one such, the
// model whose name ends in "/" and name. The error is ErrNotFound when there
// is none, and lists what there is.
func (h *Hub) Find(name string) (*Model, error) {
	if r, err := parseName(name); err == nil {
		if m, err := whole(h.modelDir(r.name)); err == nil {
			return &m.Model, nil
		}
	}
	models, err := h.Models()
	if err != nil {
		return nil, err
	}
	var found []Model
	var names []string
	for _, m := range models {
		names = append(names, m.Name)
		if answersTo(m.Name, name) {
			found = append(found, m)
		}
	}
	switch len(found) {
	case 1:
		return &found[0], nil
	case 0:
		if r, err := parseName(name); err == nil && exists(filepath.Join(h.modelDir(r.name), partialFile)) {
			return nil, fmt.Errorf("model %s: %w: its pull was cut off; plume pull %s goes on", r.name, ErrNotFound, r.name)
		}
		return nil, fmt.Errorf("model %s: %w%s", name, ErrNotFound, listed("; pulled models: ", names))
	}
	names = names[:0]
	for _, m := range found {
		names = append(names, m.Name)
	}
	return nil, fmt.Errorf("model %s: %w: it may be %s", name, ErrNotFound, strings.Join(names, " or "))
}

func listed(head string, names []string) string {
	if len(names) == 0 {
		return "; no model has been pulled yet"
	}
	if len(names) > 20 {
		names = append(slices.Clone(names[:20]), "…")
	}
	return head + strings.Join(names, ", ")
}

// Check reads a model's files again and compares them with the manifest. The
// error is ErrDamaged and names every file that differs. progress, which may
// be nil, is called with bytes read and bytes in all.
func (h *Hub) Check(ctx context.Context, name string, progress func(done, total int64)) (*Model, error) {
	m, err := h.Find(name)
	if err != nil {
		return nil, err
	}
	dir := m.Path
	if m.Format == "gguf" {
		dir = filepath.Dir(dir)
	}
	var bad []string
	done := int64(0)
	for _, f := range m.Files {
		sum, err := hashFile(ctx, filepath.Join(dir, f.Name), func(n int64) {
			if done += n; progress != nil {
				progress(done, m.Bytes)
			}
		})
		if err != nil {
			return nil, err
		}
		if sum != f.SHA256 {
			bad = append(bad, f.Name)
		}
	}
	if len(bad) > 0 {
		return m, fmt.Errorf("%s: %w: %s; remove and pull it again", m.Name, ErrDamaged, strings.Join(bad, ", "))
	}
	return m, nil
}

// hashFile computes the SHA-256 of a file.
func hashFile(ctx context.Context, path string, progress func(n int64)) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	buf := make([]byte, 1<<20)
	for {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		n, err := f.Read(buf)
		h.Write(buf[:n])
		progress(int64(n))
		if err == io.EOF {
			return hex.EncodeToString(h.Sum(nil)), nil
		}
		if err != nil {
			return "", err
		}
	}
}

// Remove deletes a model, or what an unfinished pull has left, and returns its
// full name. It disappears in one step, then its bytes are freed. A program
// that has it open keeps it on Unix, and makes Remove fail on Windows.
func (h *Hub) Remove(name string) (string, error) {
	full, err := h.removable(name)
	if err != nil {
		return "", err
	}
	unlock, err := h.lock(full)
	if err != nil {
		return full, err
	}
	defer unlock()
	trash := filepath.Join(h.o.Dir, trashPrefix+slug(full)+"-"+rand.Text()[:8])
	if err := os.Rename(h.modelDir(full), trash); err != nil {
		return full, fmt.Errorf("remove %s: %w", full, err)
	}
	h.sweep()
	if _, err := os.Stat(trash); err == nil {
		return full, fmt.Errorf("remove %s: the model is gone, but %s could not be deleted", full, trash)
	}
	return full, nil
}

// removable turns a name into that of a model or an unfinished pull.
func (h *Hub) removable(name string) (string, error) {
	m, err := h.Find(name)
	if err == nil {
		return m.Name, nil
	}
	if r, e := parseName(name); e == nil {
		if _, e := os.Stat(h.modelDir(r.name)); e == nil {
			return r.name, nil // not whole
		}
	}
	return "", err
}

// sweep deletes what removals have left, of this process or of one that died.
func (h *Hub) sweep() {
	entries, _ := os.ReadDir(h.o.Dir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), trashPrefix) {
			os.RemoveAll(filepath.Join(h.o.Dir, e.Name()))
		}
	}
}
