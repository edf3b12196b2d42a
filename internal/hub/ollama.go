package hub

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// The manifest's media type, and that of the layer with the weights as GGUF.
const (
	manifestType = "application/vnd.docker.distribution.manifest.v2+json"
	weightsType  = "application/vnd.ollama.image.model"
)

type ollamaManifest struct {
	Layers []struct {
		Type   string `json:"mediaType"`
		Digest string `json:"digest"`
		Size   int64  `json:"size"`
	} `json:"layers"`
}

// resolveOllama finds the layer of a registry's model that holds the weights.
func resolveOllama(ctx context.Context, c *client, registry *url.URL, r *ref) (*remote, error) {
	base := registry.String() + "/v2/" + r.repo
	var m ollamaManifest
	text, err := c.readJSON(ctx, r.name, base+"/manifests/"+r.tag, http.Header{"Accept": {manifestType}}, maxManifestBytes, &m)
	if err != nil {
		var s *statusError
		if errors.As(err, &s) && errors.Is(err, ErrNotFound) {
			return nil, fmt.Errorf("%w: the registry has no model of this name, or not with this tag", err)
		}
		return nil, err
	}
	found := &remote{source: registry.String() + "/" + r.repo + ":" + r.tag, format: "gguf"}
	sum := sha256.Sum256(text)
	found.revision = "sha256:" + hex.EncodeToString(sum[:])
	for _, l := range m.Layers {
		if l.Type != weightsType {
			continue
		}
		digest, ok := strings.CutPrefix(l.Digest, "sha256:")
		if !ok || !sha256Hex.MatchString(digest) {
			return nil, fmt.Errorf("%s: the layer's digest %.80q is not sha256: %w", r.name, l.Digest, ErrUnsupported)
		}
		found.files = append(found.files, remoteFile{
			name: strings.TrimPrefix(strings.ReplaceAll(r.repo, "/", "-"), "library-") + "-" + r.tag + ".gguf",
			url:  base + "/blobs/sha256:" + digest, bytes: l.Size, sha256: digest,
		})
	}
	if len(found.files) != 1 {
		return nil, fmt.Errorf("%s has %d layers with a GGUF model, want 1: %w", r.name, len(found.files), ErrUnsupported)
	}
	return found, nil
}
