package checkpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxIndexBytes bounds an index; that of the largest model here is 150 KB.
const maxIndexBytes = 64 << 20

// openIndex opens every shard that the index at file names, for a Catalog
// whose Path is path.
func openIndex(path, file string) (*Catalog, error) {
	weightMap, err := readIndex(file)
	if err != nil {
		return nil, err
	}
	shards := map[string]bool{}
	for _, shard := range weightMap {
		shards[shard] = true
	}
	var names []string
	for shard := range shards {
		names = append(names, shard)
	}
	slices.Sort(names)
	dir := filepath.Dir(file)
	var sources []*source
	var tensors []*Tensor
	for _, name := range names {
		src, found, err := openShard(filepath.Join(dir, name), file)
		if err != nil {
			closeAll(sources)
			return nil, err
		}
		sources = append(sources, src)
		tensors = append(tensors, found...)
	}
	c, err := newCatalog(path, formatSafetensors, sources, tensors)
	if err == nil {
		err = checkIndex(c, file, weightMap)
	}
	if err != nil {
		closeAll(sources)
		return nil, err
	}
	c.sideDir = dir
	return c, nil
}

// openShard opens one shard; that it is missing makes the index corrupt.
func openShard(path, index string) (*source, []*Tensor, error) {
	src, err := openFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, &CorruptError{Path: path, Offset: -1, Reason: "shard named by " + index + " is missing", Cause: err}
	}
	if err != nil {
		return nil, nil, err
	}
	tensors, err := parseSafetensors(src)
	if err != nil {
		src.close()
		return nil, nil, err
	}
	return src, tensors, nil
}

// checkIndex makes sure that each tensor is in the shard the index says. A
// tensor that the index leaves out is no fault.
func checkIndex(c *Catalog, index string, weightMap map[string]string) error {
	for name, shard := range weightMap {
		t := c.Lookup(name)
		if t == nil || filepath.Base(t.src.path) != shard {
			return corrupt(index, name, -1, "tensor is not in %s, where the index puts it", shard)
		}
	}
	return nil
}

// readIndex returns the weight_map of an index file, tensor name → shard name.
func readIndex(file string) (map[string]string, error) {
	src, err := openFile(file)
	if err != nil {
		return nil, err
	}
	defer src.close()
	if src.sizeBytes > maxIndexBytes {
		return nil, corrupt(file, "", -1, "index of %d bytes, want at most %d", src.sizeBytes, int64(maxIndexBytes))
	}
	text := make([]byte, src.sizeBytes)
	if err := src.readFull(text, 0, ""); err != nil {
		return nil, err
	}
	return parseIndex(src, text)
}

func parseIndex(src *source, text []byte) (map[string]string, error) {
	p := &headerParser{src: src, dec: json.NewDecoder(bytes.NewReader(text))}
	if !utf8.Valid(text) {
		return nil, p.fail("", "index is not UTF-8")
	}
	weightMap := map[string]string{}
	err := p.object("", func(key string) error {
		if key != "weight_map" {
			return p.skip("")
		}
		return p.object("", func(name string) error {
			tok, err := p.token(name)
			if err != nil {
				return err
			}
			shard, ok := tok.(string)
			if !ok || !plainName(shard) || !strings.HasSuffix(shard, weightSuffix) {
				return p.fail(name, "weight_map says %.200q, which is no name of a safetensors file in this folder", fmt.Sprint(tok))
			}
			weightMap[name] = shard
			return nil
		})
	})
	if err == nil && len(weightMap) == 0 {
		err = p.fail("", "index has no weight_map")
	}
	return weightMap, err
}
