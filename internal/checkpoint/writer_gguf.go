package checkpoint

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"strings"

	"github.com/plume-run/plume/internal/quant"
)

// ggufMaxWrittenName is what other readers accept of a tensor name, in bytes.
const ggufMaxWrittenName = 63

// WriterOptions sets up a [GGUFWriter]; the zero value is the default.
type WriterOptions struct {
	// Alignment of the tensor data in bytes, a power of two; 0 means 32. Only
	// another value than 32 is stored, as general.alignment.
	Alignment uint32

	// Part, when set, makes the file one of a split model. Its name is the caller's
	// business, see PartName.
	Part *Part
}

// GGUFWriter writes a GGUF version 3 file front to back: [GGUFWriter.Set] and
// [GGUFWriter.Declare] first, in any order, then the tensors' bytes in the
// order of declaration, then [GGUFWriter.Close]. It holds the metadata and
// about 1 MiB of data.
//
// The file is PATH.part until Close. Any error ends the writer: the part file
// is removed and later calls return the same error. A GGUFWriter belongs to one
// goroutine.
type GGUFWriter struct {
	stream  *tensorStream
	keys    map[string]bool
	values  []byte // encoded keys and values
	infos   []byte // encoded tensor descriptions
	dataEnd int64  // padded length of the tensors declared so far
}

// CreateGGUF begins a file at path, replacing what is there when it is closed.
func CreateGGUF(path string, opt WriterOptions) (*GGUFWriter, error) {
	align := opt.Alignment
	if align == 0 {
		align = ggufDefaultAlign
	}
	if bits.OnesCount32(align) != 1 {
		return nil, fmt.Errorf("create %s: alignment %d is not a power of two", path, align)
	}
	stream, err := newTensorStream(path)
	if err != nil {
		return nil, err
	}
	w := &GGUFWriter{stream: stream, keys: map[string]bool{}}
	stream.align, stream.header = int64(align), w.header
	if align != ggufDefaultAlign {
		w.appendKey(ggufAlignmentKey, align)
	}
	if opt.Part != nil {
		opt.Part.set(w)
	}
	return w, nil
}

// Set stores a metadata value: a uint8 … uint64, int8 … int64, float32, float64,
// bool or string, or a slice of one of them. Keys are stored in the order of
// the calls; general.architecture should be the first. Setting a key twice,
// general.alignment or a split.* key (see [WriterOptions]) is an error.
func (w *GGUFWriter) Set(key string, value any) error {
	if err := w.stream.mayDescribe("key " + key); err != nil {
		return err
	}
	reason := badName(key)
	switch {
	case reason != "":
	case key == ggufAlignmentKey:
		reason = "is set by WriterOptions"
	case strings.HasPrefix(key, splitPrefix):
		reason = "is set by WriterOptions"
	case w.keys[key]:
		reason = "is set twice"
	case len(w.keys) >= maxKeys:
		reason = "is one too many"
	case !w.appendKey(key, value):
		reason = fmt.Sprintf("has a value of type %T", value)
	}
	if reason != "" {
		return w.stream.fail(fmt.Errorf("key %q %s", key, reason))
	}
	return nil
}

// Declare announces a tensor. shape is row-major, outermost dimension first, as
// in [Tensor]; the last dimension must be whole blocks of t. Names are at most
// 63 bytes, ranks at most 4, no dimension is 0: other readers demand it.
func (w *GGUFWriter) Declare(name string, t quant.Type, shape []int) error {
	if err := w.stream.mayDescribe("tensor " + name); err != nil {
		return err
	}
	bytes, err := ggufBytes(t, shape)
	switch {
	case err != nil:
	case len(name) > ggufMaxWrittenName:
		err = fmt.Errorf("name is longer than %d bytes", ggufMaxWrittenName)
	case bytes > math.MaxInt64/2-w.stream.align-w.dataEnd:
		err = errors.New("file is longer than 2^62 bytes")
	}
	if err != nil {
		return w.stream.fail(fmt.Errorf("tensor %q: %w", name, err))
	}
	if err := w.stream.declare(name, bytes); err != nil {
		return err
	}
	w.infos = appendText(w.infos, name)
	w.infos = binary.LittleEndian.AppendUint32(w.infos, uint32(len(shape)))
	for i := range shape {
		w.infos = binary.LittleEndian.AppendUint64(w.infos, uint64(shape[len(shape)-1-i]))
	}
	w.infos = binary.LittleEndian.AppendUint32(w.infos, uint32(t))
	w.infos = binary.LittleEndian.AppendUint64(w.infos, uint64(w.dataEnd))
	w.dataEnd += alignUp(bytes, w.stream.align)
	return nil
}

// Write stores the bytes of the next declared tensor, which must be name, from
// r. r must end after exactly the declared number of bytes.
func (w *GGUFWriter) Write(name string, r io.Reader) error { return w.stream.write(name, r) }

// WriteFunc is [GGUFWriter.Write] for data that is made on the way: fn writes
// exactly the declared number of bytes, in pieces of any length.
func (w *GGUFWriter) WriteFunc(name string, fn func(io.Writer) error) error {
	return w.stream.writeFunc(name, fn)
}

