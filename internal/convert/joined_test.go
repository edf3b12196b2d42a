package convert

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/quant"
)

// TestMakeJoinedTables makes the models with which docs/measurements/
// table-quality.md measures the types of 256 values on a model whose rows are
// not multiples of 256: the values of the table follow each other without gaps,
// so that a block may end one row and begin the next, and are stored as F32
// after the round trip. Nothing else is changed, and no such file is of use
// otherwise. PLUME_JOINED names a folder for them, PLUME_MODEL the model:
//
//	PLUME_MODEL=DIR PLUME_JOINED=OUT go test -run TestMakeJoinedTables -v ./internal/convert
func TestMakeJoinedTables(t *testing.T) {
	model, out := os.Getenv("PLUME_MODEL"), os.Getenv("PLUME_JOINED")
	if model == "" || out == "" {
		t.Skip("PLUME_MODEL and PLUME_JOINED are not set: no tables are made")
	}
	cat, err := checkpoint.Open(model)
	if err != nil {
		t.Fatal(err)
	}
	defer cat.Close()
	cfg := readConfig(t, cat)
	for _, typ := range []quant.Type{quant.Q6_K, quant.Q5_K, quant.Q4_K, quant.IQ4_XS, quant.Q3_K, quant.Q2_K, quant.Q4_0} {
		r := &Report{}
		parts, err := r.plan(cat, cfg, Types{Type: quant.BF16})
		if err != nil {
			t.Fatal(err)
		}
		meta, err := r.metadata(cat, cfg, Options{Types: Types{Type: quant.BF16}})
		if err != nil {
			t.Fatal(err)
		}
		for i := range parts {
			if parts[i].name == cfg.Spec(gemma.KeyPLETable, 0).GGUF {
				if parts[i], err = joined(parts[i], typ); err != nil {
					t.Fatal(err)
				}
			}
		}
		path := filepath.Join(out, "joined-"+strings.ToLower(typ.String())+".gguf")
		if err := (&output{dst: path, meta: meta, parts: parts, threads: 1}).write(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Log(path)
	}
}

// joined is p with the round trip through typ.
func joined(p part, typ quant.Type) (part, error) {
	n := p.chunkRows() * p.rowLen
	if last := p.rows % p.chunkRows() * p.rowLen; n%typ.BlockLen() != 0 || last%typ.BlockLen() != 0 {
		return part{}, fmt.Errorf("%s: chunks of %d and %d values are not whole blocks of %s", p.name, n, last, typ)
	}
	q, err := newPart(p.name, quant.F32, p.shape)
	if err != nil {
		return part{}, err
	}
	q.fill = func(dst []byte, s *scratch, row, n int) error {
		raw := make([]byte, int64(n)*p.rowBytes)
		if err := p.fill(raw, s, row, n); err != nil {
			return err
		}
		values := s.floats(n * p.rowLen)
		blocks := make([]byte, len(values)/typ.BlockLen()*typ.BlockBytes())
		for _, err := range []error{
			quant.Decode(p.typ, values, raw), quant.Encode(typ, blocks, values), quant.Decode(typ, values, blocks),
		} {
			if err != nil {
				return err
			}
		}
		for i, v := range values {
			binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(v))
		}
		return nil
	}
	return q, nil
}
