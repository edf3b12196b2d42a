package gemma_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/backend/ref"
	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/ple"
	"github.com/plume-run/plume/internal/testkit"
)

// errRow is what a row that cannot be read says.
var errRow = errors.New("bad sector")

// openBadRows binds e-tiny, the table's rows of bad being unreadable until the reader is
// healed, and no row being kept.
func openBadRows(t *testing.T, b backend.Backend, bad ...int64) (*gemma.Model, *testkit.FaultyReaderAt) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "e-tiny", "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile(filepath.Join("testdata", "e-tiny", "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := gemma.ParseConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	faulty := testkit.NewFaultyReaderAt(bytes.NewReader(raw))
	cat, err := checkpoint.OpenReader("some.safetensors", faulty, int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	m, err := gemma.Bind(cat, cfg, b, gemma.BindOptions{PLE: ple.Options{CacheBytes: -1}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	for _, tensor := range cat.Tensors() {
		if strings.HasSuffix(tensor.Name, "embed_tokens_per_layer.weight") {
			_, at := tensor.Location()
			row := tensor.Bytes / int64(tensor.Shape[0])
			for _, id := range bad {
				faulty.FailRange(at+id*row, row, errRow)
			}
		}
	}
	return m, faulty
}

// TestPartsBesideAFailingOne: a row that cannot be read fails the sequences that need it,
// by name; the others get their logits and go on, and so do those when it is healed.
func TestPartsBesideAFailingOne(t *testing.T) {
	for name, b := range map[string]backend.Backend{"ref": ref.New(), "cpu": newCPU(t, 2)} {
		sound := open(t, filepath.Join("testdata", "e-tiny"), b)
		m, faulty := openBadRows(t, b, 7, 40)
		texts := [][]int32{{2, 5, 6, 9}, {2, 7, 6}, {11}, {40, 3, 5, 5, 5, 5}, {5, 6, 9}}
		bad := []bool{false, true, false, true, false}
		wants := []gemma.Want{gemma.WantLast, gemma.WantLast, gemma.WantAll, gemma.WantNone, gemma.WantNone}
		step := func(ids func(i int) []int32, caches []*gemma.Cache) ([]float32, int, error) {
			b := &gemma.Batch{}
			for i, c := range caches {
				b.Parts = append(b.Parts, gemma.Part{Cache: c, IDs: ids(i), Want: wants[i]})
			}
			return m.Forward(context.Background(), b)
		}
		var caches, twins []*gemma.Cache
		for range texts {
			caches, twins = append(caches, newCache(t, m, 30)), append(twins, newCache(t, sound, 30))
		}
		logits, rows, err := step(func(i int) []int32 { return texts[i] }, caches)
		if !errors.Is(err, errRow) || rows != 3 {
			t.Fatalf("%s: %d rows, %v", name, rows, err)
		}
		v, row := len(logits)/rows, 0
		for i, want := range wants {
			err := gemma.PartErr(err, i)
			if bad[i] != (err != nil) || err != nil && !strings.Contains(err.Error(), []string{1: "read row 7 ", 3: "read row 40 "}[i]) {
				t.Errorf("%s, part %d: %v", name, i, err)
			}
			if bad[i] && caches[i].Truncate(1) {
				t.Errorf("%s, part %d: its cache is as good as before", name, i)
			}
			if !bad[i] {
				twin := forward(t, sound, twins[i], texts[i], want)
				if want != gemma.WantNone {
					testkit.SameBits(t, name, logits[row*v:(row+1)*v], twin)
				}
				if c := m.PLECounts(i); c.Rows != int64(len(texts[i])) {
					t.Errorf("%s, part %d: %+v", name, i, c)
				}
			}
			if want != gemma.WantNone {
				row++
			}
		}
		faulty.Heal()
		for i, c := range caches { // those that failed begin again, the others go on
			next := []int32{7}
			if bad[i] {
				c.Reset()
				next = texts[i]
			}
			testkit.SameBits(t, name, forward(t, m, c, next, gemma.WantLast), forward(t, sound, twins[i], next, gemma.WantLast))
		}
	}
}

// When all parts fail, each has its own error; a sequence alone has just that.
func TestAllPartsFail(t *testing.T) {
	m, _ := openBadRows(t, ref.New(), 7, 40)
	part := func(id int32) gemma.Part {
		return gemma.Part{Cache: newCache(t, m, 30), IDs: []int32{id}, Want: gemma.WantLast}
	}
	_, rows, err := m.Forward(t.Context(), &gemma.Batch{Parts: []gemma.Part{part(40), part(7)}})
	if rows != 0 || !strings.Contains(gemma.PartErr(err, 0).Error(), "row 40 ") || !strings.Contains(gemma.PartErr(err, 1).Error(), "row 7 ") {
		t.Errorf("%d rows, %v", rows, err)
	}
	if text := err.Error(); !strings.Contains(text, "row 40 ") || !strings.Contains(text, "and 1 sequences more") {
		t.Errorf("error %q", text)
	}
	_, _, err = m.Forward(t.Context(), &gemma.Batch{Parts: []gemma.Part{part(7)}})
	var parts *gemma.PartError
	if !errors.Is(err, errRow) || errors.As(err, &parts) {
		t.Errorf("alone: %v", err)
	}
}
