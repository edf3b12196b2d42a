// Package testkit holds what the tests of several packages share: tiny models
// with values that any engine can rebuild, comparisons that say what differs,
// and a reader that fails on demand.
//
// Only _test.go files import it, and arch_test.go sees to that. Tests of the
// packages it imports itself (quant, checkpoint, gemma) must be external ones
// (package x_test). Nothing here keeps state; every function may be called
// from parallel tests.
package testkit
