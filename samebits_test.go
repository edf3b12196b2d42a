package plume

import (
	"math"
	"testing"

	"github.com/plume-run/plume/internal/backend/cpu"
	"github.com/plume-run/plume/internal/gemma"
)

// TestDemoKeepsItsBits computes more tokens than a window holds, on quantised weights and with
// keys and values in f16 and int8, in every way that must not matter: threads, chunks, beside
// other sequences. Package gemma does the same with float weights and f32.
func TestDemoKeepsItsBits(t *testing.T) {
	for _, kv := range []string{"f16", "int8"} {
		t.Run(kv, func(t *testing.T) {
			m, err := OpenDemo(Options{Threads: 1, KVType: kv}, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			b := newBench(t, m)
			ids := make([]int32, m.cfg.SlidingWindow+40)
			b.draw(ids)
			want := b.bits(t, ids, len(ids), 0)
			if last := want[len(want)-1]; last == want[0] {
				t.Fatalf("all rows of logits are %x", last)
			}
			for _, c := range []struct{ threads, chunk, mates int }{{1, 1, 2}, {1, 7, 0}, {2, 170, 2}, {2, 1, 0}, {3, 7, 2}, {3, 170, 0}} {
				if err := m.back.(*cpu.CPU).SetThreads(c.threads); err != nil {
					t.Fatal(err)
				}
				got := b.bits(t, ids, c.chunk, c.mates)
				for i := range want {
					if got[i] != want[i] {
						t.Fatalf("threads, chunk and mates %v: logits of token %d differ", c, i)
					}
				}
			}
		})
	}
}

// bits is a sum of every token's logits, computed chunk by chunk beside mates, which
// are themselves in the middle of a prompt or of decoding.
func (b *Bench) bits(t *testing.T, ids []int32, chunk, mates int) []uint64 {
	t.Helper()
	caches := make([]*gemma.Cache, 1+mates)
	for i := range caches {
		c, err := b.m.gm.NewCache(len(ids), chunk)
		if err != nil {
			t.Fatal(err)
		}
		caches[i] = c
	}
	var out []uint64
	for at := 0; at < len(ids); at += chunk {
		part := ids[at:min(at+chunk, len(ids))]
		var parts []gemma.Part
		for i, c := range caches[1:] {
			mate := gemma.Part{Cache: c, IDs: part[:max(1, len(part)/(2+i))], Want: gemma.WantLast}
			if i == 1 {
				mate.Want = gemma.WantNone
			}
			parts = append(parts, mate)
		}
		parts = append(parts, gemma.Part{Cache: caches[0], IDs: part, Want: gemma.WantAll})
		logits, rows, err := b.m.gm.Forward(t.Context(), &gemma.Batch{Parts: parts})
		if err != nil {
			t.Fatal(err)
		}
		v := b.m.VocabSize()
		for row := rows - len(part); row < rows; row++ {
			out = append(out, sumOf(logits[row*v:(row+1)*v]))
		}
	}
	return out
}

func sumOf(row []float32) uint64 {
	var h uint64
	for _, x := range row {
		h = (h ^ uint64(math.Float32bits(x))) * 0x100000001b3
	}
	return h
}
