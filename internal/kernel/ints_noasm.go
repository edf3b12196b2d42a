//go:build purego || (!amd64 && !arm64)

package kernel

func intWidth() int    { return 1 }
func mixIntWidth() int { return 1 }

func dotIntsSIMD(_, _ int, _ *intArgs) bool         { return false }
func mixIntsSIMD(int, *mixArgs) bool                { return false }
func absTopSIMD([]float32) (uint32, int)            { return 0, 0 }
func quantIntsSIMD([]int16, []float32, float32) int { return 0 }
func scaleIntsSIMD([]float32, []int32, float32) int { return 0 }
