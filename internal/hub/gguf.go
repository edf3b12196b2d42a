package hub

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

var (
	splitName = regexp.MustCompile(`^(.*)-(\d{5})-of-(\d{5})\.gguf$`)
	// quantLabel finds the quantisation at the end of a file's name.
	quantLabel = regexp.MustCompile(`(?i)(?:^|[-._])((?:UD-)?(?:I?Q\d\w*|TQ\d\w*|MXFP4\w*|NVFP4\w*|BF16|F16|FP16|F32))$`)
)

// ggufModel is one GGUF model of a repository: a file, or a split set in order.
type ggufModel struct {
	stem  string // file name without number and .gguf
	label string // what people choose it by: "Q4_0"
	paths []string
	bytes int64
	parts int // that the names promise
}

func isGGUF(name string) bool { return strings.HasSuffix(strings.ToLower(name), ".gguf") }

// ggufModels groups paths, which are sorted, into models. Projectors and
// importance matrices are none.
func ggufModels(paths []string, bytesOf func(string) int64) []*ggufModel {
	var models []*ggufModel
	sets := map[string]*ggufModel{}
	for _, p := range paths {
		name := path.Base(p)
		lower := strings.ToLower(name)
		if !isGGUF(name) || strings.HasPrefix(lower, "mmproj") || strings.Contains(lower, "imatrix") {
			continue
		}
		stem, key, parts := name[:len(name)-len(".gguf")], p, 1
		if m := splitName.FindStringSubmatch(name); m != nil {
			stem, key = m[1], path.Join(path.Dir(p), m[1])+" of "+m[3]
			parts, _ = strconv.Atoi(m[3])
		}
		m := sets[key]
		if m == nil {
			m = &ggufModel{stem: stem, label: stem, parts: parts}
			for _, name := range []string{path.Base(path.Dir(p)), stem} { // the file's own name counts more
				if q := quantLabel.FindStringSubmatch(name); q != nil {
					m.label = q[1]
				}
			}
			sets[key] = m
			models = append(models, m)
		}
		m.paths = append(m.paths, p)
		m.bytes += max(bytesOf(p), 0)
	}
	return models
}

// chooseGGUF picks the model that the name asks for.
func chooseGGUF(r *ref, models []*ggufModel) (*ggufModel, error) {
	match := func(is func(m *ggufModel) bool) (found []*ggufModel) {
		for _, m := range models {
			if is(m) {
				found = append(found, m)
			}
		}
		return found
	}
	found := models
	if tag := strings.ToLower(r.tag); tag != "" {
		file := strings.TrimSuffix(tag, ".gguf")
		found = match(func(m *ggufModel) bool { return strings.ToLower(m.label) == tag || strings.ToLower(m.stem) == file })
		if len(found) == 0 {
			found = match(func(m *ggufModel) bool { return strings.HasSuffix(strings.ToLower(m.stem), "-"+tag) })
		}
	}
	if len(found) != 1 {
		return &ggufModel{}, choicesError(r, models, found)
	}
	m := found[0]
	if len(m.paths) != m.parts {
		return m, fmt.Errorf("%s: the repository has %d of the %d parts of %s: %w", r.name, len(m.paths), m.parts, printable(m.stem), ErrUnsupported)
	}
	return m, nil
}

// choicesError lists what may be chosen; by file where labels do not tell apart.
func choicesError(r *ref, models, found []*ggufModel) error {
	if len(found) > 1 {
		models = found
	}
	count := map[string]int{}
	for _, m := range models {
		count[strings.ToLower(m.label)]++
	}
	var list []string
	for _, m := range models {
		label := m.label
		if count[strings.ToLower(label)] > 1 {
			label = m.stem
		}
		list = append(list, fmt.Sprintf("%s:%s (%s)", r.base(), printable(label), sizeText(m.bytes)))
	}
	slices.Sort(list)
	list = slices.Compact(list)
	if over := len(list) - 50; over > 0 {
		list = append(list[:50], fmt.Sprintf("and %d more", over))
	}
	head := fmt.Sprintf("%s holds %d models, choose one", r.base(), len(models))
	if len(found) == 0 {
		head = fmt.Sprintf("%s has no %s, but", r.base(), r.tag)
	}
	return choiceError(head + ":\n  " + strings.Join(list, "\n  "))
}

// choiceError lists what a name could have asked for. It is an ErrNotFound.
type choiceError string

func (e choiceError) Error() string { return string(e) }
func (choiceError) Unwrap() error   { return ErrNotFound }

// base is the name without the choice.
func (r *ref) base() string { return strings.TrimSuffix(r.name, ":"+r.tag) }

// sizeText is a number of bytes for people.
func sizeText(n int64) string {
	x, i := float64(n), 0
	for ; x >= 1024 && i < 4; i++ {
		x /= 1024
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", x, []string{"", "KiB", "MiB", "GiB", "TiB"}[i])
}
