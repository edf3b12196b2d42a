package convert

import (
	"path/filepath"
	"testing"

	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/quant"
)

// What is described must be what is written.
func TestDescribeIsWhatSynthWrites(t *testing.T) {
	cfg, err := gemma.ShapeConfig("e2b", 1)
	if err != nil {
		t.Fatal(err)
	}
	// A small vocabulary keeps the file small; nothing else depends on it.
	cfg.VocabSize, cfg.PLEVocabSize, cfg.NumKVSharedLayers = 64, 64, 0
	for _, types := range []Types{{Type: quant.Q4_0}, {Type: quant.Q4_K, Mix: true}} {
		path := filepath.Join(t.TempDir(), "m.gguf")
		if _, err := Synth(t.Context(), cfg, path, SynthOptions{Types: types}); err != nil {
			t.Fatal(err)
		}
		written, err := checkpoint.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer written.Close()
		described, err := Describe(cfg, types)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range described.Tensors() {
			w := written.Lookup(d.Name)
			if w == nil || w.Type != d.Type || w.Bytes != d.Bytes {
				t.Errorf("%s: described as %s of %d bytes, written as %+v", d.Name, d.Type, d.Bytes, w)
			}
		}
		if n := len(written.Tensors()) - len(described.Tensors()); n != 1 { // the rotation's frequencies
			t.Errorf("the file has %d more tensors", n)
		}
	}
	if _, err := Describe(cfg, Types{Type: quant.IQ4_NL + 100}); err == nil {
		t.Error("described a type that there is not")
	}
}
