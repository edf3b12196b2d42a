// Command _asm writes the amd64 assembly of package kernel:
//
//	go run . -unit vec -out ../vec_amd64.s -stubs ../vec_stubs_amd64.go -pkg kernel
//
// One unit is one file: vec (element-wise and reductions), dot (float tiles),
// quantmul (quantised weights, AVX2), quantmul512 (the same with AVX-512 VNNI).
package main

import (
	"flag"
	"log"

	. "github.com/mmcloughlin/avo/build"
)

var unit = flag.String("unit", "", "which file to write: vec, dot, quantmul, quantmul512")

func main() {
	flag.Parse()
	ConstraintExpr("amd64,!purego")
	units := map[string]func(){
		"vec":         vecUnit,
		"dot":         dotUnit,
		"quantmul":    quantMulUnit,
		"quantmul512": quantMul512Unit,
	}
	f := units[*unit]
	if f == nil {
		log.Fatalf("unknown unit %q", *unit)
	}
	f()
	Generate()
}
