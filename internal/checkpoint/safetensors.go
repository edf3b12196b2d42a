package checkpoint

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/plume-run/plume/internal/quant"
)

// A safetensors file:
//
//	u64 little-endian header length N
//	N bytes of JSON, padded with spaces: { NAME: {"dtype": "BF16",
//	    "shape": [2, 3], "data_offsets": [begin, end]}, …,
//	    "__metadata__": {string: string, …} }
//	data: tensor bytes at [begin, end) from here, without gaps or overlaps
const (
	maxSafetensorsHeader = 100_000_000 // the format's own bound
	metadataEntry        = "__metadata__"
	maxSafetensorsRank   = 16
)

// dtype is a safetensors element type. Types without an equivalent have
// NoType; those of unknown size have no bytes.
type dtype struct {
	is         quant.Type
	valueBytes int
}

var dtypes = map[string]dtype{
	"F64": {quant.F64, 8}, "F32": {quant.F32, 4}, "F16": {quant.F16, 2}, "BF16": {quant.BF16, 2},
	"I64": {quant.I64, 8}, "I32": {quant.I32, 4}, "I16": {quant.I16, 2}, "I8": {quant.I8, 1},
	"U8": {quant.I8, 1}, "BOOL": {quant.I8, 1},
	"U64": {NoType, 8}, "U32": {NoType, 4}, "U16": {NoType, 2}, "C64": {NoType, 8},
	"F8_E4M3": {NoType, 1}, "F8_E5M2": {NoType, 1}, "F8_E8M0": {NoType, 1},
}

// catalogSafetensors makes a Catalog of a single file.
func catalogSafetensors(path string, src *source) (*Catalog, error) {
	tensors, err := parseSafetensors(src)
	if err != nil {
		return nil, err
	}
	return newCatalog(path, formatSafetensors, []*source{src}, tensors)
}

// parseSafetensors returns the tensors of a file in the order of their data.
func parseSafetensors(src *source) ([]*Tensor, error) {
	if src.sizeBytes < 8 {
		return nil, corrupt(src.path, "", 0, "file has %d bytes, too few for a header length", src.sizeBytes)
	}
	var prefix [8]byte
	if err := src.readFull(prefix[:], 0, ""); err != nil {
		return nil, err
	}
	length := binary.LittleEndian.Uint64(prefix[:])
	switch {
	case length > maxSafetensorsHeader:
		return nil, corrupt(src.path, "", 0, "header of %d bytes, want at most %d", length, maxSafetensorsHeader)
	case length > uint64(src.sizeBytes-8):
		return nil, corrupt(src.path, "", 0, "header of %d bytes, but only %d follow", length, src.sizeBytes-8)
	}
	header := make([]byte, length)
	if err := src.readFull(header, 8, ""); err != nil {
		return nil, err
	}
	p := &headerParser{src: src, begin: 8, dec: json.NewDecoder(bytes.NewReader(header))}
	p.dec.UseNumber()
	switch {
	case length == 0 || header[0] != '{':
		return nil, p.fail("", "header does not begin with {")
	case !utf8.Valid(header):
		return nil, p.fail("", "header is not UTF-8")
	}
	if err := p.entries(); err != nil {
		return nil, err
	}
	if err := placeSafetensors(src, p.tensors, 8+int64(length)); err != nil {
		return nil, err
	}
	return p.tensors, nil
}

// placeSafetensors sorts tensors by place, checks that they fill the rest of
// the file and makes offsets relative to the file.
func placeSafetensors(src *source, tensors []*Tensor, dataStart int64) error {
	slices.SortStableFunc(tensors, func(a, b *Tensor) int {
		return cmp.Or(cmp.Compare(a.off, b.off), cmp.Compare(a.Bytes, b.Bytes))
	})
	dataBytes, end := src.sizeBytes-dataStart, int64(0)
	for _, t := range tensors {
		switch {
		case t.off > dataBytes || t.Bytes > dataBytes-t.off:
			return corrupt(src.path, t.Name, -1, "data_offsets [%d, %d] reach past the end of the file, which holds %d bytes of data", t.off, t.off+t.Bytes, dataBytes)
		case t.off < end:
			return corrupt(src.path, t.Name, dataStart+t.off, "data overlaps the tensor before it by %d bytes", end-t.off)
		case t.off > end:
			return corrupt(src.path, t.Name, dataStart+t.off, "%d bytes before the data belong to no tensor", t.off-end)
		}
		end = t.off + t.Bytes
		t.off += dataStart
	}
	if end != dataBytes {
		return corrupt(src.path, "", dataStart+end, "%d bytes follow the last tensor", dataBytes-end)
	}
	return nil
}

// headerParser walks the JSON token by token: a decoder into a map would let
// the last of two equal keys win.
type headerParser struct {
	src     *source
	begin   int64 // file offset of the JSON
	dec     *json.Decoder
	tensors []*Tensor
}

// fail makes an error at the current place in the header.
func (p *headerParser) fail(tensor, format string, args ...any) error {
	return corrupt(p.src.path, tensor, p.begin+p.dec.InputOffset(), format, args...)
}

// token returns the next token. Invalid JSON and its early end are errors.
func (p *headerParser) token(tensor string) (json.Token, error) {
	tok, err := p.dec.Token()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, p.fail(tensor, "not JSON: %v", err)
	}
	return tok, nil
}

