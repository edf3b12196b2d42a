package checkpoint

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"

	"github.com/plume-run/plume/internal/quant"
)

// ErrOutside is what reading the tensor of a part that is not here comes to.
var ErrOutside = errors.New("the file is not here")

// Keys in the first part of a split GGUF model that describe the last part, which then
// holds one tensor and may be somewhere else.
const (
	outsideNameKey    = splitPrefix + "outside.name"
	outsideTypeKey    = splitPrefix + "outside.type"
	outsideShapeKey   = splitPrefix + "outside.shape" // as in Tensor
	outsideOffsetKey  = splitPrefix + "outside.offset"
	outsideFileKey    = splitPrefix + "outside.file_bytes"
	outsideSamplesKey = splitPrefix + "outside.samples"
)

// Outside describes a tensor that has the last part of a split model to itself, so that the
// model opens without that part and knows it, or a copy of it, wherever it is.
type Outside struct {
	Name      string
	Type      quant.Type
	Shape     []int  // as in Tensor
	Offset    int64  // of the tensor in the part
	FileBytes int64  // of the part
	Samples   string // of the tensor, see Samples
}

// outside reads the description in f; nil without one.
func (f *ggufFile) outside() (*Outside, error) {
	if f.meta.Raw(outsideNameKey) == nil {
		return nil, nil
	}
	bad := func(key string) error {
		return corrupt(f.src.path, "", -1, "%s is %v", key, f.meta.Raw(key))
	}
	o := &Outside{}
	var ok bool
	if o.Name, ok = f.meta.String(outsideNameKey); !ok || badName(o.Name) != "" {
		return nil, bad(outsideNameKey)
	}
	typ, ok := f.meta.Uint(outsideTypeKey)
	if o.Type = quant.Type(typ); !ok || typ > math.MaxUint32 {
		return nil, bad(outsideTypeKey)
	}
	shape, ok := f.meta.Ints(outsideShapeKey)
	for _, n := range shape {
		ok = ok && n <= math.MaxInt
		o.Shape = append(o.Shape, int(n))
	}
	bytes, err := ggufBytes(o.Type, o.Shape)
	if !ok || err != nil {
		return nil, bad(outsideShapeKey)
	}
	if o.Offset, ok = f.meta.Int(outsideOffsetKey); !ok || o.Offset < 0 {
		return nil, bad(outsideOffsetKey)
	}
	if o.FileBytes, ok = f.meta.Int(outsideFileKey); !ok || o.FileBytes < 0 || bytes > o.FileBytes-o.Offset {
		return nil, bad(outsideFileKey)
	}
	if o.Samples, ok = f.meta.String(outsideSamplesKey); !ok || len(o.Samples) != 2*sha256.Size {
		return nil, bad(outsideSamplesKey)
	}
	return o, nil
}

// DescribePart is what a first part says of the last one, which is at path and has one tensor.
func DescribePart(path string) (*Outside, error) {
	src, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer src.close()
	f, err := parseGGUF(src)
	if err != nil {
		return nil, err
	}
	return f.describe()
}

// describe is what a first part says of f, the last one.
func (f *ggufFile) describe() (*Outside, error) {
	if len(f.tensors) != 1 {
		return nil, corrupt(f.src.path, "", -1, "part with a table to itself has %d tensors", len(f.tensors))
	}
	t := f.tensors[0]
	o := &Outside{Name: t.Name, Type: t.Type, Shape: t.Shape, Offset: t.off, FileBytes: f.src.sizeBytes}
	var err error
	o.Samples, err = Samples(t, t.Bytes)
	return o, err
}

// checkLast compares the last part with what the first one, f, says of it, if anything:
// the parts of two conversions may look alike, and their model would answer nonsense.
func (f *ggufFile) checkLast(last *ggufFile) error {
	want, err := f.outside()
	if err != nil || want == nil {
		return err
	}
	got, err := last.describe()
	if err != nil {
		return err
	}
	other := ""
	switch {
	case got.FileBytes != want.FileBytes:
		other = fmt.Sprintf("it has %d bytes, want %d", got.FileBytes, want.FileBytes)
	case got.Name != want.Name || got.Type != want.Type || got.Offset != want.Offset || !slices.Equal(got.Shape, want.Shape):
		other = fmt.Sprintf("it has %s %s %v at byte %d, want %s %s %v at %d",
			got.Name, got.Type, got.Shape, got.Offset, want.Name, want.Type, want.Shape, want.Offset)
	case got.Samples != want.Samples:
		other = "its values are others"
	default:
		return nil
	}
	return corrupt(last.src.path, "", -1, "file is not the one that %s was written with: %s; put that one here, or write both anew", f.src.path, other)
}

