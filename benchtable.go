package plume

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/ple"
	"github.com/plume-run/plume/internal/sample"
)

// TablePlace is a home of the per-layer table that BenchTable measures.
type TablePlace struct {
	PLE        string // as Options.PLE, but for "auto"
	CacheBytes int64  // of its row cache; 0: none
	Drop       bool   // of "disk": what was read is taken out of the page cache
	Goroutines bool   // goroutines read, also where the one that asks could
}

// BenchTable computes steps of one model with its per-layer table in one place or
// another, so that places can be compared step by step: weights, memory and threads
// are the same. It belongs to one goroutine, and nothing else may use the model
// until Close.
type BenchTable struct {
	m     *Model
	file  *checkpoint.Catalog // to drop it from the page cache
	own   *gemma.PLETable
	homes []*gemma.PLETable
	cache *gemma.Cache
	pick  *sample.Sampler
	walk  Bench // through the vocabulary
}

// benchContext is how many positions a step of decoding sees.
const benchContext = 16

// TableFile is the file that has the per-layer table; "" for a model without one, or
// whose table is in several pieces.
func (m *Model) TableFile() string { return m.gm.PLEFile() }

// NewBenchTable opens the places. Steps may have up to tokens tokens.
func (m *Model) NewBenchTable(ctx context.Context, tokens int, places ...TablePlace) (*BenchTable, error) {
	if m.cfg.PLESize == 0 || len(places) == 0 || tokens < 1 || tokens > m.MaxContext()-benchContext {
		return nil, requestError{fmt.Errorf("compare %d places with steps of %d tokens, in a model of %d positions and %d values per layer", len(places), tokens, m.MaxContext(), m.cfg.PLESize)}
	}
	b := &BenchTable{m: m, walk: Bench{m: m, walk: new(int)}}
	if err := b.open(ctx, tokens, places); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

func (b *BenchTable) open(ctx context.Context, tokens int, places []TablePlace) (err error) {
	if b.file, err = openModel(b.m.path, b.m.opt.PLETimeout); err != nil {
		return err
	}
	if b.pick, err = sample.New(sample.Params{}); err != nil {
		return err
	}
	left := b.m.plan.p.Budget - b.m.plan.p.Total
	for _, p := range places {
		home, err := b.m.gm.OpenPLE(b.opener(p, &left), b.m.rowOptions(p.CacheBytes))
		if err != nil {
			return fmt.Errorf("table in %s: %w", publicPlace(p.PLE), err)
		}
		b.homes = append(b.homes, home)
	}
	b.own = b.m.gm.SwapPLE(b.homes[0])
	if b.cache, err = b.m.gm.NewCache(benchContext+tokens, tokens); err != nil {
		return err
	}
	ids := make([]int32, benchContext)
	b.Draw(ids)
	_, _, err = b.m.gm.Forward(ctx, &gemma.Batch{Parts: []gemma.Part{{Cache: b.cache, IDs: ids}}})
	return err
}

// plain hides the ways to read a source that need no goroutine.
type plain struct{ ple.Source }

// opener opens a place. A table in memory is refused where the budget has not as
// much left; no other place is slowed down less than the options ask for.
func (b *BenchTable) opener(p TablePlace, left *int64) func(ple.Spec, int) (ple.Source, error) {
	return func(spec ple.Spec, rowBytes int) (ple.Source, error) {
		if ple.Kind(p.PLE) == ple.RAM {
			if *left -= spec.Bytes; b.m.plan.p.Budget > 0 && *left < 0 {
				return nil, memoryError{fmt.Errorf("the table takes %d MiB, %d MiB more than the budget has left (%s)", spec.Bytes>>20, -*left>>20, b.m.plan.from)}
			}
			return ple.OpenSource(ple.RAM, spec)
		}
		spec.Drop = p.Drop
		src, _, err := b.m.openPlace(p.PLE, spec, rowBytes)
		if err == nil && p.Goroutines {
			return plain{src}, nil
		}
		return src, err
	}
}

// Draw fills ids with the next ones of a walk that meets every token of the
// vocabulary before one comes again.
func (b *BenchTable) Draw(ids []int32) { b.walk.draw(ids) }

// Step computes the tokens ids with the table in a place: one as an answer's, asked
// for ahead and followed by sampling, several as a prompt, in chunks as sessions do.
// It returns how long that took. Every step begins at the same position.
func (b *BenchTable) Step(ctx context.Context, place int, ids []int32) (time.Duration, error) {
	gm, vocab := b.m.gm, b.m.VocabSize()
	gm.SwapPLE(b.homes[place])
	begin := time.Now()
	if len(ids) == 1 {
		gm.Expect(ids[0])
	}
	for len(ids) > 0 {
		n, want := min(b.m.opt.Chunk, len(ids)), gemma.WantNone
		if n == len(ids) {
			want = gemma.WantLast
		}
		logits, rows, err := gm.Forward(ctx, &gemma.Batch{Parts: []gemma.Part{{Cache: b.cache, IDs: ids[:n], Want: want}}})
		if err != nil {
			return 0, err
		}
		if rows > 0 {
			b.pick.Sample(logits[:vocab], nil)
		}
		ids = ids[n:]
	}
	took := time.Since(begin)
	if !b.cache.Truncate(benchContext) {
		return 0, errors.New("measure table: the cache does not go back")
	}
	return took, nil
}

// Warm has the rows of ids read in a place, for its row cache.
func (b *BenchTable) Warm(ctx context.Context, place int, ids []int32) error {
	return b.homes[place].Warm(ctx, ids)
}

// Forget drops the model's file from the page cache, where the system can do that;
// pages of a mapping stay.
func (b *BenchTable) Forget() { b.file.DropAll() }

// About says how rows are reached in a place, in a few words.
func (b *BenchTable) About(place int) string { return b.homes[place].About() }

// RowBytes is the length of a row of the table.
func (b *BenchTable) RowBytes() int { return b.homes[0].RowBytes() }

// Bytes is the length of the table.
func (b *BenchTable) Bytes() int64 { return b.homes[0].Bytes() }

// Stats counts what a place was asked for since it was opened.
func (b *BenchTable) Stats(place int) PLEStats { return pleStats(b.homes[place].Stats()) }

// ReadTime is what one read of the device took until it was noticed: the median.
func (p PLEStats) ReadTime() time.Duration { return p.raw.ReadTimes.Quantile(0.5) }

// Since is what p counts more than earlier.
func (p PLEStats) Since(earlier PLEStats) PLEStats { return p.minus(earlier) }

// Close gives the model its own table back.
func (b *BenchTable) Close() (err error) {
	if b.own != nil {
		b.m.gm.SwapPLE(b.own)
	}
	for _, h := range b.homes {
		err = errors.Join(err, h.Close())
	}
	if b.file != nil {
		err = errors.Join(err, b.file.Close())
	}
	return err
}
