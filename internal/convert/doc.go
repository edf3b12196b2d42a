// Package convert makes model files: GGUF from any checkpoint ([Convert]), and
// benchmark models of the published sizes whose weights follow from a rule and
// so need no download ([Synth]).
//
// Both stream. A tensor passes through in chunks of whole rows; chunks are read
// (or made), decoded and encoded by several goroutines and written in order by
// one, so memory does not grow with the model, the output is one sequential
// write, and its bytes do not depend on the number of threads.
//
// The package does not run models, does not judge quality, and converts the text
// decoder only: tensors of the vision and audio parts are counted and left out.
//
// Called by the command line. Catalogs and configs stay the caller's; the calls
// share no state and may run at the same time on different outputs. Outputs
// appear under their names only when they are complete.
package convert
