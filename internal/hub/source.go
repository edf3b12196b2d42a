package hub

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"net/url"
	"strings"
)

// Bounds of what a source may say.
const (
	maxInfoBytes     = 16 << 20 // JSON about a repository, or a safetensors index
	maxManifestBytes = 4 << 20
	maxFileBytes     = 1 << 44
	maxFiles         = 1000
)

// remote is a model as its source has it.
type remote struct {
	source   string // where people can look at it
	revision string // commit or digest; "" when there is no such thing
	format   string // "gguf" or "safetensors"
	files    []remoteFile
}

// remoteFile is one file to fetch. At most one of sha256 and git is set; with
// neither, etag is all that tells versions apart.
type remoteFile struct {
	name   string // in the store: a plain name
	url    string
	bytes  int64
	sha256 string
	git    string // SHA-1 of "blob LENGTH\0" and the bytes
	etag   string
}

// id says which version of which file this is; "" when nobody can know.
func (f *remoteFile) id() string {
	switch {
	case f.sha256 != "":
		return "sha256:" + f.sha256
	case f.git != "":
		return "git:" + f.git
	case f.etag != "":
		return "etag:" + f.etag
	}
	return ""
}

// fingerprint names the folder of a version: equal files, equal name.
func (r *remote) fingerprint() string {
	h := sha256.New()
	for _, f := range r.files {
		fmt.Fprintf(h, "%q %d %q\n", f.name, f.bytes, f.id())
	}
	return hex.EncodeToString(h.Sum(nil)[:6])
}

// bytes is the size of all files.
func (r *remote) bytes() (n int64) {
	for _, f := range r.files {
		n += f.bytes
	}
	return n
}

// check refuses what must not reach the disk.
func (r *remote) check() error {
	if len(r.files) == 0 || len(r.files) > maxFiles {
		return fmt.Errorf("%d files, want 1 to %d", len(r.files), maxFiles)
	}
	seen := map[string]bool{}
	total := int64(0)
	for _, f := range r.files {
		if err := plainName(f.name); err != nil {
			return err
		}
		// Systems that ignore case would write both into one file.
		if key := strings.ToLower(f.name); seen[key] {
			return fmt.Errorf("two files are called %s", f.name)
		} else {
			seen[key] = true
		}
		if f.bytes < 0 || f.bytes > maxFileBytes || total > math.MaxInt64-f.bytes {
			return fmt.Errorf("%s: a length of %d bytes cannot be", f.name, f.bytes)
		}
		total += f.bytes
		if f.sha256 != "" && !sha256Hex.MatchString(f.sha256) || f.git != "" && !gitHex.MatchString(f.git) {
			return fmt.Errorf("%s: the source gives a checksum that is none", f.name)
		}
	}
	return nil
}

// base is the origin that a name's token belongs to.
func (h *Hub) base(r *ref) *url.URL {
	switch {
	case r.hf:
		return h.hf
	case r.ollama:
		return h.registry
	}
	return r.url
}

// resolve asks the source what there is to fetch.
func (h *Hub) resolve(ctx context.Context, c *client, r *ref) (*remote, error) {
	var found *remote
	var err error
	switch {
	case r.hf:
		found, err = resolveHF(ctx, c, h.hf, r)
	case r.ollama:
		found, err = resolveOllama(ctx, c, h.registry, r)
	default:
		found, err = resolveURL(ctx, c, r)
	}
	if err != nil {
		return nil, err
	}
	if err := found.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", r.name, err)
	}
	return found, nil
}
