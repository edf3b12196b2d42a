// Command _asm writes the assembly of package kernel:
//
//	go run . -unit vec -out ../vec_amd64.s -stubs ../vec_stubs_amd64.go -pkg kernel
//
// One unit is one file: vec (element-wise and reductions), dot (float tiles), ints (int8 rows
// against int16), and both again with AVX-512,
// quantmul (quantised weights, AVX2), quantvnni (the same with AVX-VNNI), quantmul512 (with AVX-512
// VNNI); pack (from a checkpoint's rows, AVX2); tables writes the Go functions that choose among these; the arm64 units write the NEON
// files, with -armout and -armstubs.
package main

import (
	"flag"
	"log"

	. "github.com/mmcloughlin/avo/build"
)

var unit = flag.String("unit", "", "which file to write: vec, dot, dot512, ints, ints512, quantmul, quantvnni, quantmul512, tables, pack, arm64vec, arm64dot, arm64ints, arm64mul")

// Where the arm64 units write; avo has its own flags.
var (
	armOutPath   = flag.String("armout", "", "assembly file of an arm64 unit")
	armStubsPath = flag.String("armstubs", "", "stub file of an arm64 unit")
)

func main() {
	flag.Parse()
	switch *unit {
	case "arm64vec":
		armVecUnit()
		return
	case "arm64dot":
		armDotUnit()
		return
	case "arm64ints":
		armIntsUnit()
		return
	case "arm64mul":
		armMulUnit()
		return
	case "tables":
		writeTables()
		return
	}
	ConstraintExpr("amd64,!purego")
	units := map[string]func(){
		"vec":         vecUnit,
		"dot":         dotUnit,
		"dot512":      dot512Unit,
		"ints":        intsUnit,
		"ints512":     ints512Unit,
		"quantmul":    quantMulUnit,
		"quantvnni":   quantVNNIUnit,
		"quantmul512": quantMul512Unit,
		"pack":        packUnit,
	}
	f := units[*unit]
	if f == nil {
		log.Fatalf("unknown unit %q", *unit)
	}
	f()
	Generate()
}
