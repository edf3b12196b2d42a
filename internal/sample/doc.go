// Package sample chooses the next token from one row of logits.
//
// The steps, always in this order, which is the one Hugging Face generation
// uses and the order model cards assume:
//
//	penalties → temperature → top-k → top-p → min-p → one draw
//
// so top-p and min-p see the distribution after the temperature, and top-p the
// one that top-k left. (llama.cpp applies its temperature last; the same
// settings give it a narrower choice when the temperature is above 1.)
//
// Results are reproducible: the same Params, logits and history give the same
// ids on every platform and compiler setting. The generator is PCG-DXSM as
// math/rand/v2 fixes it, the exponential is this package's own, sums run in a
// fixed order in float64, and no expression leaves the compiler room to fuse.
// One call with a temperature above 0 takes exactly one number from the
// generator, a greedy call none, so streams stay aligned whatever the logits.
//
// The package knows nothing of models, text or tokenizers; the engine calls it
// once per decoded token. Logits are read, never written nor kept. A Sampler
// owns its scratch memory and its generator: one goroutine at a time. The
// log-probability functions are stateless and safe everywhere.
package sample
