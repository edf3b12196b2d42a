package checkpoint

import (
	"errors"
	"testing"

	"github.com/plume-run/plume/internal/quant"
)

func TestDescribe(t *testing.T) {
	c, err := Describe("paper", []Described{
		{"a", quant.Q4_0, []int{3, 64}},
		{"b", quant.F32, []int{5}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	a, b := c.Lookup("a"), c.Lookup("b")
	if a.Bytes != 3*36 || a.Values() != 192 || b.Bytes != 20 {
		t.Errorf("a: %d bytes, %d values; b: %d bytes", a.Bytes, a.Values(), b.Bytes)
	}
	if _, off := b.Location(); off != a.Bytes {
		t.Errorf("b lies at %d, want after a", off)
	}
	if _, err := a.ReadAt(make([]byte, 4), 0); !errors.Is(err, ErrNoBytes) {
		t.Errorf("reading gives %v", err)
	}
	for _, bad := range [][]Described{
		{{"a", quant.Q4_0, []int{33}}},
		{{"a", quant.F32, []int{1}}, {"a", quant.F32, []int{1}}},
	} {
		if _, err := Describe("paper", bad); err == nil {
			t.Errorf("described %v", bad)
		}
	}
}
