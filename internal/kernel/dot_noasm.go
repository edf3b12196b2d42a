//go:build purego || !amd64

package kernel

func dotTileSIMD(Kind, int, int, *dotArgs) bool { return false }
func mixTileSIMD(Kind, int, *mixArgs) bool      { return false }
