package checkpoint

import (
	"errors"
	"fmt"

	"github.com/plume-run/plume/internal/quant"
)

// ErrNoBytes is what reading a tensor of a described catalog comes to.
var ErrNoBytes = errors.New("nothing is stored: the checkpoint is only described")

// Described is a tensor of a checkpoint that does not exist.
type Described struct {
	Name  string
	Type  quant.Type
	Shape []int // row-major, outermost dimension first
}

// Describe returns a GGUF catalog of tensors that lie nowhere, for questions that headers
// answer: what a model would take. Reading them is ErrNoBytes. name stands for the path in
// messages. Errors: a shape that is not whole blocks of its type, a name that occurs twice.
func Describe(name string, tensors []Described) (*Catalog, error) {
	src := &source{path: name, r: noBytes{}}
	list := make([]*Tensor, len(tensors))
	for i, d := range tensors {
		bytes, err := ggufBytes(d.Type, d.Shape)
		if err != nil {
			return nil, fmt.Errorf("describe tensor %q: %w", d.Name, err)
		}
		values := int64(1)
		for _, n := range d.Shape {
			values *= int64(n)
		}
		list[i] = &Tensor{
			Name: d.Name, Type: d.Type, TypeName: d.Type.String(), Shape: d.Shape,
			Bytes: bytes, values: values, src: src, off: src.sizeBytes,
		}
		src.sizeBytes += bytes
	}
	return newCatalog(name, formatGGUF, []*source{src}, list)
}

// noBytes is the file of a described catalog.
type noBytes struct{}

func (noBytes) ReadAt([]byte, int64) (int, error) { return 0, ErrNoBytes }
