package testkit

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/quant"
)

// Tensor is one tensor of a model to write.
type Tensor struct {
	Name  string // without prefix: "layers.0.self_attn.q_proj.weight"
	Shape []int  // row-major, outermost first
}

// Model describes a model folder in released-checkpoint form.
type Model struct {
	Config  []byte            // text of config.json
	Tensors []Tensor          // in file order
	Prefix  string            // stands before every name in the file: "model.language_model."
	Type    quant.Type        // F32, F16 or BF16; quant.BF16 is what is published
	Files   map[string][]byte // further files: tokenizer.json, …
}

// TextModel is the model of a config.json: all its text tensors, bfloat16, under
// the names of the released multimodal checkpoints.
func TextModel(tb testing.TB, configJSON []byte) Model {
	tb.Helper()
	cfg, err := gemma.ParseConfig(configJSON)
	if err != nil {
		tb.Fatal(err)
	}
	m := Model{Config: configJSON, Prefix: "model.language_model.", Type: quant.BF16}
	for _, spec := range cfg.Tensors() {
		m.Tensors = append(m.Tensors, Tensor{Name: spec.HF, Shape: spec.Shape})
	}
	return m
}

// Write makes a folder with config.json and model.safetensors, whose elements
// are [Values], in the test's temporary directory and returns its path. Every
// call makes another folder.
func (m Model) Write(tb testing.TB) string {
	tb.Helper()
	dir := tb.TempDir()
	must := func(err error) {
		if err != nil {
			tb.Helper()
			tb.Fatal(err)
		}
	}
	must(os.WriteFile(filepath.Join(dir, "config.json"), m.Config, 0o666))
	for name, data := range m.Files {
		must(os.WriteFile(filepath.Join(dir, name), data, 0o666))
	}
	w, err := checkpoint.CreateSafetensors(filepath.Join(dir, "model.safetensors"))
	must(err)
	defer w.Abort()
	for _, t := range m.Tensors {
		must(w.Declare(m.Prefix+t.Name, m.Type, t.Shape))
	}
	for _, t := range m.Tensors {
		x := Values(t.Name, t.Shape)
		n, err := m.Type.Bytes(int64(len(x)))
		must(err)
		raw := make([]byte, n)
		must(quant.Encode(m.Type, raw, x))
		must(w.Write(m.Prefix+t.Name, bytes.NewReader(raw)))
	}
	must(w.Close())
	return dir
}

// Read returns the decoded values of the tensor called name, exactly as the
// file spells it.
func Read(tb testing.TB, c *checkpoint.Catalog, name string) []float32 {
	tb.Helper()
	t := c.Lookup(name)
	if t == nil {
		tb.Fatalf("no tensor %s in %s", name, c.Path())
	}
	raw, x := make([]byte, t.Bytes), make([]float32, t.Values())
	if _, err := t.ReadAt(raw, 0); err != nil {
		tb.Fatal(err)
	}
	if err := quant.Decode(t.Type, x, raw); err != nil {
		tb.Fatal(err)
	}
	return x
}
