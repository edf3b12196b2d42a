package kernel

import (
	"runtime"
	"testing"
)

// TestLimitsVariants: every vector of the stream is read, and every level has its peaks.
func TestLimitsVariants(t *testing.T) {
	eachVariant(t, func(t *testing.T, level string) {
		atLevel(t, level, func() {
			vector := 32
			if runtime.GOARCH == "arm64" {
				vector = 16
			}
			b := make([]byte, 768)
			for i := 0; i < len(b); i += vector {
				b[i] = 1
				if got := streamPart(b); got != 1 {
					t.Errorf("byte %d of %d: OR %#x, want 1", i, len(b), got)
				}
				b[i] = 0
			}
			if got := streamPart(b); got != 0 {
				t.Errorf("zeros: OR %#x", got)
			}
			if PeakInt8() <= 0 || PeakF32() <= 0 {
				t.Errorf("no peak: int8 %d, f32 %d", PeakInt8(), PeakF32())
			}
		})
	})
}
