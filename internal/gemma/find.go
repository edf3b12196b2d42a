package gemma

import (
	"cmp"
	"fmt"
	"io"
	"slices"

	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/quant"
)

// Find returns the tensor that holds all of spec, under whatever prefix and
// alternative name the checkpoint uses, or nil. Its shape is not checked. A
// model whose experts are stored in parts has no such tensor for them, see
// [Locate].
func Find(cat *checkpoint.Catalog, spec TensorSpec) *checkpoint.Tensor {
	if cat.Format() == "gguf" {
		return cat.Lookup(spec.GGUF)
	}
	for _, name := range append([]string{spec.HF}, spec.aliases()...) {
		if t := lookupPrefixed(cat, name); t != nil {
			return t
		}
	}
	return nil
}

func lookupPrefixed(cat *checkpoint.Catalog, name string) *checkpoint.Tensor {
	for _, p := range prefixes {
		if t := cat.Lookup(p + name); t != nil {
			return t
		}
	}
	return nil
}

// hfAliases are other names that re-exports give a tensor of a layer.
var hfAliases = map[Key][]string{
	KeyLayerScalar:   {"layer_scalar.weight"},
	KeyRouterScale:   {"router.scale.weight"},
	KeyExpertScale:   {"router.per_expert_scale.weight", "moe.per_expert_scale", "moe.per_expert_scale.weight"},
	KeyExpertsGateUp: {"experts.gate_up_proj.weight", "moe.gate_up_proj", "moe.gate_up_proj.weight"},
	KeyExpertsDown: {"experts.down_proj.weight", "moe.down_proj", "moe.down_proj.weight",
		"experts.switch_glu.down_proj.weight", "switch_glu.down_proj.weight"},
}

func (s TensorSpec) aliases() []string {
	var out []string
	for _, name := range hfAliases[s.Key] {
		out = append(out, fmt.Sprintf("layers.%d.%s", s.Layer, name))
	}
	return out
}

// Source is one tensor of the model as a checkpoint stores it: the bytes of
// its row-major whole, which may lie in several stored tensors (experts kept
// apart, gate and up kept apart). It is an [io.ReaderAt] over Bytes bytes and
// as safe for concurrent use as the catalog it came from.
type Source struct {
	Spec  TensorSpec
	Type  quant.Type
	Bytes int64

	pieces []piece
}

// piece is a stretch of one stored tensor: bytes from off. start is where it
// begins in the whole.
type piece struct {
	tensor        *checkpoint.Tensor
	off, n, start int64
}

// Locate finds spec's tensor and checks its shape and type. An optional tensor
// that is absent gives nil without an error. A tensor that is missing or
// contradicts the config is checkpoint.ErrCorrupt, one of a type that cannot be
// read checkpoint.ErrUnsupported. Messages name the tensor as spec does, so
// that a caller only adds what it was doing.
func Locate(cat *checkpoint.Catalog, spec TensorSpec) (*Source, error) {
	src, err := locate(cat, spec)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", spec, err)
	}
	return src, nil
}

// markedError is an error of one of checkpoint's classes.
type markedError struct {
	text  string
	class error
}

func (e markedError) Error() string { return e.text }
func (e markedError) Unwrap() error { return e.class }

func corruptf(format string, args ...any) error {
	return markedError{fmt.Sprintf(format, args...), checkpoint.ErrCorrupt}
}

func locate(cat *checkpoint.Catalog, spec TensorSpec) (*Source, error) {
	t := Find(cat, spec)
	if t == nil {
		tensors, err := expertParts(cat, spec)
		switch {
		case err != nil:
			return nil, err
		case tensors != nil:
			return assemble(spec, tensors)
		case spec.Optional:
			return nil, nil
		case cat.Format() == "gguf":
			return nil, corruptf("no tensor %s", spec.GGUF)
		}
		return nil, corruptf("no tensor %s", spec.HF)
	}
	return assemble(spec, [][]*checkpoint.Tensor{{t}})
}

