package checkpoint

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"math/bits"
	"slices"

	"github.com/plume-run/plume/internal/quant"
)

// safetensorsNames are the dtypes that can be written.
var safetensorsNames = map[quant.Type]string{
	quant.F64: "F64", quant.F32: "F32", quant.F16: "F16", quant.BF16: "BF16",
	quant.I64: "I64", quant.I32: "I32", quant.I16: "I16", quant.I8: "I8",
}

// SafetensorsWriter writes a safetensors file front to back, in the manner of
// [GGUFWriter]: declare all tensors, write their bytes in the same order,
// close. Tensors lie in the order of declaration; whoever mixes value widths
// and wants each tensor aligned declares the widest first.
type SafetensorsWriter struct {
	stream   *tensorStream
	metadata map[string]string
	entries  []byte // encoded tensor entries, each led by a comma
	dataEnd  int64  // length of the tensors declared so far
}

// CreateSafetensors begins a file at path, replacing what is there when it is
// closed.
func CreateSafetensors(path string) (*SafetensorsWriter, error) {
	stream, err := newTensorStream(path)
	if err != nil {
		return nil, err
	}
	w := &SafetensorsWriter{stream: stream, metadata: map[string]string{}}
	stream.header = w.header
	return w, nil
}

// SetMetadata stores a string in the header's __metadata__ entry, where the
// Hugging Face tools expect "format" to be "pt". The last value of a key counts.
func (w *SafetensorsWriter) SetMetadata(key, value string) error {
	if err := w.stream.mayDescribe("metadata " + key); err != nil {
		return err
	}
	w.metadata[key] = value
	return nil
}

// Declare announces a tensor of a plain type (F64, F32, F16, BF16, I64, I32,
// I16, I8). shape is row-major, outermost dimension first; dimensions may be 0.
func (w *SafetensorsWriter) Declare(name string, t quant.Type, shape []int) error {
	if err := w.stream.mayDescribe("tensor " + name); err != nil {
		return err
	}
	dtype, bytes, err := safetensorsBytes(t, shape)
	switch {
	case err != nil:
	case name == metadataEntry:
		err = errors.New("name is reserved")
	case bytes > math.MaxInt64/2-w.dataEnd:
		err = errors.New("file is longer than 2^62 bytes")
	}
	if err != nil {
		return w.stream.fail(fmt.Errorf("tensor %q: %w", name, err))
	}
	if err := w.stream.declare(name, bytes); err != nil {
		return err
	}
	w.entries = append(w.entries, ',')
	w.entries = appendJSON(w.entries, name)
	w.entries = append(w.entries, ':')
	w.entries = appendJSON(w.entries, struct {
		DType   string   `json:"dtype"`
		Shape   []int    `json:"shape"`
		Offsets [2]int64 `json:"data_offsets"`
	}{dtype, append([]int{}, shape...), [2]int64{w.dataEnd, w.dataEnd + bytes}})
	w.dataEnd += bytes
	return nil
}

// Write stores the bytes of the next declared tensor, which must be name, from
// r. r must end after exactly the declared number of bytes.
func (w *SafetensorsWriter) Write(name string, r io.Reader) error { return w.stream.write(name, r) }

// WriteFunc is [SafetensorsWriter.Write] for data that is made on the way: fn
// writes exactly the declared number of bytes, in pieces of any length.
func (w *SafetensorsWriter) WriteFunc(name string, fn func(io.Writer) error) error {
	return w.stream.writeFunc(name, fn)
}

// Close completes the file, waits until it is on the disk and gives it its
// name. It is an error if a declared tensor was not written. Closing again does
// nothing.
func (w *SafetensorsWriter) Close() error { return w.stream.close() }

// Abort removes the unfinished file. After Close or an error it does nothing,
// so it can be deferred.
func (w *SafetensorsWriter) Abort() { w.stream.abort() }

// header writes length and JSON, padded so that the data begins at a multiple
// of 8.
func (w *SafetensorsWriter) header(to io.Writer) error {
	b := []byte{'{'}
	if len(w.metadata) > 0 {
		b = append(b, `"`+metadataEntry+`":{`...)
		for i, key := range slices.Sorted(maps.Keys(w.metadata)) {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendJSON(b, key), ':')
			b = appendJSON(b, w.metadata[key])
		}
		b = append(b, '}')
	} else {
		w.entries = bytes.TrimPrefix(w.entries, []byte{','})
	}
	b = append(append(b, w.entries...), '}')
	for len(b)%8 != 0 {
		b = append(b, ' ')
	}
	if len(b) > maxSafetensorsHeader || len(w.stream.slots) > maxTensors {
		return fmt.Errorf("header of %d bytes for %d tensors, want at most %d for %d", len(b), len(w.stream.slots), maxSafetensorsHeader, maxTensors)
	}
	if _, err := to.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(b)))); err != nil {
		return err
	}
	_, err := to.Write(b)
	return err
}

// safetensorsBytes returns dtype and stored length of a tensor.
func safetensorsBytes(t quant.Type, shape []int) (dtype string, n int64, err error) {
	dtype, ok := safetensorsNames[t]
	switch {
	case !ok:
		return "", 0, fmt.Errorf("safetensors cannot hold %s", t)
	case len(shape) > maxSafetensorsRank:
		return "", 0, fmt.Errorf("%d dimensions, want at most %d", len(shape), maxSafetensorsRank)
	}
	total := uint64(t.BlockBytes())
	for _, dim := range shape {
		high, low := bits.Mul64(total, uint64(dim))
		if dim < 0 || high != 0 || low > math.MaxInt64 {
			return "", 0, fmt.Errorf("shape %v of %s is negative or takes more than 2^63 bytes", shape, t)
		}
		total = low
	}
	return dtype, int64(total), nil
}

// appendJSON appends v, a string or struct of plain fields, as JSON. Invalid
// UTF-8 becomes U+FFFD.
func appendJSON(b []byte, v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic("checkpoint: internal error: " + err.Error())
	}
	return append(b, text...)
}
