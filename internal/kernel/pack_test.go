package kernel

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestPackVariants: every variant packs to the same bytes, whatever the rows are made of, and
// writes nothing beyond.
func TestPackVariants(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, typ := range weightTypes {
		for _, shape := range [][2]int{{16, 256}, {48, 512}, {33, 1280}, {15, 256}} {
			rows, cols := shape[0], shape[1]
			rowBytes, err := typ.Bytes(int64(cols))
			if err != nil {
				t.Fatal(err)
			}
			src := make([]byte, rows*int(rowBytes))
			for i := range src {
				src[i] = byte(rng.Uint32())
			}
			n := PackedBytes(typ, rows, cols)
			pack := func() []byte {
				dst := bytes.Repeat([]byte{0xa5}, n+64)
				if err := PackRows(typ, dst[:n], src, rows, cols); err != nil {
					t.Fatal(err)
				}
				return dst
			}
			var want []byte
			atLevel(t, levelGeneric, func() { want = pack() })
			for _, level := range Levels() {
				t.Run(fmt.Sprintf("%v/%dx%d/%s", typ, rows, cols, level), func(t *testing.T) {
					atLevel(t, level, func() {
						if !bytes.Equal(pack(), want) {
							t.Error("other bytes than the generic version's")
						}
					})
				})
			}
		}
	}
}
