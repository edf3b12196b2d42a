package filelock

import (
	"errors"
	"path/filepath"
	"testing"
)

// One holder at a time, the next one when it has let go.
func TestTry(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.lock")
	first, err := Try(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Try(path); !errors.Is(err, ErrHeld) {
		t.Errorf("a second holder: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := Try(path)
	if err != nil {
		t.Fatalf("after the first let go: %v", err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Try(filepath.Join(path, "below a file")); err == nil || errors.Is(err, ErrHeld) {
		t.Errorf("where there can be no file: %v", err)
	}
}
