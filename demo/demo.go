// Package demo carries a small real model, so that plume answers with nothing
// downloaded. See README.md for what it is, its licence and how it was trained.
//
// The model is a GGUF file inside the binary. Path puts it on disk, since the
// point of plume is that the rows of the per-layer table are read from there.
// It does not open the model; package plume and cmd/plume do. Path may be
// called by any number of goroutines and processes at once.
package demo

import (
	"crypto/sha256"
	_ "embed" // the model is part of the program
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
)

//go:embed plume-demo-q8_0.gguf
var model string

// CacheEnv names the environment variable that replaces the user's cache folder.
const CacheEnv = "PLUME_CACHE"

// Bytes returns the size of the model.
func Bytes() int64 { return int64(len(model)) }

var (
	hashOnce sync.Once
	hash     string
)

// sum returns the SHA-256 of the model in hexadecimal digits. (It is no
// package-level sync.OnceValue: a variable whose initial value refers to the
// model would keep the model in programs that never use it.)
func sum() string {
	hashOnce.Do(func() {
		h := sha256.New()
		io.WriteString(h, model)
		hash = hex.EncodeToString(h.Sum(nil))
	})
	return hash
}

// Path returns a file that holds the model, writing it on first use to the
// folder that PLUME_CACHE names or else to "plume" in the user's cache folder.
// A file that is there already is used after its bytes have been compared.
//
// Where that folder cannot be written, the system's folder for temporary files
// is used, and note says so, for people; otherwise note is "".
func Path() (path, note string, err error) {
	dir, err := cacheDir()
	if err == nil {
		if path, err = place(dir); err == nil {
			return path, "", nil
		}
	}
	temp := filepath.Join(os.TempDir(), fmt.Sprintf("plume-%d", os.Getuid()))
	path, tempErr := place(temp)
	if tempErr != nil {
		return "", "", fmt.Errorf("write the demo model: %w", errors.Join(err, tempErr))
	}
	return path, fmt.Sprintf("the demo model is kept in %s, since the cache folder cannot be used: %v", temp, err), nil
}

func cacheDir() (string, error) {
	if dir := os.Getenv(CacheEnv); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "plume"), nil
}

// place makes sure that dir holds the model and returns its path. The name
// carries the hash, so that programs of different versions share a folder.
func place(dir string) (string, error) {
	path := filepath.Join(dir, "plume-demo-q8_0-"+sum()[:16]+".gguf")
	same, err := holds(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	if same {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	if err := write(dir, path); err != nil {
		// Another process may have put it there, and on Windows a file in use
		// cannot be replaced.
		if same, _ := holds(path); !same {
			return "", err
		}
	}
	return path, nil
}

// holds reports whether the file at path is the model, byte for byte.
func holds(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() != Bytes() {
		return false, err
	}
	buf := make([]byte, 1<<18)
	for off := 0; off < len(model); off += len(buf) {
		n := min(len(buf), len(model)-off)
		if _, err := io.ReadFull(f, buf[:n]); err != nil {
			return false, err
		}
		if string(buf[:n]) != model[off:off+n] {
			return false, nil
		}
	}
	return true, nil
}

// write puts the model at path in one step: whoever sees the name sees all of it.
func write(dir, path string) (err error) {
	f, err := os.CreateTemp(dir, ".plume-demo-*.part")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if _, err := io.WriteString(f, model); err != nil {
		return err
	}
	if err := errors.Join(f.Chmod(0o644), f.Sync()); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
