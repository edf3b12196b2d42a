//go:build purego || (!amd64 && !arm64)

package kernel

func tileWidth(Layout) int { return maxTile }

func mulTileSIMD(Layout, int, *mulArgs) bool      { return false }
func quantizeSIMD([]byte, []float32) bool         { return false }
func quantRowSIMD([]int8, []float32, float32) int { return 0 }
