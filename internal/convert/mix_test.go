package convert

import (
	"maps"
	"testing"

	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/quant"
)

// TestMixCounts compares how many tensors get which type with what published
// files hold: 26B-A4B as Q4_K_M, whose down projections have rows of 704 and
// 2112 values and fall back to blocks of 32.
func TestMixCounts(t *testing.T) {
	for _, tc := range []struct {
		shape, typ string
		want       map[quant.Type]int
	}{
		{"26b-a4b", "q4_k_m", map[quant.Type]int{quant.Q4_K: 192, quant.Q5_0: 32, quant.Q8_0: 28, quant.Q6_K: 14}},
		{"26b-a4b", "Q3_K_M", map[quant.Type]int{quant.Q3_K: 5 * 30, quant.Q4_K: 30 + 23, quant.Q5_0: 58, quant.Q5_1: 2, quant.Q5_K: 2, quant.Q6_K: 1}},
	} {
		cfg, err := gemma.ShapeConfig(tc.shape, 0)
		if err != nil {
			t.Fatal(err)
		}
		typ, mix, err := ParseLayers(tc.typ)
		if err != nil {
			t.Fatal(err)
		}
		c := newChooser(Types{Type: typ, Mix: mix}, cfg.NumLayers, cfg.Tensors())
		got := map[quant.Type]int{}
		for _, spec := range cfg.Tensors() {
			if typ, _ := c.of(spec, quant.BF16); typ != quant.F32 {
				got[typ]++
			}
		}
		if !maps.Equal(got, tc.want) {
			t.Errorf("%s %s: %v, want %v", tc.shape, tc.typ, got, tc.want)
		}
	}
}

// TestMoreBits writes out the layers of one mix.
func TestMoreBits(t *testing.T) {
	got := ""
	for i := range 35 {
		if moreBits(i, 35) {
			got += "6"
		} else {
			got += "4"
		}
	}
	if want := "66664464464464464464464464464466666"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestParseLayers(t *testing.T) {
	for name, want := range map[string]Types{
		"q4_k_m": {Type: quant.Q4_K, Mix: true},
		"Q5_K_M": {Type: quant.Q5_K, Mix: true},
		"q4_k":   {Type: quant.Q4_K},
		"IQ4_xs": {Type: quant.IQ4_XS},
		"bf16":   {Type: quant.BF16},
	} {
		if typ, mix, err := ParseLayers(name); err != nil || typ != want.Type || mix != want.Mix {
			t.Errorf("%s: %s, %v, %v", name, typ, mix, err)
		}
	}
	for _, name := range []string{"", "_m", "q4_0_m", "q6_k_m", "q2_0", "i8", "q4_k_l"} {
		if typ, _, err := ParseLayers(name); err == nil {
			t.Errorf("%q is accepted as %s", name, typ)
		}
	}
}

// TestMixFileType: the numbers that llama.cpp gives the files of these names.
func TestMixFileType(t *testing.T) {
	for name, want := range map[string]uint32{"q3_k_m": 12, "q4_k_m": 15, "q5_k_m": 17, "q4_k": 14, "q2_k": 21, "iq4_xs": 30} {
		typ, mix, err := ParseLayers(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := (Types{Type: typ, Mix: mix}).fileType(); got != want {
			t.Errorf("%s: file type %d, want %d", name, got, want)
		}
	}
	for _, name := range EmbedNames() {
		typ, err := quant.ParseType(name)
		if _, ok := fileTypes[typ]; err != nil || !ok {
			t.Errorf("%s has no file type (%v)", name, err)
		}
	}
}