// expertParts looks for expert matrices stored apart. The result is a grid: its
// lines go along the experts (one line when a tensor holds them all), its
// columns along the rows of one expert (gate, then up). nil when there are none.
func expertParts(cat *checkpoint.Catalog, spec TensorSpec) ([][]*checkpoint.Tensor, error) {
	var halves []string
	switch spec.Key {
	case KeyExpertsGateUp:
		halves = []string{"gate_proj", "up_proj"}
	case KeyExpertsDown:
		halves = []string{"down_proj"}
	default:
		return nil, nil
	}
	if cat.Format() == "gguf" {
		if spec.Key != KeyExpertsGateUp {
			return nil, nil
		}
		return completeGrid([][]*checkpoint.Tensor{{
			cat.Lookup(fmt.Sprintf("blk.%d.ffn_gate_exps.weight", spec.Layer)),
			cat.Lookup(fmt.Sprintf("blk.%d.ffn_up_exps.weight", spec.Layer)),
		}})
	}
	layer := fmt.Sprintf("layers.%d.", spec.Layer)
	for _, base := range []string{"experts.", "moe.", "experts.switch_glu.", "switch_glu."} {
		for _, suffix := range []string{"", ".weight"} {
			line := lookupLine(cat, layer+base, halves, suffix)
			if grid, err := completeGrid([][]*checkpoint.Tensor{line}); grid != nil || err != nil {
				return grid, err
			}
		}
	}
	for _, names := range [][]string{halves, {"gate_up_proj"}} {
		var grid [][]*checkpoint.Tensor
		for e := range spec.Shape[0] {
			grid = append(grid, lookupLine(cat, fmt.Sprintf("%sexperts.%d.", layer, e), names, ".weight"))
		}
		if grid, err := completeGrid(grid); grid != nil || err != nil {
			return grid, err
		}
		if spec.Key != KeyExpertsGateUp {
			break
		}
	}
	return nil, nil
}

func lookupLine(cat *checkpoint.Catalog, base string, names []string, suffix string) []*checkpoint.Tensor {
	var line []*checkpoint.Tensor
	for _, n := range names {
		line = append(line, lookupPrefixed(cat, base+n+suffix))
	}
	return line
}

// completeGrid returns grid when nothing in it is nil, nil when everything is.
func completeGrid(grid [][]*checkpoint.Tensor) ([][]*checkpoint.Tensor, error) {
	found, missing := 0, 0
	for _, line := range grid {
		for _, t := range line {
			if t != nil {
				found++
			} else {
				missing++
			}
		}
	}
	if found > 0 && missing > 0 {
		return nil, corruptf("%d of its %d parts are missing", missing, found+missing)
	}
	if found == 0 {
		return nil, nil
	}
	return grid, nil
}

// assemble checks the parts against spec and lays them out in row-major order:
// expert by expert, and within an expert part by part.
func assemble(spec TensorSpec, grid [][]*checkpoint.Tensor) (*Source, error) {
	first := grid[0][0]
	src := &Source{Spec: spec, Type: first.Type}
	if !first.Type.Decodable() {
		return nil, markedError{fmt.Sprintf("type %s is not supported", first.TypeName), checkpoint.ErrUnsupported}
	}
	want := spec.Shape
	experts := 1 // of which every line holds one stretch per part
	if parts := len(grid) * len(grid[0]); parts > 1 {
		want = slices.Clone(spec.Shape)
		want[1] /= len(grid[0])
		if len(grid) > 1 {
			want = want[1:]
		} else {
			experts = spec.Shape[0]
		}
	}
	for _, line := range grid {
		for e := range experts {
			for _, t := range line {
				if !sameShape(t.Shape, want) {
					return nil, corruptf("shape %v, want %v (tensor %s)", t.Shape, want, t.Name)
				}
				if t.Type != first.Type {
					return nil, corruptf("parts of type %s and %s", first.TypeName, t.TypeName)
				}
				n := t.Bytes / int64(experts)
				src.pieces = append(src.pieces, piece{tensor: t, off: int64(e) * n, n: n, start: src.Bytes})
				src.Bytes += n
			}
		}
	}
	if whole, err := src.Type.Bytes(int64(spec.RowLen())); err != nil || whole*(spec.Values()/int64(spec.RowLen())) != src.Bytes {
		return nil, corruptf("%s rows of %d values are not whole blocks", first.TypeName, spec.RowLen())
	}
	return src, nil
}

