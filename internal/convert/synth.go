package convert

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/quant"
)

// SynthOptions are the choices of [Synth].
type SynthOptions struct {
	Types
	SplitPLE  bool                    // of a GGUF file: as Options.SplitPLE
	Threads   int                     // goroutines that make values; 0 = one for each CPU
	Progress  func(done, total int64) // bytes of weights written; may be nil
	Tokenizer []byte                  // a tokenizer.json for a GGUF file's vocabulary; nil: none
}

// hfPrefix stands before the text tensors of published checkpoints.
const hfPrefix = "model.language_model."

// Synth writes a model of cfg's sizes whose weights are given by rule alone (see
// rule), so that every engine can rebuild them. What dst becomes depends on its
// name and the type:
//
//   - NAME.gguf, and any name when the type is a quantised one: a GGUF file,
//     with a vocabulary if there is a Tokenizer;
//   - NAME.safetensors: one file, with a config.json beside it;
//   - any other name: a folder with model.safetensors and config.json.
//
// Safetensors hold every tensor in the chosen plain type (BF16 is what the rule
// makes; F32 holds the same values, F16 all but the smallest). K and V projections of KV-shared
// layers, which published checkpoints carry and nothing uses, are not written.
func Synth(ctx context.Context, cfg *gemma.Config, dst string, o SynthOptions) (*Report, error) {
	r, err := synth(ctx, cfg, dst, o)
	if err != nil {
		return nil, fmt.Errorf("make %s: %w", dst, err)
	}
	return r, nil
}

func synth(ctx context.Context, cfg *gemma.Config, dst string, o SynthOptions) (*Report, error) {
	if err := errors.Join(o.check(), cfg.Validate()); err != nil {
		return nil, err
	}
	ext := strings.ToLower(filepath.Ext(dst))
	plain := o.Type.BlockLen() == 1
	switch {
	case ext == ".gguf" || !plain && ext != ".safetensors":
		return synthGGUF(ctx, cfg, dst, o)
	case o.SplitPLE:
		return nil, errors.New("safetensors are not split: write a .gguf to give the per-layer table a file of its own")
	case !plain || o.PLE != nil || o.Embed != nil:
		return nil, fmt.Errorf("safetensors hold one plain type: write a .gguf for %s", o.Type)
	case o.Tokenizer != nil:
		return nil, errors.New("safetensors hold no vocabulary: write a .gguf, or put tokenizer.json beside them")
	case ext == ".safetensors":
		return synthSafetensors(ctx, cfg, dst, filepath.Join(filepath.Dir(dst), "config.json"), o)
	}
	config := filepath.Join(dst, "config.json")
	if err := emptyFolder(dst, "model.safetensors", "config.json"); err != nil {
		return nil, err
	}
	r, err := synthSafetensors(ctx, cfg, filepath.Join(dst, "model.safetensors"), config, o)
	if err != nil {
		_ = os.Remove(dst) // succeeds only on a folder with nothing in it
	}
	return r, err
}

// emptyFolder makes a folder, or accepts one that holds nothing but the files
// that are about to be replaced.
func emptyFolder(dir string, replaced ...string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		known := false
		for _, name := range replaced {
			known = known || e.Name() == name
		}
		if !known {
			return fmt.Errorf("folder holds %s: want a new or empty one", e.Name())
		}
	}
	return nil
}

func synthGGUF(ctx context.Context, cfg *gemma.Config, dst string, o SynthOptions) (*Report, error) {
	r := &Report{}
	specs := cfg.Tensors()
	specs = slices.DeleteFunc(specs, func(s gemma.TensorSpec) bool { return s.Optional })
	c := newChooser(o.Types, cfg.NumLayers, specs)
	var parts []part
	for _, spec := range specs {
		p, err := rulePart(spec, spec.GGUF, r.choose(c, spec, quant.BF16))
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
		if spec.Key == gemma.KeyNorm {
			parts = append(parts, ropePart(cfg))
		}
	}
	r.count(parts)
	vocabulary := noVocabulary(cfg)
	if o.Tokenizer != nil {
		var err error
		if vocabulary, err = fileVocabulary(o.Tokenizer, cfg); err != nil {
			return nil, err
		}
		r.note("the weights follow from a rule: what the model writes means nothing")
	} else {
		r.note("the weights follow from a rule: the output has no vocabulary and takes token ids only")
	}
	meta := append(generalMetadata(synthName(cfg), o.Types, r.Values), modelMetadata(cfg)...)
	meta = append(meta, tokenMetadata(cfg)...)
	out := output{dst: dst, meta: append(meta, vocabulary...), parts: parts, splitPLE: o.SplitPLE, threads: o.Threads, progress: o.Progress}
	var err error
	if r.Files, err = out.files(); err == nil {
		err = out.write(ctx)
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

// synthSafetensors writes the weights and then config.json, without which no
// reader takes the weights for a model.
func synthSafetensors(ctx context.Context, cfg *gemma.Config, dst, configPath string, o SynthOptions) (*Report, error) {
	config, err := cfg.ConfigJSON()
	if err != nil {
		return nil, err
	}
	if err := mayReplace(configPath, config); err != nil {
		return nil, err
	}
	r := &Report{}
	var parts []part
	for _, spec := range cfg.Tensors() {
		if spec.Optional {
			continue
		}
		p, err := rulePart(spec, hfPrefix+spec.HF, o.Type)
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	r.count(parts)
	r.note("the weights follow from a rule: there is no vocabulary, the model takes token ids only")
	w, err := checkpoint.CreateSafetensors(dst)
	if err != nil {
		return nil, err
	}
	defer w.Abort() // does nothing after Close
	if err := w.SetMetadata("format", "pt"); err != nil {
		return nil, err
	}
	if err := writeParts(ctx, w, parts, o.Threads, o.Progress); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	r.Files = []string{dst, configPath}
	return r, os.WriteFile(configPath, config, 0o666)
}

// mayReplace refuses to replace the config.json of another model that happens
// to lie in the same folder.
func mayReplace(path string, config []byte) error {
	old, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case string(old) != string(config):
		return fmt.Errorf("%s belongs to another model", path)
	}
	return nil
}

func synthName(cfg *gemma.Config) string {
	if cfg.Name == "" {
		return "Gemma 4 shape, synthetic weights"
	}
	return "Gemma 4 " + cfg.Name + ", synthetic weights"
}

// rulePart is a tensor of rule weights.
func rulePart(spec gemma.TensorSpec, name string, typ quant.Type) (part, error) {
	p, err := newPart(name, typ, spec.Shape)
	if err != nil {
		return part{}, err
	}
	r := ruleOf(spec)
	if typ == quant.BF16 {
		p.fill = func(dst []byte, _ *scratch, row, _ int) error {
			r.fillBF16(dst, uint64(row)*uint64(p.rowLen))
			return nil
		}
		return p, nil
	}
	p.fill = func(dst []byte, s *scratch, row, n int) error {
		values := s.floats(n * p.rowLen)
		r.fill(values, uint64(row)*uint64(p.rowLen))
		return quant.Encode(typ, dst, values)
	}
	return p, nil
}
