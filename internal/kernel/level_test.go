package kernel

import (
	"os"
	"strings"
	"testing"
)

func TestLevels(t *testing.T) {
	levels := Levels()
	if levels[0] != levelGeneric || Level() != levels[len(levels)-1] && os.Getenv(forceEnv) == "" {
		t.Errorf("levels %v, in use %q", levels, Level())
	}
	if err := SetLevel("mmx"); err == nil || !strings.Contains(err.Error(), levelGeneric) {
		t.Errorf("SetLevel of an unknown level: %v", err)
	}
}

// TestNoAllocations: a variant must not make its arguments escape.
func TestNoAllocations(t *testing.T) {
	if Level() == levelGeneric || raceEnabled {
		t.Skip("generic dot products allocate a row, and so does the race detector")
	}
	m := &Matrix{Layout: LayoutQ4_0, Rows: 20, Cols: 64, Data: make([]byte, 2*LayoutQ4_0.PanelBytes(64))}
	f := &Matrix{Layout: LayoutBF16, Rows: 20, Cols: 64, Data: make([]byte, 2*LayoutBF16.PanelBytes(64))}
	var a, g Acts
	a.Reset(m.Layout, 5, 64)
	g.Reset(f.Layout, 5, 64)
	x := make([]float32, 64)
	y := make([]float32, 5*20)
	rows := Rows{Kind: F16, Data: make([]byte, 2*64*9), N: 9, Cols: 64, Stride: 128}
	if n := testing.AllocsPerRun(20, func() {
		a.Set(1, x)
		g.Set(1, x)
		MatMul(y, 20, m, 0, 2, &a, 0, 5)
		MatMul(y, 20, f, 0, 2, &g, 0, 5)
		Dots(y, 1, 9, rows, Vecs{Data: x, N: 1, Stride: 64})
		Mix(Vecs{Data: x, N: 1, Stride: 64}, Vecs{Data: y, N: 1, Stride: 9}, rows, false)
		ExpSum(y[:11], 1)
		RMSNorm(x, x, nil, 1e-6)
		Max(y)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
