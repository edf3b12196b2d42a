package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

var gitHex = regexp.MustCompile(`^[0-9a-f]{40}$`)

// sideFiles are what plume reads beside safetensors; the first is required.
var sideFiles = []string{"config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja"}

const (
	oneShard   = "model.safetensors"
	shardIndex = "model.safetensors.index.json"
)

// hfInfo is the part of the answer about a repository that matters here.
type hfInfo struct {
	SHA      string      `json:"sha"`
	Siblings []hfSibling `json:"siblings"`
}

type hfSibling struct {
	Path string `json:"rfilename"`
	Size *int64 `json:"size"`
	Blob string `json:"blobId"`
	LFS  *struct {
		SHA256 string `json:"sha256"`
		OID    string `json:"oid"` // the same, as some mirrors call it
		Size   int64  `json:"size"`
	} `json:"lfs"`
}

// repository is a Hugging Face repository at one commit.
type repository struct {
	ref   *ref
	base  string // of file addresses
	sha   string
	files map[string]hfSibling
}

// resolveHF chooses the files of a repository that make one model.
func resolveHF(ctx context.Context, c *client, endpoint *url.URL, r *ref) (*remote, error) {
	rev := r.rev
	if rev == "" {
		rev = "main"
	}
	var info hfInfo
	address := endpoint.String() + "/api/models/" + r.repo + "/revision/" + url.PathEscape(rev) + "?blobs=true"
	if _, err := c.readJSON(ctx, r.name, address, nil, maxInfoBytes, &info); err != nil {
		return nil, explainHF(err, endpoint, r)
	}
	if gitHex.MatchString(info.SHA) {
		rev = info.SHA // so that all files are of one commit
	}
	repo := &repository{ref: r, sha: rev, files: map[string]hfSibling{},
		base: endpoint.String() + "/" + r.repo + "/resolve/" + url.PathEscape(rev) + "/"}
	for _, s := range info.Siblings {
		repo.files[s.Path] = s
	}
	found := &remote{source: endpoint.String() + "/" + r.repo, revision: rev}
	paths, err := repo.choose(ctx, c, found)
	if err != nil {
		return nil, explainHF(err, endpoint, r)
	}
	for _, p := range paths {
		f, err := repo.file(ctx, c, p)
		if err != nil {
			return nil, explainHF(err, endpoint, r)
		}
		found.files = append(found.files, f)
	}
	return found, nil
}

// choose returns the paths of the files to fetch and sets the format.
func (repo *repository) choose(ctx context.Context, c *client, found *remote) ([]string, error) {
	weights, err := repo.safetensors(ctx, c)
	if err != nil {
		return nil, err
	}
	if repo.ref.tag == "" && len(weights) > 0 {
		found.format = "safetensors"
		return weights, nil
	}
	models := ggufModels(slices.Sorted(maps.Keys(repo.files)), func(p string) int64 {
		n, _ := repo.files[p].bytes()
		return n
	})
	if len(models) > 0 {
		found.format = "gguf"
		m, err := chooseGGUF(repo.ref, models)
		return m.paths, err
	}
	what := "neither safetensors weights with config.json nor GGUF files"
	if repo.ref.tag != "" {
		what = "no GGUF files to choose " + repo.ref.tag + " from"
	}
	return nil, fmt.Errorf("%s holds %s: %w", repo.ref.repo, what, ErrUnsupported)
}

// safetensors returns the paths of a model folder, none when the repository is no such.
func (repo *repository) safetensors(ctx context.Context, c *client) ([]string, error) {
	has := func(p string) bool { _, ok := repo.files[p]; return ok }
	if !has(sideFiles[0]) || repo.ref.tag != "" {
		return nil, nil
	}
	var paths []string
	for _, p := range sideFiles {
		if has(p) {
			paths = append(paths, p)
		}
	}
	switch {
	case has(oneShard):
		return append(paths, oneShard), nil
	case has(shardIndex):
		shards, err := repo.shards(ctx, c)
		return append(append(paths, shardIndex), shards...), err
	}
	return nil, nil
}

// shards reads the index and returns the files it names.
func (repo *repository) shards(ctx context.Context, c *client) ([]string, error) {
	var index struct {
		Map map[string]string `json:"weight_map"`
	}
	what := repo.ref.name + ": " + shardIndex
	if _, err := c.readJSON(ctx, what, repo.base+shardIndex, nil, maxInfoBytes, &index); err != nil {
		return nil, err
	}
	names := slices.Compact(slices.Sorted(maps.Values(index.Map)))
	if len(names) == 0 || len(names) > maxFiles {
		return nil, fmt.Errorf("%s names %d files: %w", what, len(names), ErrUnsupported)
	}
	for _, n := range names {
		if _, ok := repo.files[n]; !ok {
			return nil, fmt.Errorf("%s names %.100q, which the repository does not have: %w", what, n, ErrUnsupported)
		}
	}
	return names, nil
}

// bytes is the length of a file; ok is false when the source did not say.
func (s hfSibling) bytes() (n int64, ok bool) {
	switch {
	case s.LFS != nil:
		return s.LFS.Size, true
	case s.Size != nil:
		return *s.Size, true
	}
	return 0, false
}

// file says how to fetch the file at path, which may lie in a folder; here it
// will not.
func (repo *repository) file(ctx context.Context, c *client, path string) (remoteFile, error) {
	s := repo.files[path]
	parts := strings.Split(path, "/")
	f := remoteFile{name: parts[len(parts)-1]}
	for i, p := range parts {
		if p == "" || p == "." || p == ".." {
			return f, fmt.Errorf("%.100q is no path", path)
		}
		parts[i] = url.PathEscape(p)
	}
	f.url = repo.base + strings.Join(parts, "/")
	switch {
	case s.LFS != nil:
		f.sha256 = strings.ToLower(cmp.Or(s.LFS.SHA256, s.LFS.OID))
	case gitHex.MatchString(s.Blob):
		f.git = s.Blob
	}
	var ok bool
	if f.bytes, ok = s.bytes(); ok {
		return f, nil
	}
	var err error
	f.bytes, f.etag, err = c.probe(ctx, f.name, f.url)
	return f, err
}

// explainHF says what can be done about an answer.
func explainHF(err error, endpoint *url.URL, r *ref) error {
	var s *statusError
	if !errors.As(err, &s) || s.host != endpoint.Host { // the storage behind it knows no terms
		return err
	}
	page := endpoint.String() + "/" + r.repo
	switch {
	case s.kind == "GatedRepo" && !s.token:
		return fmt.Errorf("%w: %s is gated: accept its terms at %s, make a token in your settings there, and give it as %s", err, r.repo, page, HFTokenVariable)
	case s.kind == "GatedRepo", s.code == http.StatusForbidden:
		return fmt.Errorf("%w: the token may not read %s: accept its terms at %s, and check what the token allows", err, r.repo, page)
	case s.kind == "RevisionNotFound":
		return fmt.Errorf("%w: %s has no revision %q", err, r.repo, r.rev)
	case s.code == http.StatusUnauthorized && s.token:
		return fmt.Errorf("%w: the token is not valid, or may not read %s", err, r.repo)
	case s.code == http.StatusUnauthorized:
		return fmt.Errorf("%w: %s does not exist or is private: check the spelling, or set %s", err, r.repo, HFTokenVariable)
	case s.code == http.StatusNotFound:
		return fmt.Errorf("%w: check the spelling of %s", err, r.name)
	}
	return err
}
