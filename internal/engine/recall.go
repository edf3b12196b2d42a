package engine

// recall prepares a slot for a prompt of which idle slot q holds most: q itself, or
// another one with more than that from the known prefixes. What the slot loses by that
// becomes known. seen is how much of the prompt any earlier one has begun with.
func (s *Scheduler) recall(q *slot, prompt []int32) (_ *slot, seen int, err error) {
	left := q.shared(prompt) // of what the slot holds
	_, n, seen := s.known.find(q.cache, prompt)
	fill := n >= left+worthTokens
	if fill {
		q, left = s.idle(func(*slot) int { return 0 }), 0
	}
	err = s.e.turn(s.ctx, func() error {
		if have := q.cache.Len(); have-left >= worthTokens {
			if err := s.known.keep(q.cache, q.ids[:have]); err != nil {
				return err
			}
		}
		if !fill {
			return nil
		}
		// Found again: keeping may have cost it its place.
		if m, n, _ := s.known.find(q.cache, prompt); m != nil {
			q.ids = s.known.restore(m, q.cache, q.ids)
			s.known.stats.Hits++
			s.known.stats.Tokens += int64(n)
		}
		return nil
	})
	return q, seen, err
}

// loadPrefixes makes what an earlier scheduler has saved known.
func (s *Scheduler) loadPrefixes() {
	if s.opt.PrefixBytes == 0 {
		return
	}
	s.known = newPrefixes(s.opt.PrefixBytes)
	if s.opt.PrefixFile != "" {
		removeParts(s.opt.PrefixFile)
		locked := s.lockFile()
		s.known.note(s.known.load(s.opt.PrefixFile, s.opt.PrefixKey, s.slots[0].cache), locked)
	}
	s.stats.Prefix = s.known.stats
}
