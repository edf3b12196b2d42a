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
	for name, tt := range map[string]struct {
		bytes int64
		held  func(groups int) int
	}{
		"nothing":        {0, func(int) int { return 0 }},
		"the last group": {1, func(int) int { return 1 }},
		"everything":     {1 << 60, func(groups int) int { return groups }},
	} {
		t.Run(name, func(t *testing.T) {
			m, _, door := bindFaulty(t, g, b, gemma.BindOptions{Background: true, HoldBack: tt.bytes})
			begun := m.Begun()
			for i, is := range begun {
				if want := i < len(begun)-tt.held(len(begun)); is != want {
					t.Errorf("group %d of %d: reading has begun: %v, want %v", i, len(begun), is, want)
				}
			}
			door.open()
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
