package convert

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/quant"
)

// Options are the choices of [Convert].
type Options struct {
	Types
	Name     string                  // general.name; "" derives one from the source
	SplitPLE bool                    // the per-layer table gets a file of its own, see [Report].Files
	Threads  int                     // goroutines that encode; 0 = one for each CPU
	Progress func(done, total int64) // bytes of weights written; may be nil
}

// Report says what an output holds and what was not done as asked.
type Report struct {
	// Files are those written: the output, or with SplitPLE the two parts of a split model
	// that are named after it, the second of which has the table alone and may be moved to
	// a web server.
	Files     []string
	Tensors   int
	Values    int64 // weights
	Bytes     int64 // of weights
	Fallbacks []Fallback
	Skipped   int      // tensors of the vision and audio parts that were left out
	Notes     []string // for people, one fact each
}

// Convert writes the text decoder of src as a GGUF file at dst. A GGUF source
// keeps its metadata and is requantised through float32, except tensors that
// have the wanted type already; those are copied. The source's tensors that
// Gemma never uses (k and v of KV-shared layers) are kept, as other tools keep
// them; a tied output matrix is not.
//
// Nothing is at dst until the file is complete; an error or a cancelled ctx
// leaves what was there before.
func Convert(ctx context.Context, src *checkpoint.Catalog, dst string, o Options) (*Report, error) {
	r, err := convert(ctx, src, dst, o)
	if err != nil {
		return nil, fmt.Errorf("convert %s: %w", src.Path(), err)
	}
	return r, nil
}

