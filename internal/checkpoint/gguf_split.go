package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
)

// Keys by which the parts of a split GGUF model know each other. The first
// part (no = 0) has the model's own keys as well.
const (
	splitPrefix     = "split."
	splitNoKey      = "split.no"
	splitCountKey   = "split.count"
	splitTensorsKey = "split.tensors.count"
	maxSplitFiles   = 65535 // split.count is a uint16
)

// splitPart is what a file says about its place in a set.
type splitPart struct {
	no, count uint64 // no counts from 0; count is 1 for an ordinary file
	tensors   uint64 // in the whole set
	counted   bool   // tensors is given
}

// split reads the file's split keys.
func (f *ggufFile) split() (splitPart, error) {
	part := splitPart{count: 1}
	bad := func(key string) error {
		return corrupt(f.src.path, "", -1, "%s is %v", key, f.meta.Raw(key))
	}
	var ok bool
	if f.meta.Raw(splitCountKey) != nil {
		if part.count, ok = f.meta.Uint(splitCountKey); !ok || part.count > maxSplitFiles {
			return part, bad(splitCountKey)
		}
	}
	if part.count <= 1 {
		return splitPart{count: 1}, nil
	}
	if part.no, ok = f.meta.Uint(splitNoKey); !ok || part.no >= part.count {
		return part, bad(splitNoKey)
	}
	if f.meta.Raw(splitTensorsKey) != nil {
		if part.tensors, part.counted = f.meta.Uint(splitTensorsKey); !part.counted {
			return part, bad(splitTensorsKey)
		}
	}
	return part, nil
}

// splitName is the file name of a part: PREFIX-00002-of-00003.gguf, counted
// from 1.
type splitName struct {
	prefix string
	number uint64
	count  uint64
}

var splitPattern = regexp.MustCompile(`^(.*)-([0-9]{5})-of-([0-9]{5})\.gguf$`)

func parseSplitName(base string) (splitName, bool) {
	m := splitPattern.FindStringSubmatch(base)
	if m == nil {
		return splitName{}, false
	}
	number, _ := strconv.ParseUint(m[2], 10, 32) // five digits always parse
	count, _ := strconv.ParseUint(m[3], 10, 32)
	return splitName{prefix: m[1], number: number, count: count}, true
}

// openGGUF opens src and, if it is a part of a set, the rest of the set. On
// failure it closes what it opened, not src.
func openGGUF(path string, src *source) (*Catalog, error) {
	file, err := parseGGUF(src)
	if err != nil {
		return nil, err
	}
	part, err := file.split()
	if err != nil {
		return nil, err
	}
	if part.count == 1 {
		return catalogGGUF(path, []*ggufFile{file}, nil)
	}
	files, away, err := openParts(file, part)
	var c *Catalog
	if err == nil {
		c, err = catalogGGUF(path, files, away)
	}
	if err != nil {
		for _, f := range files {
			if f != file {
				f.src.close()
			}
		}
		return nil, err
	}
	return c, nil
}

// openParts opens every part of the set that file, known to be part, belongs
// to, in order; away is the tensor of the last one where that may be somewhere else and
// is. On failure it returns those it did open.
func openParts(file *ggufFile, part splitPart) (files []*ggufFile, away *away, err error) {
	dir, base := filepath.Split(file.src.path)
	name, ok := parseSplitName(base)
	if !ok || name.count != part.count || name.number != part.no+1 {
		return nil, nil, corrupt(file.src.path, "", -1, "file is part %d of %d of a split model, so its name must end in -%05d-of-%05d.gguf",
			part.no+1, part.count, part.no+1, part.count)
	}
	total := uint64(0)
	for no := range part.count {
		f := file
		if no != part.no {
			next := filepath.Join(dir, PartName(name.prefix, int(no), int(part.count)))
			f, err = openPart(next, no, part)
			if errors.Is(err, fs.ErrNotExist) && no > 0 && no == part.count-1 {
				if away, err = files[0].away(next, err); err == nil {
					total++
					break
				}
			}
			if err != nil {
				return files, nil, err
			}
		}
		files = append(files, f)
		total += uint64(len(f.tensors))
	}
	first, err := files[0].split()
	switch {
	case err != nil:
		return files, nil, err
	case !first.counted:
		return files, nil, corrupt(files[0].src.path, "", -1, "first part has no %s", splitTensorsKey)
	case first.tensors != total:
		return files, nil, corrupt(files[0].src.path, "", -1, "%s is %d, but the %d parts hold %d tensors", splitTensorsKey, first.tensors, part.count, total)
	case away == nil:
		return files, nil, files[0].checkLast(files[len(files)-1])
	}
	return files, away, nil
}

// openPart opens part no of the set that like belongs to.
func openPart(path string, no uint64, like splitPart) (*ggufFile, error) {
	src, err := openFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &CorruptError{Path: path, Offset: -1, Reason: fmt.Sprintf("part %d of %d is missing", no+1, like.count), Cause: err}
	}
	if err != nil {
		return nil, err
	}
	f, err := parseGGUF(src)
	var part splitPart
	if err == nil {
		part, err = f.split()
	}
	if err == nil && (part.no != no || part.count != like.count) {
		err = corrupt(path, "", -1, "file says it is part %d of %d, want %d of %d", part.no+1, part.count, no+1, like.count)
	}
	if err == nil && part.counted && like.counted && part.tensors != like.tensors {
		err = corrupt(path, "", -1, "%s is %d, another part says %d", splitTensorsKey, part.tensors, like.tensors)
	}
	if err != nil {
		src.close()
		return nil, err
	}
	return f, nil
}
