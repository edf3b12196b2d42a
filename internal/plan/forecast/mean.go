package forecast

import (
	"maps"
	"slices"
)

// clone is m with rates of its own.
func (m *Machine) clone() *Machine {
	n := *m
	n.Threads, n.Few = slices.Clone(m.Threads), slices.Clone(m.Few)
	for _, rates := range []*map[string]float64{&n.Vector, &n.Matrix, &n.AttendOne, &n.AttendMany, &n.Pack} {
		*rates = maps.Clone(*rates)
	}
	for i := range n.Few {
		n.Few[i].Rate = maps.Clone(n.Few[i].Rate)
	}
	if m.Stream != nil {
		s := *m.Stream
		n.Stream = &s
	}
	return &n
}

// scaled is m while its memory gives f times as much: what is bound by arithmetic stays. Of a
// product with few rows the time that it takes with one is taken for memory's.
func (m *Machine) scaled(f float64) *Machine {
	n := m.clone()
	for _, few := range n.Few {
		for name, x := range few.Rate {
			one := min(1/rate(m.Vector, name), 1/x)
			few.Rate[name] = 1 / (1/x + (1/f-1)*one)
		}
	}
	for i := range n.Threads {
		n.Threads[i].Stream *= f
	}
	for _, rates := range []map[string]float64{n.Vector, n.AttendOne} {
		for name := range rates {
			rates[name] *= f
		}
	}
	return n
}

// Mean is a machine that takes as long for everything as the given ones, which were
// measured alike, take on average: rates are harmonic means. Everything else is the
// first one's, but for the widest Low and High. Of no machines it is nil.
func Mean(machines ...*Machine) *Machine {
	if len(machines) == 0 {
		return nil
	}
	n := machines[0].clone()
	mean := func(dst *float64, of func(*Machine) float64) {
		var sum float64
		for _, m := range machines {
			sum += 1 / of(m)
		}
		*dst = float64(len(machines)) / sum
	}
	for i := range n.Threads {
		mean(&n.Threads[i].Stream, func(m *Machine) float64 { return m.Threads[i].Stream })
	}
	for which, rates := range n.rateMaps() {
		for name := range rates {
			var x float64
			mean(&x, func(m *Machine) float64 { return m.rateMaps()[which][name] })
			rates[name] = x
		}
	}
	if n.Stream != nil {
		mean(&n.Stream.Read, func(m *Machine) float64 { return m.Stream.Read })
		mean(&n.Stream.Beside, func(m *Machine) float64 { return m.Stream.Beside })
		n.Stream.Slow = 0
		for _, m := range machines {
			n.Stream.Slow += m.Stream.Slow / float64(len(machines))
		}
	}
	mean(&n.ReadRate, func(m *Machine) float64 { return m.ReadRate })
	if n.RowsOne > 0 {
		mean(&n.RowsOne, func(m *Machine) float64 { return m.RowsOne })
	}
	mean(&n.Rows, func(m *Machine) float64 { return m.Rows })
	n.Call, n.Step = 0, 0
	for _, m := range machines {
		n.Call, n.Step = n.Call+m.Call/float64(len(machines)), n.Step+m.Step/float64(len(machines))
		n.Low, n.High = min(n.Low, m.Low), max(n.High, m.High)
	}
	return n
}