// sameShape compares shapes, leading axes of length 1 aside: a scalar may be
// stored as [] or [1], a vector as [n] or [1, n].
func sameShape(a, b []int) bool {
	return slices.Equal(trimOnes(a), trimOnes(b))
}

func trimOnes(shape []int) []int {
	for len(shape) > 0 && shape[0] == 1 {
		shape = shape[1:]
	}
	return shape
}

// ReadAt fills p from byte off of the tensor, or fails.
func (s *Source) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off > s.Bytes || int64(len(p)) > s.Bytes-off {
		return 0, fmt.Errorf("read %s: %d bytes at %d of %d: %w", s.Spec, len(p), off, s.Bytes, io.ErrUnexpectedEOF)
	}
	done := 0
	for i := s.pieceAt(off); done < len(p); i++ {
		pc := s.pieces[i]
		skip := off + int64(done) - pc.start
		n := int(min(pc.n-skip, int64(len(p)-done)))
		if _, err := pc.tensor.ReadAt(p[done:done+n], pc.off+skip); err != nil {
			return 0, err
		}
		done += n
	}
	return done, nil
}

// ReadDirect is ReadAt of n bytes that leaves nothing in the page cache, see
// checkpoint.Tensor.ReadDirect.
func (s *Source) ReadDirect(buf []byte, off int64, n int) ([]byte, error) {
	if off >= 0 && off < s.Bytes {
		if pc := s.pieces[s.pieceAt(off)]; int64(n) <= pc.n-(off-pc.start) {
			return pc.tensor.ReadDirect(buf, pc.off+off-pc.start, n)
		}
	}
	_, err := s.ReadAt(buf[:n], off)
	s.Drop(off, int64(n))
	return buf[:n], err
}

// Cached is checkpoint.Tensor.Cached; never for bytes of several stored tensors.
func (s *Source) Cached(off int64, n int) bool {
	if off < 0 || off >= s.Bytes {
		return false
	}
	pc := s.pieces[s.pieceAt(off)]
	return int64(n) <= pc.n-(off-pc.start) && pc.tensor.Cached(pc.off+off-pc.start, n)
}

// Direct is checkpoint.Tensor.Direct.
func (s *Source) Direct() bool { return s.pieces[0].tensor.Direct() }

// pieceAt returns the number of the piece that byte off lies in.
func (s *Source) pieceAt(off int64) int {
	i, found := slices.BinarySearchFunc(s.pieces, off, func(pc piece, off int64) int { return cmp.Compare(pc.start, off) })
	if !found {
		i--
	}
	return i
}

// Drop tells the system that n bytes from off on will not be read again soon, see
// checkpoint.Tensor.Drop.
func (s *Source) Drop(off, n int64) {
	if n <= 0 || off < 0 || off > s.Bytes-n {
		return
	}
	for i := s.pieceAt(off); n > 0; i++ {
		pc := s.pieces[i]
		skip := off - pc.start
		m := min(pc.n-skip, n)
		pc.tensor.Drop(pc.off+skip, m)
		off, n = off+m, n-m
	}
}

// Tensors returns the stored tensors that s is made of, in order, each once.
func (s *Source) Tensors() []*checkpoint.Tensor {
	var out []*checkpoint.Tensor
	for _, p := range s.pieces {
		if !slices.Contains(out, p.tensor) {
			out = append(out, p.tensor)
		}
	}
	return out
}
