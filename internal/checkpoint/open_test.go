package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// part is one file of a split set: two keys of its own and one tensor.
func part(no, count, tensors int, name string) []byte {
	keys := uint64(3)
	if no == 0 {
		keys = 4
	}
	r := (&raw{}).head(3, 1, keys)
	if no == 0 {
		r.text("general.architecture").u32(kindString).text("gemma4")
	}
	r.text(splitNoKey).u32(kindUint16).u8(byte(no)).u8(0)
	r.text(splitCountKey).u32(kindUint16).u8(byte(count)).u8(0)
	r.text(splitTensorsKey).u32(kindInt32).u32(uint32(tensors))
	return r.tensor(name, 0, 0, 8).align(32).data(32).b
}

func partName(no, count int) string { return fmt.Sprintf("m-%05d-of-%05d.gguf", no+1, count) }

func writeSet(t *testing.T, count int) string {
	t.Helper()
	dir := t.TempDir()
	for no := range count {
		writeFile(t, dir, partName(no, count), part(no, count, count, fmt.Sprintf("t%d", no)))
	}
	return dir
}

func names(c *Catalog) []string {
	var list []string
	for _, x := range c.Tensors() {
		list = append(list, x.Name)
	}
	return list
}

// TestSplit: any part, and the folder, opens the whole set.
func TestSplit(t *testing.T) {
	dir := writeSet(t, 3)
	writeFile(t, dir, "mmproj-m.gguf", smallGGUF(3))
	for _, path := range []string{partName(0, 3), partName(1, 3), partName(2, 3), ""} {
		c := mustOpen(t, filepath.Join(dir, path))
		if got := names(c); !slices.Equal(got, []string{"t0", "t1", "t2"}) {
			t.Errorf("%s: tensors %v", path, got)
		}
		if got := c.Meta().Keys(); !slices.Equal(got, []string{"general.architecture"}) {
			t.Errorf("%s: keys %v", path, got)
		}
		file, _ := c.Lookup("t2").Location()
		if filepath.Base(file) != partName(2, 3) || c.Path() != filepath.Join(dir, path) {
			t.Errorf("t2 in %s, path %s", file, c.Path())
		}
		if err := readAllTensors(c); err != nil {
			t.Error(err)
		}
	}
}

func TestBrokenSplit(t *testing.T) {
	cases := []struct {
		name   string
		damage func(dir string) error
		want   string
	}{
		{"missing", func(dir string) error { return os.Remove(filepath.Join(dir, partName(2, 3))) }, "part 3 of 3 is missing"},
		{"renamed", func(dir string) error {
			return os.Rename(filepath.Join(dir, partName(1, 3)), filepath.Join(dir, "x.gguf"))
		}, "part 2 of 3 is missing"},
		{"swapped", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, partName(2, 3)), part(1, 3, 3, "t2"), 0o600)
		}, "says it is part 2 of 3, want 3 of 3"},
		{"other set", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, partName(2, 3)), part(2, 4, 3, "t2"), 0o600)
		}, "says it is part 3 of 4"},
		{"not split", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, partName(2, 3)), smallGGUF(3), 0o600)
		}, "says it is part 1 of 1"},
		{"counts differ", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, partName(2, 3)), part(2, 3, 4, "t2"), 0o600)
		}, "split.tensors.count is 4, another part says 3"},
		{"tensor twice", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, partName(2, 3)), part(2, 3, 3, "t1"), 0o600)
		}, `"t1": byte`},
		{"cut off", func(dir string) error { return os.Truncate(filepath.Join(dir, partName(2, 3)), 100) }, partName(2, 3)},
		{"wrong total", func(dir string) error {
			for no := range 3 {
				if err := os.WriteFile(filepath.Join(dir, partName(no, 3)), part(no, 3, 9, fmt.Sprint(no)), 0o600); err != nil {
					return err
				}
			}
			return nil
		}, "is 9, but the 3 parts hold 3 tensors"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := writeSet(t, 3)
			if err := c.damage(dir); err != nil {
				t.Fatal(err)
			}
			_, err := Open(filepath.Join(dir, partName(0, 3)))
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q in it", err, c.want)
			}
		})
	}
	// A part under a name that says nothing.
	path := writeFile(t, t.TempDir(), "one.gguf", part(1, 3, 3, "t1"))
	if _, err := Open(path); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "-00002-of-00003.gguf") {
		t.Errorf("misnamed part: %v", err)
	}
}

