package gemma

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"testing"
)

// routingTrace makes up which experts tokens go to in every layer: popularity falls off
// as rank^−skew within each layer, and an expert of the token before is chosen again with
// probability again. Every drift tokens the ranks of a tenth of the experts change places,
// as when a text changes its subject.
type routingTrace struct {
	skew, again float64
	drift       int
}

const (
	traceLayers  = 30
	traceExperts = 128
	traceTop     = 8
)

func (tr routingTrace) tokens(n int) [][traceLayers][]int32 {
	rng := rand.New(rand.NewPCG(7, 9))
	var weights [traceLayers][traceExperts]float64
	for l := range weights {
		for rank, e := range rng.Perm(traceExperts) {
			weights[l][e] = math.Pow(float64(rank+1), -tr.skew)
		}
	}
	out := make([][traceLayers][]int32, n)
	for t := range out {
		for l := range traceLayers {
			if t%tr.drift == tr.drift-1 {
				for range traceExperts / 20 {
					a, b := rng.IntN(traceExperts), rng.IntN(traceExperts)
					weights[l][a], weights[l][b] = weights[l][b], weights[l][a]
				}
			}
			var chosen [traceExperts]bool
			if t > 0 {
				for _, e := range out[t-1][l] {
					chosen[e] = rng.Float64() < tr.again
				}
			}
			out[t][l] = draw(rng, &weights[l], chosen)
		}
	}
	return out
}

// draw fills up chosen to traceTop experts, by weight.
func draw(rng *rand.Rand, weights *[traceExperts]float64, chosen [traceExperts]bool) []int32 {
	n := 0
	for _, c := range chosen {
		if c {
			n++
		}
	}
	for ; n < traceTop; n++ {
		var sum float64
		for e, w := range weights {
			if !chosen[e] {
				sum += w
			}
		}
		at := rng.Float64() * sum
		for e, w := range weights {
			if chosen[e] {
				continue
			}
			if at -= w; at <= 0 {
				chosen[e] = true
				break
			}
		}
	}
	var ids []int32
	for e, c := range chosen {
		if c {
			ids = append(ids, int32(e))
		}
	}
	return ids
}

// hitRate runs a trace through slots. A use counts half after half tokens; half 0 is by last
// use alone.
func hitRate(trace [][traceLayers][]int32, slots int, half float64) float64 {
	const units = traceLayers * traceExperts
	var score [units]float64
	var needed [units]int // the last token and layer that needed it
	var slotOf [units]int // 1 + its slot
	var held []int
	hits, all, grow, factor := 0, 0, 1., 1.
	if half > 0 {
		factor = math.Exp2(1 / half)
	}
	for t, token := range trace {
		if half > 0 {
			grow *= math.Exp2(1 / half)
		}
		for l, ids := range token {
			now := t*traceLayers + l + 1
			for _, e := range ids {
				u := l*traceExperts + int(e)
				needed[u] = now
				if half > 0 {
					score[u] += grow
				} else {
					score[u] = float64(now)
				}
			}
			for _, e := range ids {
				u := l*traceExperts + int(e)
				if t > len(trace)/4 {
					all++
					if slotOf[u] > 0 {
						hits++
					}
				}
				switch {
				case slotOf[u] > 0:
				case len(held) < slots:
					held = append(held, u)
					slotOf[u] = len(held)
				default:
					at := victim(held, &needed, &score, now, factor)
					slotOf[held[at]], slotOf[u], held[at] = 0, at+1, u
				}
			}
		}
	}
	return float64(hits) / float64(all)
}

func victim(held []int, needed *[traceLayers * traceExperts]int, score *[traceLayers * traceExperts]float64, now int, factor float64) int {
	best, least := -1, 0.
	layer := (now - 1) % traceLayers
	for i, u := range held {
		if needed[u] == now {
			continue
		}
		cost := score[u]
		if u/traceExperts > layer {
			cost *= factor
		}
		if best < 0 || cost < least {
			best, least = i, cost
		}
	}
	return best
}

// The policy of expertCache, a half-life of one token, on routing that is made up: never
// worse than last use, and not blind when the slots are fewer than a token needs. With
// PLUME_POLICIES set it logs the table of docs/measurements/streaming.md.
func TestExpertPolicies(t *testing.T) {
	tokens, sizes, table := 40, []int{120, 240, 960}, os.Getenv("PLUME_POLICIES") != ""
	if table {
		tokens, sizes = 300, []int{60, 120, 240, 480, 960, 1920}
	}
	for _, tr := range []routingTrace{{0, 0, 1000}, {0.5, 0.2, 100}, {1, 0.3, 100}, {1, 0.5, 25}} {
		trace := tr.tokens(tokens)
		for _, slots := range sizes {
			last, mine := hitRate(trace, slots, 0), hitRate(trace, slots, math.Log(2)/math.Log(fade))
			if mine < last-0.01 || mine == 0 {
				t.Errorf("%+v: %d slots: %.3f hits, %.3f by last use", tr, slots, mine, last)
			}
			if table {
				line := fmt.Sprintf("last use %.3f, half-life 1 %.3f", last, mine)
				for _, half := range []float64{4, 16, 256} {
					line += fmt.Sprintf(", %v %.3f", half, hitRate(trace, slots, half))
				}
				t.Logf("skew %v again %v drift %d, %4d slots: %s", tr.skew, tr.again, tr.drift, slots, line)
			}
		}
	}
}
