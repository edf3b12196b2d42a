package gemma_test

import (
	"context"
	"path/filepath"
	"slices"
	"testing"

	"github.com/plume-run/plume/internal/backend/ref"
	"github.com/plume-run/plume/internal/gemma"
)

// TestPLECountsOfEachPart: sequences that share a step see their own rows.
func TestPLECountsOfEachPart(t *testing.T) {
	m := open(t, filepath.Join("testdata", "e-tiny"), ref.New())
	a, b := newCache(t, m, 20), newCache(t, m, 20)
	forward(t, m, a, []int32{5, 6}, gemma.WantAll) // all layers: later looks find whole rows
	if got := m.PLECounts(0); got.Rows != 2 || got.Read != 2 || got.Bytes == 0 {
		t.Errorf("first step: %+v", got)
	}
	_, _, err := m.Forward(context.Background(), &gemma.Batch{Parts: []gemma.Part{
		{Cache: a, IDs: []int32{6, 7}, Want: gemma.WantLast},
		{Cache: b, IDs: []int32{7, 5, 6}, Want: gemma.WantLast},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []gemma.PLECounts{{Rows: 2, Hits: 1, Read: 1, Reads: 1}, {Rows: 3, Hits: 3}, {}} {
		got := m.PLECounts(i)
		got.Wait, got.Latency, got.Bytes, got.Device = 0, 0, 0, 0
		if got != want {
			t.Errorf("part %d: %+v, want %+v", i, got, want)
		}
	}
	dense := open(t, filepath.Join("testdata", "dense-tiny"), ref.New())
	forward(t, dense, newCache(t, dense, 4), []int32{5}, gemma.WantLast)
	if got := dense.PLECounts(0); got != (gemma.PLECounts{}) {
		t.Errorf("no table: %+v", got)
	}
}

// TestExpectedTokens: what Expect has read is what Forward takes, and it changes
// no logit and no count.
func TestExpectedTokens(t *testing.T) {
	plain := open(t, filepath.Join("testdata", "e-tiny"), ref.New())
	early := open(t, filepath.Join("testdata", "e-tiny"), ref.New())
	a, b := newCache(t, plain, 200), newCache(t, early, 200)
	for _, id := range []int32{5, 9, 5, 30, 31, 9} {
		early.Expect(id)
		early.Expect(id + 1) // does not come
		want := forward(t, plain, a, []int32{id}, gemma.WantLast)
		if got := forward(t, early, b, []int32{id}, gemma.WantLast); !slices.Equal(got, want) {
			t.Fatalf("token %d: other logits", id)
		}
	}
	// 5, 9, 30 and 31 are read in any case, 6, 10 and 32 if that began in time.
	if n := early.PLEStats().Reads; n < 4 || n > 7 {
		t.Errorf("%d reads, want 4 to 7", n)
	}
	if got := early.PLECounts(0); got.Rows != 1 || got.Hits != 1 {
		t.Errorf("a token seen before: %+v", got)
	}
	for i := range int32(1000) {
		early.Expect(i % 50)
	}
	early.Expect(-1)
	early.Expect(1 << 30)
	forward(t, early, b, []int32{3}, gemma.WantLast)
	dense := open(t, filepath.Join("testdata", "dense-tiny"), ref.New())
	dense.Expect(1)
}
