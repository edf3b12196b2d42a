package ple

import "sync"

// Answer is a read that a simulated device was asked for.
type Answer interface {
	// Here reports whether the device would have answered by now.
	Here() bool
	// Wait returns when it would have.
	Wait()
}

// slow is a source whose reads take as long as a simulated device's, or as long as they
// really take where that is longer.
//
// As with a real device, a read goes on while nobody attends to it: it begins when the
// table gives notice of it, by the goroutine that asks, and whoever wants the bytes looks
// whether it is over.
type slow struct {
	Source
	begin func(off int64, n int) Answer
	name  string

	mu    sync.Mutex
	asked map[int64]Answer // by offset: noticed, and not read yet
}

// mostAsked bounds asked: reads of which notice was given need not follow.
const mostAsked = 4 * adviseAhead

// Slow makes src as slow as a simulated device of that name, whose reads begin says. What it
// returns owns src. Offsets are those in the file.
func Slow(src Source, name string, begin func(off int64, n int) Answer) Source {
	return &slow{Source: src, begin: begin, name: name, asked: map[int64]Answer{}}
}

// Traits are those of a source that is read by a pool of goroutines, whatever is beneath.
func (s *slow) Traits() Traits {
	t := s.Source.Traits()
	return Traits{
		Kind: t.Kind, Base: t.Base, AlignBytes: t.AlignBytes, Resident: t.Resident,
		Name: t.Name + ", as slow as " + s.name,
	}
}

// advise implements adviser.
func (s *slow) advise(off int64, n int) {
	if a, ok := s.Source.(adviser); ok {
		a.advise(off, n)
	}
	a := s.begin(s.Source.Traits().Base+off, n)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.asked) == mostAsked {
		clear(s.asked)
	}
	s.asked[off] = a
}

// answer is that of the read at off, nil when no notice was given.
func (s *slow) answer(off int64) Answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[off]
}

// taken forgets a read that is over.
func (s *slow) taken(off int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.asked, off)
}

// readCached implements cached.
func (s *slow) readCached(p []byte, off int64) bool {
	src, ok := s.Source.(cached)
	if !ok {
		return false
	}
	a := s.answer(off)
	if a == nil || !a.Here() || !src.readCached(p, off) {
		return false
	}
	s.taken(off)
	return true
}

// ReadAt implements io.ReaderAt.
func (s *slow) ReadAt(p []byte, off int64) (int, error) {
	a := s.answer(off)
	if a == nil {
		a = s.begin(s.Source.Traits().Base+off, len(p))
	}
	n, err := s.Source.ReadAt(p, off)
	a.Wait()
	s.taken(off)
	return n, err
}