// writeSharded makes a folder of two safetensors shards.
func writeSharded(t *testing.T, index string) string {
	t.Helper()
	dir := t.TempDir()
	shard := func(name string) []byte {
		return safetensorsOf(`{"`+name+`":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, 8)
	}
	writeFile(t, dir, "config.json", []byte(`{"a":1}`))
	writeFile(t, dir, "model-00001-of-00002.safetensors", shard("a"))
	writeFile(t, dir, "model-00002-of-00002.safetensors", shard("b"))
	writeFile(t, dir, indexFile, []byte(index))
	return dir
}

const goodIndex = `{"metadata":{"total_size":16},"weight_map":{"b":"model-00002-of-00002.safetensors","a":"model-00001-of-00002.safetensors"}}`

func TestSharded(t *testing.T) {
	dir := writeSharded(t, goodIndex)
	for _, path := range []string{dir, filepath.Join(dir, indexFile)} {
		c := mustOpen(t, path)
		if got := names(c); !slices.Equal(got, []string{"a", "b"}) || c.Path() != path {
			t.Errorf("tensors %v, path %s", got, c.Path())
		}
		if b, err := c.File("config.json"); string(b) != `{"a":1}` || err != nil {
			t.Errorf("config.json: %q %v", b, err)
		}
		if _, err := c.File("tokenizer.json"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("absent file: %v", err)
		}
		for _, name := range []string{"../config.json", "", ".", "..", "/etc/passwd", `a\b`, "c:x", "a\x00"} {
			if _, err := c.File(name); err == nil || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("File(%q): %v", name, err)
			}
		}
	}
}

func TestBadIndex(t *testing.T) {
	to := func(shard string) string { return `{"weight_map":{"a":` + shard + `}}` }
	for index, want := range map[string]string{
		``:                         "not JSON",
		`{`:                        "not JSON",
		`[]`:                       "want {",
		`{}`:                       "no weight_map",
		`{"weight_map":{}}`:        "no weight_map",
		`{"weight_map":[]}`:        "want {",
		"{\"\xff\":1}":             "not UTF-8",
		to(`1`):                    `"1"`,
		to(`""`):                   "no name of a safetensors file",
		to(`"../a.safetensors"`):   "no name of a safetensors file",
		to(`"/a.safetensors"`):     "no name of a safetensors file",
		to(`"x/a.safetensors"`):    "no name of a safetensors file",
		to(`"..\\a.safetensors"`):  "no name of a safetensors file",
		to(`"c:a.safetensors"`):    "no name of a safetensors file",
		to(`"config.json"`):        "no name of a safetensors file",
		to(`"absent.safetensors"`): "is missing",
		`{"weight_map":{"a":"x.safetensors","a":"y.safetensors"}}`:            `"a" occurs twice`,
		strings.Replace(goodIndex, `"a":"model-00001`, `"a":"model-00002`, 1): "where the index puts it",
		strings.Replace(goodIndex, `"a":`, `"c":`, 1):                         `"c"`,
	} {
		_, err := Open(writeSharded(t, index))
		if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), want) {
			t.Errorf("index %q: error %v, want %q in it", index, err, want)
		}
	}
	// The same tensor in two shards.
	dir := writeSharded(t, goodIndex)
	writeFile(t, dir, "model-00002-of-00002.safetensors", safetensorsOf(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, 8))
	if _, err := Open(dir); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "occurs twice") {
		t.Errorf("tensor in two shards: %v", err)
	}
}

// TestFolders: what a folder may hold, and what is said when it is not enough.
func TestFolders(t *testing.T) {
	st, gguf, junk := smallSafetensors(), smallGGUF(3), []byte("{}")
	cases := []struct {
		name   string
		files  map[string][]byte
		format string
		want   string
	}{
		{"single", map[string][]byte{"config.json": junk, "model.safetensors": st}, "safetensors", ""},
		{"other name", map[string][]byte{"config.json": junk, "weights.safetensors": st}, "safetensors", ""},
		{"single wins", map[string][]byte{"config.json": junk, "model.safetensors": st, "consolidated.safetensors": junk, "x.gguf": gguf}, "safetensors", ""},
		{"gguf", map[string][]byte{"x.gguf": gguf}, "gguf", ""},
		{"gguf and projector", map[string][]byte{"x.gguf": gguf, "mmproj-x.gguf": gguf}, "gguf", ""},
		{"two ggufs", map[string][]byte{"x.gguf": gguf, "y.gguf": gguf}, "", "name one of them: x.gguf, y.gguf"},
		{"empty", nil, "", "holds neither config.json"},
		{"config only", map[string][]byte{"config.json": junk}, "", "put model.safetensors"},
		{"pickle", map[string][]byte{"config.json": junk, "pytorch_model.bin": junk}, "", "save the model as safetensors"},
		{"no index", map[string][]byte{"config.json": junk, "a.safetensors": st, "b.safetensors": st}, "", "no model.safetensors.index.json"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, data := range c.files {
				writeFile(t, dir, name, data)
			}
			got, err := Open(dir)
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, ErrCorrupt) {
					t.Fatalf("error %v, want %q in it", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer got.Close()
			if got.Format() != c.format || got.Path() != dir {
				t.Errorf("format %s, path %s", got.Format(), got.Path())
			}
		})
	}
}

func TestOpenFiles(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(filepath.Join(dir, "absent.gguf")); !errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrCorrupt) {
		t.Errorf("absent: %v", err)
	}
	// The format is told by content: blobs have no extension.
	if c := mustOpen(t, writeFile(t, dir, "sha256-0123", smallGGUF(3))); c.Format() != "gguf" {
		t.Error("GGUF blob is " + c.Format())
	}
	if c := mustOpen(t, writeFile(t, dir, "blob", smallSafetensors())); c.Format() != "safetensors" {
		t.Error("safetensors blob is " + c.Format())
	}
	if _, err := Open(writeFile(t, dir, "config.json", []byte(`{"a":1}`))); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "name its folder") {
		t.Errorf("config.json: %v", err)
	}
	if _, err := Open(writeFile(t, dir, "page.gguf", []byte("<!DOCTYPE html>"))); !errors.Is(err, ErrCorrupt) {
		t.Errorf("page: %v", err)
	}
	if runtime.GOOS != "windows" {
		if _, err := Open(os.DevNull); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "not a regular file") {
			t.Errorf("device: %v", err)
		}
		if err := os.Symlink(filepath.Join(dir, "blob"), filepath.Join(dir, "link.safetensors")); err != nil {
			t.Fatal(err)
		}
		mustOpen(t, filepath.Join(dir, "link.safetensors"))
	}
}

// TestNoLeakedFiles: failed opens close what they opened.
func TestNoLeakedFiles(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("counts files through /proc")
	}
	count := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip(err)
		}
		return len(list)
	}
	dir := writeSet(t, 3)
	broken := writeFile(t, dir, partName(2, 3), part(2, 3, 3, "t1"))
	sharded := writeSharded(t, strings.Replace(goodIndex, `"a":`, `"c":`, 1))
	before := count()
	for range 5 {
		for _, path := range []string{broken, sharded, writeFile(t, dir, "x", []byte("junk"))} {
			if _, err := Open(path); err == nil {
				t.Errorf("%s opened", path)
			}
		}
		c, err := Open(filepath.Join(writeSet(t, 2), partName(0, 2)))
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	if after := count(); after > before {
		t.Errorf("%d files open, %d before", after, before)
	}
}

// TestHammer reads from many goroutines while others look around.
func TestHammer(t *testing.T) {
	c := mustOpen(t, writeSet(t, 3))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if err := readAllTensors(c); err != nil {
					t.Error(err)
				}
				c.Lookup("t1")
				c.Meta().Keys()
			}
		})
	}
	wg.Wait()
}
