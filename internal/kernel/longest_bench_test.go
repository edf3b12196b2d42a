package kernel

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// BenchmarkLongestCall measures how long one call of assembly holds the goroutine, which the
// runtime cannot stop meanwhile: of every type and of rows as wide as models have them, one token,
// the most that take a whole 256 KiB of weights, and one tile among many. What is reported is the
// longest of these, each the shortest of b.N, with weights from memory.
//
//	go test -run - -bench LongestCall -benchtime 200x ./internal/kernel
func BenchmarkLongestCall(b *testing.B) {
	for _, typ := range benchTypes {
		b.Run(typ.String(), func(b *testing.B) {
			var longest time.Duration
			var where string
			for _, cols := range []int{1536, 12288, 21504} {
				src := benchMatrix(b, typ, PanelRows, cols)
				n := max(2, 64<<20/len(src.Data)) // beyond most caches
				m := &Matrix{Layout: src.Layout, Rows: n * PanelRows, Cols: cols}
				for range n {
					m.Data = append(m.Data, src.Data...)
				}
				for _, tokens := range []int{1, tileWidth(src.Layout), 3 * maxTile} {
					if d := shortestCall(b.N, m, tokens); d > longest {
						longest, where = d, fmt.Sprintf("%d columns, %d tokens", cols, tokens)
					}
				}
			}
			b.ReportMetric(float64(longest.Nanoseconds())/1e3, "µs/call")
			b.ReportMetric(0, "ns/op")
			b.Logf("longest at %s", where)
		})
	}
}

// shortestCall is the shortest time of rounds of the first call that MatMul makes for some tokens.
func shortestCall(rounds int, m *Matrix, tokens int) time.Duration {
	a := activations(rand.New(rand.NewPCG(1, 1)), m.Layout, tokens, m.Cols)
	step, panels := panelsPerCall(m, tokens), Panels(m.Rows)
	tile := nextTile(m.Layout, tokens)
	y := make([]float32, tile*step*PanelRows)
	shortest := time.Hour
	for i := range rounds {
		p := i * step % (panels - step + 1)
		call := product{w: m, x: a}
		begin := time.Now()
		if a.float {
			w := m.panels(p, p+step)
			rows := min(call.floatRows(), step*PanelRows)
			call.floatTile(y, step*PanelRows, w[:rows*len(w)/(step*PanelRows)], 0, tile)
		} else {
			call.tile(y, step*PanelRows, p, p+step, 0, tile)
		}
		shortest = min(shortest, time.Since(begin))
	}
	return shortest
}
