package gemma

import "github.com/plume-run/plume/internal/backend"

// How a step's keys and values reach the cache. A full layer stores them at
// their positions at once. A sliding layer does so only for a single token, whose
// slot held the position that has just left the window, or for as many as the
// ring has slack; more tokens wait in step.fresh and enter the ring when no query
// needs the older ones any more.

// direct reports whether part p's keys and values fit its rings at once.
func (s *step) direct(p int) bool {
	return s.parts[p].n <= 1+s.batch.Parts[p].Cache.slack
}

// makeFresh sees to it that the fresh stores hold the whole batch.
func (s *step) makeFresh() error {
	m, all := s.m, true
	for p := range s.parts {
		all = all && s.direct(p)
	}
	if all {
		return nil
	}
	for which, layer := range m.cfg.freshLayers() {
		if layer < 0 {
			continue
		}
		if s.fresh[which] != nil && s.fresh[which].Spec().Slots >= s.rows {
			continue
		}
		kv, err := m.back.NewKV(m.cfg.kvSpec(layer, freshSlots(s.rows), m.kvType))
		if err != nil {
			return err
		}
		s.fresh[which] = kv
	}
	return nil
}

// freshSlots is the length of a fresh store for a batch of rows tokens.
func freshSlots(rows int) int { return (rows + 63) &^ 63 }

// freshLayers returns the layers that need a fresh store: one that owns its keys and
// values alone, standing for all of these, and the sliding donor; −1 for none.
func (c *Config) freshLayers() (layers [2]int) {
	layers = [2]int{-1, -1}
	for i := range c.NumLayers {
		if d := c.Donor(i); d != i && c.Sliding[d] {
			layers[1] = d
		}
	}
	for i := range c.FirstShared() {
		if c.Sliding[i] && i != layers[1] {
			layers[0] = i
		}
	}
	return layers
}

// freshOf returns the store in which part p's tokens of layer i wait, nil when
// they do not.
func (s *step) freshOf(i, p int) backend.KV {
	m := s.m
	if !m.layers[i].sliding || s.direct(p) {
		return nil
	}
	if i == m.slidingDonor {
		return s.fresh[1]
	}
	return s.fresh[0]
}

// store puts part p's rows of k and v away for layer i.
func (s *step) store(i, p int) {
	part := &s.parts[p]
	if kv := s.freshOf(i, p); kv != nil {
		s.m.back.Store(kv, part.row, &s.k, &s.v, part.row, part.n)
		return
	}
	kv := s.batch.Parts[p].Cache.layers[i]
	s.m.back.Store(kv, part.start%kv.Spec().Slots, &s.k, &s.v, part.row, part.n)
}

// commitLayer moves every part's waiting keys and values of layer i to its ring,
// unless later layers of this step still read them.
func (s *step) commitLayer(i int) {
	if s.m.layers[i].donor != i || i == s.m.slidingDonor {
		return
	}
	for p := range s.parts {
		s.commit(i, p)
	}
}

// commit moves part p's waiting keys and values of layer i to its ring.
func (s *step) commit(i, p int) {
	part, kv := &s.parts[p], s.freshOf(i, p)
	if kv == nil {
		return
	}
	ring := s.batch.Parts[p].Cache.layers[i]
	n := min(part.n, ring.Spec().Slots)
	skip := part.n - n
	s.m.back.CopyKV(ring, (part.start+skip)%ring.Spec().Slots, kv, part.row+skip, n)
}

// spansOf lays out the queries still computed for layer i's attention.
func (s *step) spansOf(i int) []backend.Span {
	donor := s.m.layers[i].donor
	s.spans = s.spans[:0]
	for p := range s.parts {
		part := &s.parts[p]
		if part.nLiv == 0 {
			continue
		}
		s.spans = append(s.spans, backend.Span{
			Row: part.live, N: part.nLiv, Pos: s.positions[part.live],
			Hist: s.batch.Parts[p].Cache.layers[donor], Fresh: s.freshOf(donor, p),
			FreshPos: part.start, FreshSlot: part.row,
		})
	}
	return s.spans
}
