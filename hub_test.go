package plume

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestDescribe: models that have arrived are looked at: sound ones get their
// type, those that plume cannot run a note, broken ones an error.
func TestDescribe(t *testing.T) {
	tiny := filepath.Join("internal", "gemma", "testdata", "e-tiny")
	if typ, note, err := describe(tiny); typ != "BF16" || note != "" || err != nil {
		t.Errorf("e-tiny: %q, %q, %v", typ, note, err)
	}
	other := t.TempDir()
	weights, err := os.ReadFile(filepath.Join(tiny, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	config := []byte(`{"model_type":"llama"}`)
	if err := errors.Join(os.WriteFile(filepath.Join(other, "model.safetensors"), weights, 0o600), os.WriteFile(filepath.Join(other, "config.json"), config, 0o600)); err != nil {
		t.Fatal(err)
	}
	if typ, note, err := describe(other); typ != "" || note == "" || err != nil {
		t.Errorf("another kind of model: %q, %q, %v", typ, note, err)
	}
	page := filepath.Join(t.TempDir(), "model.gguf")
	if err := os.WriteFile(page, []byte("<html>please sign in</html>"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := describe(page); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a web page: %v", err)
	}
}