// open reads the delimiter that begins an object or array.
func (p *headerParser) open(tensor string, want json.Delim) error {
	tok, err := p.token(tensor)
	if err != nil {
		return err
	}
	if tok != want {
		return p.fail(tensor, "found %v, want %v", tok, want)
	}
	return nil
}

// object reads an object, calling member for each key before its value is read.
// Equal keys are refused.
func (p *headerParser) object(tensor string, member func(key string) error) error {
	if err := p.open(tensor, '{'); err != nil {
		return err
	}
	seen := map[string]bool{}
	for p.dec.More() {
		tok, err := p.token(tensor)
		if err != nil {
			return err
		}
		key, ok := tok.(string)
		switch {
		case !ok:
			return p.fail(tensor, "found %v, want a key", tok)
		case seen[key]:
			return p.fail(tensor, "key %q occurs twice", key)
		case len(seen) >= maxTensors:
			return p.fail(tensor, "more than %d entries", maxTensors)
		}
		seen[key] = true
		if err := member(key); err != nil {
			return err
		}
	}
	_, err := p.token(tensor) // the closing brace
	return err
}

// entries reads the whole header.
func (p *headerParser) entries() error {
	err := p.object("", func(name string) error {
		if name == metadataEntry {
			return p.metadata()
		}
		if reason := badName(name); reason != "" {
			return p.fail("", "tensor name %q %s", name, reason)
		}
		return p.entry(name)
	})
	if err != nil {
		return err
	}
	if tok, err := p.dec.Token(); err != io.EOF {
		return p.fail("", "header goes on after its object: %v", cmp.Or[any](err, tok))
	}
	return nil
}

// metadata checks the free-form strings, which nothing needs.
func (p *headerParser) metadata() error {
	return p.object("", func(key string) error {
		tok, err := p.token("")
		if err != nil {
			return err
		}
		if _, ok := tok.(string); !ok {
			return p.fail("", "%s %q is %v, want a string", metadataEntry, key, tok)
		}
		return nil
	})
}

// entry reads the description of one tensor. Unknown fields are passed over.
func (p *headerParser) entry(name string) error {
	t := &Tensor{Name: name, src: p.src}
	var shape, offsets []int64
	err := p.object(name, func(field string) (err error) {
		switch field {
		case "dtype":
			t.TypeName, err = p.typeName(name)
		case "shape":
			shape, err = p.integers(name, field, maxSafetensorsRank)
		case "data_offsets":
			offsets, err = p.integers(name, field, 2)
		default:
			err = p.skip(name)
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case t.TypeName == "" || shape == nil || offsets == nil:
		return p.fail(name, "dtype, shape or data_offsets is missing")
	case len(offsets) != 2 || offsets[0] > offsets[1]:
		return p.fail(name, "data_offsets are %v, want [begin, end]", offsets)
	}
	t.off, t.Bytes = offsets[0], offsets[1]-offsets[0]
	p.tensors = append(p.tensors, t)
	return p.measure(t, shape)
}

// measure sets type, shape and value count, and checks that they explain the
// tensor's length.
func (p *headerParser) measure(t *Tensor, shape []int64) error {
	d, known := dtypes[t.TypeName]
	if !known {
		d.is = NoType
	}
	t.Type = d.is
	values := uint64(1)
	t.Shape = make([]int, len(shape))
	for i, dim := range shape {
		high, product := bits.Mul64(values, uint64(dim))
		if dim > math.MaxInt || high != 0 || product > math.MaxInt64 {
			return p.fail(t.Name, "shape %v has more than 2^63 values", shape)
		}
		t.Shape[i], values = int(dim), product
	}
	t.values = int64(values)
	high, want := bits.Mul64(values, uint64(d.valueBytes))
	if known && (high != 0 || want != uint64(t.Bytes)) {
		return p.fail(t.Name, "data_offsets give %d bytes, want %d values of %s", t.Bytes, values, t.TypeName)
	}
	return nil
}

// typeName reads a dtype.
func (p *headerParser) typeName(tensor string) (string, error) {
	tok, err := p.token(tensor)
	if err != nil {
		return "", err
	}
	name, ok := tok.(string)
	if !ok || len(name) > 64 || badName(name) != "" {
		return "", p.fail(tensor, "dtype is %.100q", fmt.Sprint(tok))
	}
	return name, nil
}

// integers reads an array of at most most integers, none negative.
func (p *headerParser) integers(tensor, field string, most int) ([]int64, error) {
	if err := p.open(tensor, '['); err != nil {
		return nil, err
	}
	list := []int64{}
	for p.dec.More() {
		tok, err := p.token(tensor)
		if err != nil {
			return nil, err
		}
		number, _ := tok.(json.Number)
		n, err := strconv.ParseUint(string(number), 10, 63)
		if err != nil {
			return nil, p.fail(tensor, "%s holds %.100q, want an integer from 0 to 2^63-1", field, fmt.Sprint(tok))
		}
		if len(list) == most {
			return nil, p.fail(tensor, "%s holds more than %d numbers", field, most)
		}
		list = append(list, int64(n))
	}
	_, err := p.token(tensor) // the closing bracket
	return list, err
}

// skip passes over one value of any kind.
func (p *headerParser) skip(tensor string) error {
	for depth := 0; ; {
		tok, err := p.token(tensor)
		if err != nil {
			return err
		}
		switch tok {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}