func convert(ctx context.Context, src *checkpoint.Catalog, dst string, o Options) (*Report, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	cfg, err := gemma.ReadConfig(src)
	if err != nil {
		return nil, err
	}
	r := &Report{}
	parts, err := r.plan(src, cfg, o.Types)
	if err != nil {
		return nil, err
	}
	out := output{dst: dst, parts: parts, splitPLE: o.SplitPLE, threads: o.Threads, progress: o.Progress}
	if r.Files, err = out.files(); err != nil {
		return nil, err
	}
	if err := refuseSource(src, r.Files); err != nil {
		return nil, err
	}
	if out.meta, err = r.metadata(src, cfg, o); err != nil {
		return nil, err
	}
	if err := out.write(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

// refuseSource keeps a conversion from replacing one of the files it reads.
func refuseSource(src *checkpoint.Catalog, files []string) error {
	for _, dst := range files {
		out, err := os.Stat(dst)
		if err != nil {
			continue // nothing there, or nothing that could be a source
		}
		for _, t := range src.Tensors() {
			path, _ := t.Location()
			if in, err := os.Stat(path); err == nil && os.SameFile(in, out) {
				return fmt.Errorf("write %s: it is the source", dst)
			}
		}
	}
	return nil
}

// plan lists the output's tensors in canonical order and notes what is left out.
func (r *Report) plan(src *checkpoint.Catalog, cfg *gemma.Config, types Types) ([]part, error) {
	sources, err := r.locate(src, cfg)
	if err != nil {
		return nil, err
	}
	var specs []gemma.TensorSpec
	for _, s := range sources {
		specs = append(specs, s.Spec)
	}
	c := newChooser(types, cfg.NumLayers, specs)
	var parts []part
	for _, s := range sources {
		p, err := sourcePart(s, r.choose(c, s.Spec, s.Type))
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
		if s.Spec.Key == gemma.KeyNorm {
			parts = append(parts, ropePart(cfg))
		}
	}
	r.count(parts)
	return parts, nil
}

// locate finds the model's tensors in the source and accounts for the others.
func (r *Report) locate(src *checkpoint.Catalog, cfg *gemma.Config) ([]*gemma.Source, error) {
	var sources []*gemma.Source
	used := map[*checkpoint.Tensor]bool{}
	for _, spec := range cfg.Tensors() {
		source, err := gemma.Locate(src, spec)
		if err != nil && spec.Optional {
			used[gemma.Find(src, spec)] = true
			r.note("unused tensor left out: %v", err)
			continue
		}
		if err != nil {
			return nil, err
		}
		if source == nil {
			continue
		}
		for _, t := range source.Tensors() {
			used[t] = true
		}
		sources = append(sources, source)
	}
	r.leftOver(src, used)
	return sources, nil
}

// choose picks a tensor's type and notes a fallback.
func (r *Report) choose(c *chooser, spec gemma.TensorSpec, src quant.Type) quant.Type {
	got, want := c.of(spec, src)
	if got != want {
		r.Fallbacks = append(r.Fallbacks, Fallback{Tensor: spec.GGUF, Want: want, Got: got})
	}
	return got
}

func (r *Report) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

func (r *Report) count(parts []part) {
	for i := range parts {
		r.Tensors++
		r.Values += int64(parts[i].rows) * int64(parts[i].rowLen)
		r.Bytes += parts[i].bytes()
	}
}

// leftOver accounts for the source's tensors that were not used.
func (r *Report) leftOver(src *checkpoint.Catalog, used map[*checkpoint.Tensor]bool) {
	var unknown []string
	for _, t := range src.Tensors() {
		switch role := gemma.Classify(t.Name); {
		case used[t] || t.Name == gemma.RopeFreqs:
		case role == gemma.RoleEncoder:
			r.Skipped++
		case role == gemma.RoleEmbedding:
			r.note("%s left out: it repeats the token embedding", t.Name)
		default:
			unknown = append(unknown, t.Name)
		}
	}
	if r.Skipped > 0 {
		r.note("tensors of the vision and audio parts left out: %d", r.Skipped)
	}
	if n := len(unknown); n > 0 {
		r.note("unknown tensors left out: %d, %s", n, strings.Join(unknown[:min(n, 5)], ", "))
	}
}

// sourcePart is a tensor of the source as part of the output, copied when its
// type stays and decoded and encoded otherwise.
func sourcePart(src *gemma.Source, typ quant.Type) (part, error) {
	p, err := newPart(src.Spec.GGUF, typ, src.Spec.Shape)
	if err != nil {
		return part{}, err
	}
	if typ == src.Type {
		p.fill = func(dst []byte, _ *scratch, row, _ int) error {
			_, err := src.ReadAt(dst, int64(row)*p.rowBytes)
			return err
		}
		return p, nil
	}
	srcRow, err := src.Type.Bytes(int64(p.rowLen))
	if err != nil {
		return part{}, fmt.Errorf("%s: %w", src.Spec, err)
	}
	p.fill = func(dst []byte, s *scratch, row, n int) error {
		raw, values := s.bytes(int(int64(n)*srcRow)), s.floats(n*p.rowLen)
		if _, err := src.ReadAt(raw, int64(row)*srcRow); err != nil {
			return err
		}
		err := quant.Decode(src.Type, values, raw)
		if err == nil {
			err = quant.Encode(typ, dst, values)
		}
		if err != nil {
			return fmt.Errorf("%s, rows from %d: %w", src.Spec, row, err)
		}
		return nil
	}
	return p, nil
}

// ropePart is rope_freqs.weight.
func ropePart(cfg *gemma.Config) part {
	freqs := ropeFreqs(cfg)
	p, err := newPart(gemma.RopeFreqs, quant.F32, []int{len(freqs)})
	if err != nil {
		panic("convert: internal error: " + err.Error())
	}
	p.fill = func(dst []byte, _ *scratch, _, _ int) error {
		for i, f := range freqs {
			binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(f))
		}
		return nil
	}
	return p
}

// metadata collects the output's keys.
func (r *Report) metadata(src *checkpoint.Catalog, cfg *gemma.Config, o Options) ([]keyValue, error) {
	name := o.Name
	if name == "" {
		name = modelName(src, cfg)
	}
	general := generalMetadata(name, o.Types, r.Values)
	rest := append(modelMetadata(cfg), tokenMetadata(cfg)...)
	for _, lost := range lossyFloats(cfg) {
		r.note("%s", lost)
	}
	for _, key := range cfg.Unknown {
		r.note("%s in the source's config is unknown and was ignored", key)
	}
	if src.Format() == "gguf" {
		return mergeMetadata(src.Meta(), general, rest, o.Name != ""), nil
	}
	vocabulary, note, err := folderVocabulary(src, cfg)
	if err != nil {
		return nil, err
	}
	if note != "" {
		r.note("%s", note)
	}
	return append(append(general, rest...), vocabulary...), nil
}

// modelName is the published name where the shape is known, else the name of
// the source's file or folder.
func modelName(src *checkpoint.Catalog, cfg *gemma.Config) string {
	if cfg.Name != "" {
		return "Gemma 4 " + cfg.Name
	}
	path, err := filepath.Abs(src.Path())
	if err != nil {
		path = src.Path()
	}
	base := filepath.Base(path)
	if ext := filepath.Ext(base); ext == ".gguf" || ext == ".safetensors" {
		base = strings.TrimSuffix(base, ext)
	}
	return base
}
