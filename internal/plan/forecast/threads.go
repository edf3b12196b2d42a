package forecast

import "fmt"

// WithThreads is m while only so many threads compute. The rates of Threads lie on straight
// lines between the numbers that there are (from nothing with none), and all others fall with
// the one that bounds them: products with one row and single queries with memory's, products
// with many rows with int8 arithmetic's, prompts' attention and activations with float's. What
// lies between, products with few rows, falls with the more of both.
func (m *Machine) WithThreads(threads int) (*Machine, error) {
	best := m.Best()
	if threads < 1 || threads > best.Threads {
		return nil, fmt.Errorf("%d threads of %s, want 1 to %d", threads, m.Name, best.Threads)
	}
	if threads == best.Threads {
		return m, nil
	}
	n := m.clone()
	n.Threads = nil
	var below Rate
	for _, r := range m.Threads {
		if r.Threads >= threads {
			n.Threads = append(n.Threads, between(below, r, threads))
			break
		}
		n.Threads = append(n.Threads, r)
		below = r
	}
	now := n.Best()
	memory, int8, f32 := now.Stream/best.Stream, part(now.Int8, best.Int8, now, best), part(now.F32, best.F32, now, best)
	scale(memory, n.Vector, n.AttendOne)
	scale(int8, n.Matrix)
	scale(f32, n.AttendMany)
	for _, few := range n.Few {
		scale(min(memory, int8), few.Rate)
	}
	n.Rows *= f32
	n.RowsOne *= f32
	n.Stream = nil // measured with all of them
	return n, nil
}

// between is the rate of so many threads, more than a's and at most b's.
func between(a, b Rate, threads int) Rate {
	at := float64(threads-a.Threads) / float64(b.Threads-a.Threads)
	line := func(x, y float64) float64 { return x + (y-x)*at }
	return Rate{Threads: threads, Stream: line(a.Stream, b.Stream), Int8: line(a.Int8, b.Int8), F32: line(a.F32, b.F32)}
}

// part is x of all, by threads where that is not known.
func part(x, all float64, now, best Rate) float64 {
	if x > 0 && all > 0 {
		return x / all
	}
	return float64(now.Threads) / float64(best.Threads)
}

func scale(f float64, all ...map[string]float64) {
	for _, rates := range all {
		for name := range rates {
			rates[name] *= f
		}
	}
}
