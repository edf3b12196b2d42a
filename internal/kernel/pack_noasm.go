//go:build purego || !amd64

package kernel

import "github.com/plume-run/plume/internal/quant"

// packPanelSIMD: no variant here. On arm64 the generic code is what there is.
func packPanelSIMD(quant.Type, []byte, []byte, int) bool { return false }
