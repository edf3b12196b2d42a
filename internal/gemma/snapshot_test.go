package gemma_test

import (
	"fmt"
	"testing"

	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/testkit"
)

// What is copied out of one cache and put into another, used one, computes the same
// bits, wherever the sequence was cut and also a few positions before that.
func TestRestoredCachesComputeTheSame(t *testing.T) {
	g := loadGolden(t, "e-tiny")
	const v, slack, block = 320, 5, 8
	for name, b := range backends(t) {
		t.Run(name, func(t *testing.T) {
			m := open(t, g.dir, b)
			whole := forward(t, m, newCache(t, m, 64), g.IDs, gemma.WantAll)
			make := func() *gemma.Cache {
				c, err := m.NewCache(64, slack)
				if err != nil {
					t.Fatal(err)
				}
				return c
			}
			from, to := make(), make()
			forward(t, m, to, g.IDs[7:40], gemma.WantNone) // must not matter
			var full []*gemma.Piece
			for n := 1; n < len(g.IDs); n++ {
				forward(t, m, from, g.IDs[n-1:n], gemma.WantNone)
				if n%block == 0 {
					full = append(full, copyFull(t, from, n-block, block))
				}
				pieces := full
				if tail := n % block; tail > 0 {
					pieces = append(pieces[:len(pieces):len(pieces)], copyFull(t, from, n-tail, tail))
				}
				rings, err := from.CopyRings()
				if err != nil {
					t.Fatal(err)
				}
				checkPieceBytes(t, from, n, pieces, rings)
				for back := range min(n, slack+2) {
					to.Restore(n, pieces, rings)
					if !to.Truncate(n - back) {
						t.Fatalf("could not go back from %d to %d", n, n-back)
					}
					got := forward(t, m, to, g.IDs[n-back:], gemma.WantAll)
					testkit.SameBits(t, fmt.Sprintf("restored %d, less %d", n, back), got, whole[(n-back)*v:])
				}
			}
		})
	}
}

func copyFull(t *testing.T, c *gemma.Cache, from, n int) *gemma.Piece {
	t.Helper()
	p, err := c.CopyFull(from, n)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// checkPieceBytes compares what copies take with what they were said to take.
func checkPieceBytes(t *testing.T, c *gemma.Cache, n int, full []*gemma.Piece, rings *gemma.Piece) {
	t.Helper()
	var sum int64
	for _, p := range full {
		sum += p.Bytes()
	}
	if wantFull, wantRings := c.PieceBytes(n); sum != wantFull || rings.Bytes() != wantRings {
		t.Fatalf("copies at %d take %d and %d bytes, want %d and %d", n, sum, rings.Bytes(), wantFull, wantRings)
	}
}
