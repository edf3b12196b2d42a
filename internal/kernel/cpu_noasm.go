//go:build purego || (!amd64 && !arm64)

package kernel

func supported() []string { return []string{levelGeneric} }

func apply(string) {}