// away is a tensor that is described and not here.
type away struct {
	*Outside
	tensor *Tensor
}

// away is the tensor of the last part, which is missing at path, if f describes it; else
// missing, the error, stands.
func (f *ggufFile) away(path string, missing error) (*away, error) {
	o, err := f.outside()
	switch {
	case err != nil:
		return nil, err
	case o == nil:
		return nil, missing
	}
	return &away{o, o.at(path)}, nil
}

// at is the tensor in a part at path that is not there.
func (o *Outside) at(path string) *Tensor {
	t := &Tensor{Name: o.Name, Type: o.Type, TypeName: o.Type.String(), Shape: o.Shape, values: 1,
		src: &source{path: path, r: notHere{}, sizeBytes: o.FileBytes}, off: o.Offset}
	for _, n := range o.Shape {
		t.values *= int64(n)
	}
	t.Bytes, _ = ggufBytes(o.Type, o.Shape) // outside has seen that it has no error
	return t
}

// notHere is the file of a part that is not here.
type notHere struct{}

func (notHere) ReadAt([]byte, int64) (int, error) { return 0, ErrOutside }

// What Samples reads: asked for at once, so that far away it takes one round trip.
const (
	outsideSamples     = 16
	outsideSampleBytes = 4096
)

// Samples is the SHA-256 of 16 stretches of 4096 bytes, spread evenly over the first n bytes
// of r from the first to the last of them (all of r, 16 times, where it is shorter), in
// hexadecimal: what tells two models' tensors of one size apart.
func Samples(r io.ReaderAt, n int64) (string, error) {
	var (
		wg     sync.WaitGroup
		pieces [outsideSamples][]byte
		errs   [outsideSamples]error
	)
	last := max(0, n-outsideSampleBytes)
	for i := range pieces {
		wg.Go(func() {
			p := make([]byte, min(outsideSampleBytes, n))
			off := last / (outsideSamples - 1) * int64(i)
			if i == outsideSamples-1 {
				off = last
			}
			if got, err := r.ReadAt(p, off); got < len(p) {
				errs[i] = fmt.Errorf("sample %d bytes at %d: %w", len(p), off, err)
			}
			pieces[i] = p
		})
	}
	wg.Wait()
	sum := sha256.New()
	for i, p := range pieces {
		if errs[i] != nil {
			return "", errs[i]
		}
		sum.Write(p)
	}
	return fmt.Sprintf("%x", sum.Sum(nil)), nil
}

// Part is the place of a file in a split model.
type Part struct {
	No, Count int // No counts from 0
	Tensors   int // of the whole model
	Outside   *Outside
}

// PartName is the file name of part no, from 0, of a split model called prefix.
func PartName(prefix string, no, count int) string {
	return fmt.Sprintf("%s-%05d-of-%05d%s", prefix, no+1, count, ggufSuffix)
}

// set writes the keys of a part.
func (p *Part) set(w *GGUFWriter) {
	w.appendKey(splitNoKey, uint16(p.No))
	w.appendKey(splitCountKey, uint16(p.Count))
	w.appendKey(splitTensorsKey, int32(p.Tensors))
	if o := p.Outside; o != nil {
		w.appendKey(outsideNameKey, o.Name)
		w.appendKey(outsideTypeKey, uint32(o.Type))
		shape := make([]int64, len(o.Shape))
		for i, n := range o.Shape {
			shape[i] = int64(n)
		}
		w.appendKey(outsideShapeKey, shape)
		w.appendKey(outsideOffsetKey, uint64(o.Offset))
		w.appendKey(outsideFileKey, uint64(o.FileBytes))
		w.appendKey(outsideSamplesKey, o.Samples)
	}
}
