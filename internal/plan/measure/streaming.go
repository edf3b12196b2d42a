package measure

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/plan/forecast"
)

// Streaming is measured as weights stream: so many reads of a piece under way at once, each
// of which is then laid out for the kernels by whoever has read it.
const (
	streamReaders = 8
	streamPiece   = 1 << 20
	turns         = 32 // in which pieces have the types that weights have
)

// Streaming measures what reading weights beside computing costs, for about d: how fast size
// bytes of r come while nothing computes and while products are computed, and how many times
// as long those take meanwhile. pack is whether what is read is laid out for the kernels, as
// where there is no packed copy. Buffers are aligned for direct reads.
func (t *Meter) Streaming(r io.ReaderAt, size int64, pack bool, d time.Duration) (*forecast.Streaming, error) {
	if size < streamPiece {
		return nil, fmt.Errorf("measure streaming: a file of %d bytes, want at least %d", size, streamPiece)
	}
	s := &streamer{r: r, pieces: size / streamPiece}
	if pack {
		s.fill = t.filler()
	}
	products := t.products(d / 4)
	alone, err := s.run(func() { time.Sleep(d / 4) })
	if err != nil {
		return nil, err
	}
	var slowed time.Duration
	beside, err := s.run(func() { slowed = t.products(d / 2) })
	if err != nil {
		return nil, err
	}
	// Reading that computing makes faster is another program that has ended.
	return &forecast.Streaming{
		Read: alone, Beside: min(beside, alone), Slow: max(1, float64(slowed)/float64(products)), Packed: !pack,
	}, nil
}

// products is the mean time of all products with one row, which are computed again and again
// for about d.
func (t *Meter) products(d time.Duration) time.Duration {
	begin := time.Now()
	for n := time.Duration(1); ; n++ {
		for _, g := range t.vector {
			g.run()
		}
		if took := time.Since(begin); took >= d {
			return took / n
		}
	}
}

// filler returns what lays a piece out: rows of one type or another, as often as the weights
// have them, each reader's into a place of its own.
func (t *Meter) filler() func(reader int, piece int64) error {
	return func(reader int, piece int64) error {
		s := t.packs[t.order[piece%turns]]
		return t.b.Fill(s.places[reader], 0, s.raw)
	}
}

// packSet is rows of one type as they are stored, and where readers lay them out.
type packSet struct {
	raw    []byte
	places []backend.Matrix
}

// addPlaces takes memory to lay rows of a set out in.
func (t *Meter) addPlaces(s *matrixSet) error {
	spec := s.spec
	spec.Out = s.rawRows
	each := t.b.MatrixBytes(spec.Type, spec.Out, spec.In)
	each = (each + backend.SlabAlign - 1) / backend.SlabAlign * backend.SlabAlign
	slab, err := t.b.NewSlab(streamReaders * each)
	if err != nil {
		return err
	}
	p := packSet{raw: s.raw}
	for i := range int64(streamReaders) {
		w, err := t.b.Place(slab, i*each, spec)
		if err != nil {
			return err
		}
		p.places = append(p.places, w)
	}
	t.packs = append(t.packs, p)
	return nil
}

// takeTurns spreads types over turns by their bytes, alike where those are not known.
func takeTurns(bytes []float64) (order [turns]int) {
	var all float64
	for _, n := range bytes {
		all += n
	}
	due := make([]float64, len(bytes))
	for i := range order {
		most := 0
		for k, n := range bytes {
			if due[k] += n / all; due[k] > due[most] {
				most = k
			}
		}
		order[i] = most
		due[most]--
	}
	return order
}

// streamer reads pieces.
type streamer struct {
	r      io.ReaderAt
	pieces int64
	fill   func(reader int, piece int64) error // nil: nothing to do
}

// run reads while meanwhile runs, and each reader at least once, until what is under way then
// has come too. It returns the rate in 10⁹ bytes per second.
func (s *streamer) run(meanwhile func()) (float64, error) {
	var next, done atomic.Int64
	var stop atomic.Bool
	var wg sync.WaitGroup
	errs := make(chan error, streamReaders)
	begin := time.Now()
	for i := range streamReaders {
		wg.Go(func() {
			p := aligned(streamPiece)
			for ended := false; !ended; ended = stop.Load() {
				piece := next.Add(1)
				err := read(s.r, p, piece%s.pieces*streamPiece)
				if err == nil && s.fill != nil {
					err = s.fill(i, piece)
				}
				if err != nil {
					errs <- fmt.Errorf("measure streaming: %w", err)
					return
				}
				done.Add(streamPiece)
			}
		})
	}
	meanwhile()
	stop.Store(true)
	wg.Wait()
	took := time.Since(begin)
	close(errs)
	return float64(done.Load()) / float64(took.Nanoseconds()), <-errs
}
