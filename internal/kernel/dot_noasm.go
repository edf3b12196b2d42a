//go:build purego || (!amd64 && !arm64)

package kernel

func mixWidth() int { return 1 }

func dotShape(_, _ int) (R, T int) { return 1, 1 }

func dotTileSIMD(Kind, int, int, *dotArgs) bool { return false }
func mixTileSIMD(Kind, int, *mixArgs) bool      { return false }
