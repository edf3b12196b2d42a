//go:build purego || (!amd64 && !arm64)

package kernel

const mixWidth = 1

func dotTileSIMD(Kind, int, int, *dotArgs) bool { return false }
func mixTileSIMD(Kind, int, *mixArgs) bool      { return false }
