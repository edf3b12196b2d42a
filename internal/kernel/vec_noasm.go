//go:build purego || (!amd64 && !arm64)

package kernel

// No variant here: the generic code does all elements.

func addSIMD(_, _ []float32) int                           { return 0 }
func mulSIMD(_, _ []float32) int                           { return 0 }
func scaleSIMD(_ []float32, _ float32) int                 { return 0 }
func axpySIMD(_, _ []float32, _ float32) int               { return 0 }
func scaleMulSIMD(_, _, _ []float32, _ float32) int        { return 0 }
func ropeSIMD(_, _, _, _ []float32) int                    { return 0 }
func gegluSIMD(_, _ []float32) int                         { return 0 }
func softcapSIMD(_ []float32, _ float32) int               { return 0 }
func maxSIMD(_ []float32, _ *[8]float32) int               { return 0 }
func expSumSIMD(_ []float32, _ float32, _ *[8]float32) int { return 0 }
func f16ToF32SIMD(_ []float32, _ []uint16) int             { return 0 }
func bf16ToF32SIMD(_ []float32, _ []uint16) int            { return 0 }
func f32ToF16SIMD(_ []uint16, _ []float32) int             { return 0 }

//go:noinline
func pause() {
	for range 30 {
	}
}

func fetch(*byte, int) {}