// Finish completes the file and waits until it is on the disk. It returns the file's name
// in the making, which is left for Close to change, or for Abort to remove. It is an error
// if a declared tensor was not written. Finishing again does nothing.
func (w *GGUFWriter) Finish() (path string, err error) {
	return w.stream.part.f.Name(), w.stream.finish()
}

// Close finishes the file, if that was not done, and gives it its name. Closing again does
// nothing.
func (w *GGUFWriter) Close() error { return w.stream.close() }

// Abort removes the unfinished file. After Close or an error it does nothing,
// so it can be deferred.
func (w *GGUFWriter) Abort() { w.stream.abort() }

// header writes everything in front of the data.
func (w *GGUFWriter) header(to io.Writer) error {
	b := []byte(ggufMagic)
	b = binary.LittleEndian.AppendUint32(b, 3)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(w.stream.slots)))
	b = binary.LittleEndian.AppendUint64(b, uint64(len(w.keys)))
	if n := len(b) + len(w.values) + len(w.infos); n > maxGGUFHeader || len(w.stream.slots) > maxTensors {
		return fmt.Errorf("header of %d bytes for %d tensors, want at most %d for %d", n, len(w.stream.slots), maxGGUFHeader, maxTensors)
	}
	for _, part := range [][]byte{b, w.values, w.infos} {
		if _, err := to.Write(part); err != nil {
			return err
		}
	}
	w.values, w.infos = nil, nil
	return nil
}

// ggufBytes returns the stored length of a tensor.
func ggufBytes(t quant.Type, shape []int) (int64, error) {
	if len(shape) > ggufMaxRank {
		return 0, fmt.Errorf("%d dimensions, want at most %d", len(shape), ggufMaxRank)
	}
	rows, rowLen := uint64(1), int64(1)
	for i, dim := range shape {
		if dim <= 0 {
			return 0, fmt.Errorf("shape %v has a dimension that is not positive", shape)
		}
		if i == len(shape)-1 {
			rowLen = int64(dim)
			break
		}
		high, low := bits.Mul64(rows, uint64(dim))
		if high != 0 {
			return 0, fmt.Errorf("shape %v has more than 2^63 values", shape)
		}
		rows = low
	}
	rowBytes, err := t.Bytes(rowLen)
	if err != nil {
		return 0, err
	}
	high, total := bits.Mul64(rows, uint64(rowBytes))
	if high != 0 || total > math.MaxInt64 {
		return 0, fmt.Errorf("shape %v of %s takes more than 2^63 bytes", shape, t)
	}
	return int64(total), nil
}

// appendKey encodes key and value; false when no kind fits the value.
func (w *GGUFWriter) appendKey(key string, value any) bool {
	encoded, ok := appendValue(appendText(nil, key), value)
	if ok {
		w.values = append(w.values, encoded...)
		w.keys[key] = true
	}
	return ok
}

func appendText(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint64(b, uint64(len(s))), s...)
}

// kindOf returns the kind of a scalar, false for other values.
func kindOf(value any) (uint32, bool) {
	switch value.(type) {
	case uint8:
		return kindUint8, true
	case int8:
		return kindInt8, true
	case uint16:
		return kindUint16, true
	case int16:
		return kindInt16, true
	case uint32:
		return kindUint32, true
	case int32:
		return kindInt32, true
	case uint64:
		return kindUint64, true
	case int64:
		return kindInt64, true
	case float32:
		return kindFloat32, true
	case float64:
		return kindFloat64, true
	case bool:
		return kindBool, true
	case string:
		return kindString, true
	}
	return 0, false
}

// appendValue encodes kind and value of anything that Set takes.
func appendValue(b []byte, value any) ([]byte, bool) {
	if kind, ok := kindOf(value); ok {
		return appendScalar(binary.LittleEndian.AppendUint32(b, kind), value), true
	}
	switch list := value.(type) {
	case []uint8:
		return appendList(b, list), true
	case []int8:
		return appendList(b, list), true
	case []uint16:
		return appendList(b, list), true
	case []int16:
		return appendList(b, list), true
	case []uint32:
		return appendList(b, list), true
	case []int32:
		return appendList(b, list), true
	case []uint64:
		return appendList(b, list), true
	case []int64:
		return appendList(b, list), true
	case []float32:
		return appendList(b, list), true
	case []float64:
		return appendList(b, list), true
	case []bool:
		return appendList(b, list), true
	case []string:
		return appendList(b, list), true
	}
	return nil, false
}

// appendList encodes an array.
func appendList[T any](b []byte, list []T) []byte {
	var zero T
	kind, ok := kindOf(zero)
	if !ok {
		panic(fmt.Sprintf("checkpoint: internal error: array of %T", zero))
	}
	b = binary.LittleEndian.AppendUint32(b, kindArray)
	b = binary.LittleEndian.AppendUint32(b, kind)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(list)))
	for _, v := range list {
		b = appendScalar(b, v)
	}
	return b
}

// appendScalar encodes a value that kindOf knows.
func appendScalar(b []byte, value any) []byte {
	if s, ok := value.(string); ok {
		return appendText(b, s)
	}
	b, err := binary.Append(b, binary.LittleEndian, value)
	if err != nil {
		panic("checkpoint: internal error: " + err.Error())
	}
	return b
}
