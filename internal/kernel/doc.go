// Package kernel holds the leaf functions of inference on a CPU: dot products, weighted sums,
// norms, softmax and GELU pieces, and matrix products with packed quantised weights. Every
// function has a plain-Go version, which is its specification, and SIMD variants.
//
// One answer: every variant gives the same bits as the plain-Go version, on every machine.
// Integer sums are exact; the order of float operations is written down at each function and
// kept by all variants, including where a multiply-add rounds once (fma32). A result depends
// on its own row and vector alone, never on the shape of the call, so threads, chunks and
// batches change nothing. Only the payload of a NaN is left open, and so is what a matrix
// product makes of activations that are not finite (the result is not finite either).
//
// What it does not do: it starts no goroutines, allocates nothing in a SIMD variant, knows no
// tensors, models or caches, and reads no files. Work is cut so that no assembly call runs
// longer than about 100 µs, and between two of them the runtime can stop the goroutine.
//
// Who calls it: backend/cpu. Memory: all slices are the caller's; nothing is retained. All
// functions may run concurrently on different outputs; [SetLevel] may not run beside them.
// Sizes that do not fit are a bug of the caller and panic.
package kernel

//go:generate sh -c "cd _asm && go run . -pkg kernel -unit vec -out ../vec_amd64.s -stubs ../vec_stubs_amd64.go"
//go:generate sh -c "cd _asm && go run . -pkg kernel -unit dot -out ../dot_amd64.s -stubs ../dot_stubs_amd64.go"
//go:generate sh -c "cd _asm && go run . -pkg kernel -unit dot512 -out ../dot512_amd64.s -stubs ../dot512_stubs_amd64.go"
//go:generate sh -c "cd _asm && go run . -pkg kernel -unit ints -out ../ints_amd64.s -stubs ../ints_stubs_amd64.go"
//go:generate sh -c "cd _asm && go run . -pkg kernel -unit ints512 -out ../ints512_amd64.s -stubs ../ints512_stubs_amd64.go"
//go:generate sh -c "cd _asm && go run . -pkg kernel -unit quantmul -out ../quantmul_amd64.s -stubs ../quantmul_stubs_amd64.go"
//go:generate sh -c "cd _asm && go run . -pkg kernel -unit quantmul512 -out ../quantmul512_amd64.s -stubs ../quantmul512_stubs_amd64.go"
//go:generate sh -c "cd _asm && go run . -pkg kernel -unit quantvnni -stubs ../quantvnni_stubs_amd64.go | sed -E '/textflag.h/a #include \"vnni_amd64.h\"\ns/AVX512VL, AVX512VNNI/AVXVNNI/\ns/VPDPBUSD +Y([0-9]+), Y([0-9]+), Y([0-9]+)/VPDPBUSDY(\\1, \\2, \\3)/' > ../quantvnni_amd64.s"
//go:generate sh -c "cd _asm && go run . -pkg kernel -unit pack -out ../pack_amd64.s -stubs ../pack_stubs_amd64.go"
//go:generate sh -c "cd _asm && go run . -unit tables -armout ../tables"
//go:generate sh -c "cd _asm && go run . -unit arm64vec -armout ../vec_arm64.s -armstubs ../vec_stubs_arm64.go"
//go:generate sh -c "cd _asm && go run . -unit arm64dot -armout ../dot_arm64.s -armstubs ../dot_stubs_arm64.go"
//go:generate sh -c "cd _asm && go run . -unit arm64ints -armout ../ints_arm64.s -armstubs ../ints_stubs_arm64.go"
//go:generate sh -c "cd _asm && go run . -unit arm64mul -armout ../quantmul_arm64.s -armstubs ../quantmul_stubs_arm64.go"
