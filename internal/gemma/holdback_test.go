package gemma_test

import (
	"testing"

	"github.com/plume-run/plume/internal/backend/ref"
	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/testkit"
)

// Weights whose memory is needed for something else are not read before LoadRest, and every
// byte of them once after.
func TestHoldBack(t *testing.T) {
	g, b := loadGolden(t, "e-tiny"), ref.New()
	all, _, _ := bindFaulty(t, g, b, gemma.BindOptions{})
	want := all.WeightStats()
	for name, bytes := range map[string]int64{"nothing": 0, "the last group": 1, "everything": 1 << 60} {
		t.Run(name, func(t *testing.T) {
			told := make(chan int64, 1000)
			m, _, door := bindFaulty(t, g, b, gemma.BindOptions{
				Background: true, HoldBack: bytes,
				Progress: func(done, total int64) { told <- total - done },
			})
			door.open()
			if bytes == 1<<60 {
				if got := m.WeightStats(); got.Reads != 0 {
					t.Errorf("%d reads before LoadRest, want none", got.Reads)
				}
			} else {
				<-told // something is on its way
			}
			m.LoadRest()
			if err := m.Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := m.WeightStats(); got.ReadBytes != want.ReadBytes || got.Reads != want.Reads {
				t.Errorf("%d bytes in %d reads, want %d in %d", got.ReadBytes, got.Reads, want.ReadBytes, want.Reads)
			}
			logits, err := tryStep(t.Context(), t, m, g.IDs)
			if err != nil {
				t.Fatal(err)
			}
			testkit.SameBits(t, name, logits, whole(t, g, b))
		})
	}
}
