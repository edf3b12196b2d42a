package demo

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	t.Setenv(CacheEnv, dir)
	path, note, err := Path()
	if err != nil || note != "" || filepath.Dir(path) != dir {
		t.Fatalf("got %q, %q, %v, want a file in %s", path, note, err, dir)
	}
	data, err := os.ReadFile(path)
	if err != nil || string(data) != model {
		t.Fatalf("the file is not the model: %d bytes, %v", len(data), err)
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if again, _, err := Path(); err != nil || again != path {
		t.Fatalf("second call: %q, %v", again, err)
	}
	after, err := os.Stat(path)
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("the file was written again: %v", err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("left in the folder: %v, %v", left, err)
	}
}

// A file that has been cut or changed is replaced.
func TestPathRepairs(t *testing.T) {
	t.Setenv(CacheEnv, t.TempDir())
	path, _, err := Path()
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]string{
		"cut":     model[:len(model)/2],
		"changed": model[:len(model)-1] + string(model[len(model)-1]^1),
	} {
		if err := os.WriteFile(path, []byte(damage), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Path(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if data, err := os.ReadFile(path); err != nil || string(data) != model {
			t.Errorf("%s: not repaired: %v", name, err)
		}
	}
}

// Where the cache folder cannot be, the temporary one is used and named.
func TestPathFallsBack(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv(CacheEnv, filepath.Join(file, "below"))
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	t.Setenv("TMP", temp)
	path, note, err := Path()
	if err != nil || !strings.HasPrefix(path, temp) || !strings.Contains(note, temp) {
		t.Errorf("got %q, %q, %v", path, note, err)
	}
	t.Setenv("TMPDIR", filepath.Join(file, "below"))
	t.Setenv("TMP", filepath.Join(file, "below"))
	if path, _, err := Path(); err == nil {
		t.Errorf("nowhere to write, and yet %q", path)
	}
}
