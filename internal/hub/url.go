package hub

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
)

// resolveURL asks a server about one file, the other parts of its split set,
// and for safetensors what belongs beside it.
func resolveURL(ctx context.Context, c *client, r *ref) (*remote, error) {
	file := path.Base(r.url.Path)
	found := &remote{source: r.name, format: "gguf"}
	names := []string{file}
	if !isGGUF(file) {
		found.format = "safetensors"
		names = append(append([]string{}, sideFiles...), file)
	} else if m := splitName.FindStringSubmatch(file); m != nil {
		count, _ := strconv.Atoi(m[3])
		if count < 1 || count > maxFiles {
			return nil, fmt.Errorf("%s: %d parts, want 1 to %d", r.name, count, maxFiles)
		}
		names = names[:0]
		for i := range count {
			names = append(names, fmt.Sprintf("%s-%05d-of-%s.gguf", m[1], i+1, m[3]))
		}
	}
	for i, name := range names {
		f := remoteFile{name: name, url: neighbour(r, name)}
		var err error
		f.bytes, f.etag, err = c.probe(ctx, name, f.url)
		optional := name != file && found.format == "safetensors" && i > 0
		if optional && errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, explainURL(err)
		}
		if name == file {
			f.sha256 = r.sha256
		}
		found.files = append(found.files, f)
	}
	return found, nil
}

// neighbour is the URL of a file beside the named one.
func neighbour(r *ref, name string) string {
	u := *r.url
	if name != path.Base(u.Path) {
		u.Path = strings.TrimSuffix(u.Path, path.Base(u.Path)) + name
		u.RawPath = ""
	}
	return u.String()
}

func explainURL(err error) error {
	if errors.Is(err, ErrDenied) {
		return fmt.Errorf("%w: if the server takes bearer tokens, give one with --token", err)
	}
	return err
}
