package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"unicode"

	"github.com/plume-run/plume"
)

// chooser gets places ready and returns what draws the tokens of a place's next step.
// What it draws is good until the next call.
type chooser func(ctx context.Context, b *plume.BenchTable, places int) (draw func(place int) []int32, err error)

// freshTokens draws n tokens that were not drawn before, with nothing of the table in
// the page cache.
func freshTokens(n int) chooser {
	return func(_ context.Context, b *plume.BenchTable, _ int) (func(int) []int32, error) {
		ids := make([]int32, n)
		return func(int) []int32 {
			b.Draw(ids)
			b.Forget()
			return ids
		}, nil
	}
}

// fewTokens draws tokens whose rows a row cache of so many bytes holds.
func fewTokens(cacheBytes int64) chooser {
	return func(ctx context.Context, b *plume.BenchTable, places int) (func(int) []int32, error) {
		few := make([]int32, max(1, min(64, cacheBytes/int64(b.RowBytes())/4)))
		b.Draw(few)
		next := make([]int, places)
		for i := range places {
			if err := b.Warm(ctx, i, few); err != nil {
				return nil, err
			}
		}
		return func(i int) []int32 {
			at := next[i] % len(few)
			next[i]++
			return few[at : at+1]
		}, nil
	}
}

// What a row cache has seen before tokens are measured, and how many at a time.
const (
	tokensBefore = 4096
	tokensAtOnce = 256
)

// tokensOf draws the last n tokens of ids one after the other, in each place. The
// step before these is the one that is not measured.
func tokensOf(ids []int32, n int) chooser {
	return func(ctx context.Context, b *plume.BenchTable, places int) (func(int) []int32, error) {
		from := len(ids) - n - 1
		next := make([]int, places)
		for i := range places {
			next[i] = from
			for at := max(0, from-tokensBefore); at < from; at += tokensAtOnce {
				if err := b.Warm(ctx, i, ids[at:min(at+tokensAtOnce, from)]); err != nil {
					return nil, err
				}
			}
		}
		return func(i int) []int32 {
			at := next[i]
			next[i]++
			return ids[at : at+1]
		}, nil
	}
}

// sequence returns the tokens of --ids, as many as are needed.
func (r *tableRunner) sequence() ([]int32, error) {
	n, vocab := r.f.tokens*r.f.repeat+1, r.m.VocabSize()
	if r.f.ids == "zipf" {
		return zipf(tokensBefore+n, vocab), nil
	}
	text, err := os.ReadFile(r.f.ids)
	if err != nil {
		return nil, err
	}
	ids, ok := tokenNumbers(text, vocab)
	if !ok {
		if ids, err = r.m.Tokenize(string(text)); err != nil {
			return nil, fmt.Errorf("tokens of %s: no list of numbers below %d: %w", r.f.ids, vocab, err)
		}
	}
	if len(ids) < n {
		return nil, fmt.Errorf("tokens of %s: %d, want --tokens times --repeat and one more, %d", r.f.ids, len(ids), n)
	}
	return ids[:min(len(ids), tokensBefore+n)], nil
}

// zipf returns n tokens drawn by Zipf's law, spread over the vocabulary.
func zipf(n, vocab int) []int32 {
	draw := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.2, 3, uint64(vocab-1))
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(draw.Uint64() * 162017 % uint64(vocab)) // near the golden section of 2^18
	}
	return ids
}

// tokenNumbers reads a list of numbers below vocab, as plume tokenize prints them;
// false when text is something else.
func tokenNumbers(text []byte, vocab int) ([]int32, bool) {
	var ids []int32
	for _, word := range bytes.FieldsFunc(text, func(c rune) bool { return unicode.IsSpace(c) || c == ',' || c == '[' || c == ']' }) {
		id, err := strconv.ParseUint(string(word), 10, 31)
		if err != nil || id >= uint64(vocab) {
			return nil, false
		}
		ids = append(ids, int32(id))
	}
	return ids, true
}
