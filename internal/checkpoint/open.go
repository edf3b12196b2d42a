package checkpoint

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Names the Hugging Face tools use inside a model folder.
const (
	indexSuffix  = ".safetensors.index.json"
	weightSuffix = ".safetensors"
	ggufSuffix   = ".gguf"
	singleFile   = "model" + weightSuffix
	indexFile    = "model" + indexSuffix
	configFile   = "config.json"
)

// Open opens a checkpoint. path is one of
//
//   - a GGUF file, under any name; opening one part of a split set
//     (NAME-00001-of-00003.gguf) opens all of it,
//   - a .safetensors file, or a .safetensors.index.json, which opens every
//     shard it names,
//   - a folder: model.safetensors, the index, or the only .safetensors file in
//     it; with none of these, the only GGUF model in it (projector files, whose
//     names begin with "mmproj", do not count).
//
// Only headers are read, and samples of a part that another one describes (see [Outside]):
// a part of another model is [ErrCorrupt]. The error is [fs.ErrNotExist] when path does not
// exist, [ErrCorrupt] for a broken file (missing shards included),
// [ErrUnsupported] for a sound one of a foreign kind.
func Open(path string) (*Catalog, error) {
	dir, err := isDir(path)
	switch {
	case err != nil:
		return nil, err
	case dir:
		return openFolder(path)
	case strings.HasSuffix(path, indexSuffix):
		return openIndex(path, path)
	}
	return openSingle(path, path)
}

// openSingle opens the GGUF or safetensors file at file for a Catalog whose
// Path is path.
func openSingle(path, file string) (*Catalog, error) {
	src, err := openFile(file)
	if err != nil {
		return nil, err
	}
	c, err := openSource(path, src)
	if err != nil {
		src.close()
		return nil, err
	}
	return c, nil
}

// openSource makes a Catalog of src, which it does not close on failure.
func openSource(path string, src *source) (*Catalog, error) {
	isGGUF, err := sniff(src)
	switch {
	case err != nil:
		return nil, err
	case isGGUF:
		return openGGUF(path, src)
	}
	c, err := catalogSafetensors(path, src)
	if err != nil {
		return nil, err
	}
	c.sideDir = filepath.Dir(src.path)
	return c, nil
}

// openFolder chooses what to open in a folder.
func openFolder(dir string) (*Catalog, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	weights := withSuffix(names, weightSuffix)
	switch {
	case slices.Contains(names, singleFile):
		return openSingle(dir, filepath.Join(dir, singleFile))
	case slices.Contains(names, indexFile):
		return openIndex(dir, filepath.Join(dir, indexFile))
	case len(weights) == 1:
		return openSingle(dir, filepath.Join(dir, weights[0]))
	case len(weights) > 1:
		return nil, fmt.Errorf("open %s: %d safetensors files but no %s to say how they belong together: %w",
			dir, len(weights), indexFile, fs.ErrNotExist)
	}
	models := ggufModels(names)
	switch len(models) {
	case 1:
		return openSingle(dir, filepath.Join(dir, models[0]))
	case 0:
		return nil, emptyFolderError(dir, names)
	}
	return nil, fmt.Errorf("open %s: folder holds %d GGUF models, name one of them: %s", dir, len(models), strings.Join(models, ", "))
}

// ggufModels returns the GGUF files among names, only the first found of each
// split set.
func ggufModels(names []string) []string {
	var models []string
	seen := map[string]bool{}
	for _, name := range withSuffix(names, ggufSuffix) {
		if strings.HasPrefix(name, "mmproj") {
			continue
		}
		if part, ok := parseSplitName(name); ok {
			set := fmt.Sprintf("%s of %d", part.prefix, part.count)
			if seen[set] {
				continue
			}
			seen[set] = true
		}
		models = append(models, name)
	}
	return models
}

// emptyFolderError says what is missing from a folder without weights.
func emptyFolderError(dir string, names []string) error {
	pickles := append(withSuffix(names, ".bin"), append(withSuffix(names, ".pth"), withSuffix(names, ".pt")...)...)
	switch {
	case len(pickles) > 0:
		return unsupported(dir, "folder holds PyTorch weights (%s); save the model as safetensors", pickles[0])
	case slices.Contains(names, configFile):
		return fmt.Errorf("open %s: folder has %s but no weights; put %s, or the shards with %s, beside it: %w",
			dir, configFile, singleFile, indexFile, fs.ErrNotExist)
	}
	return fmt.Errorf("open %s: folder holds neither %s with safetensors weights nor a GGUF file: %w", dir, configFile, fs.ErrNotExist)
}

func withSuffix(names []string, suffix string) []string {
	var found []string
	for _, name := range names {
		if strings.HasSuffix(name, suffix) {
			found = append(found, name)
		}
	}
	return found
}

// sniff tells GGUF (true) from safetensors (false) by a file's first bytes; its
// name decides only when they say nothing.
func sniff(src *source) (isGGUF bool, err error) {
	head := make([]byte, min(src.sizeBytes, 64))
	if err := src.readFull(head, 0, ""); err != nil {
		return false, err
	}
	switch {
	case len(head) == 0:
		return false, corrupt(src.path, "", 0, "file is empty")
	case bytes.HasPrefix(head, []byte(ggufMagic)):
		return true, nil
	case bytes.HasPrefix(head, []byte("version https://git-lfs")):
		return false, corrupt(src.path, "", 0, "file is a Git LFS pointer, not the weights; run git lfs pull")
	case len(head) > 8 && head[8] == '{' && binary.LittleEndian.Uint64(head) <= maxSafetensorsHeader:
		return false, nil
	case strings.HasSuffix(src.path, weightSuffix):
		return false, nil // let the parser say what is wrong
	case strings.HasSuffix(src.path, ggufSuffix):
		return true, nil
	case strings.HasSuffix(src.path, ".json"):
		return false, unsupported(src.path, "file holds no weights; name its folder instead")
	}
	return false, corrupt(src.path, "", 0, "file begins with %q: neither GGUF nor safetensors", head[:min(len(head), 8)])
}
