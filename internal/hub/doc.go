// Package hub brings models to this machine and keeps them.
//
// [Hub.Pull] downloads a model by name from one of three kinds of sources:
//
//	owner/repo[@revision][:choice]  a Hugging Face repository: safetensors, or with
//	                                several GGUF models in it the chosen one
//	ollama:model[:tag]              a model of the Ollama registry
//	https://host/path/file.gguf     one file (also .safetensors; split sets whole)
//
// # The store
//
// One folder per name, below Options.Dir:
//
//	google-gemma-4-E2B-it-0a1b2c3d4e/
//	├─ manifest.json       what is whole: written last, by rename; without it nothing is listed
//	├─ 5e6f7a8b9c0d/       the files that it names
//	├─ partial.json        what is being downloaded, or was when a pull was cut off
//	└─ partial/            its files, each with FILE.journal beside it
//	.locks/                one per name; held by whoever changes its folder
//
// A file has its full length from the start and is filled in pieces, in any
// order. The journal's first line says which version of which file this is; each
// further line is the number of a piece that is safe on the disk. So a process
// may die at any instant: the next one goes on after the last such line, and
// begins anew when the source has another version.
//
// While pieces arrive, one goroutine reads them back in order and computes
// SHA-256, and where the source gives one (Git's SHA-1 for small files of a
// repository) the sum is compared. What does not agree is deleted.
//
// # What is not believed
//
// Names from a server become file names only when they are plain ones (no
// separators, no reserved names of any system). Sizes are bounded, answers in
// JSON are read up to a limit, compressed files are refused, ranges are
// compared with what was asked for. A token goes to the origin that it belongs
// to and to no other, whatever redirects say; https never becomes http.
//
// What this package does not do: it knows no file format and no model. Options.Describe
// looks at what has arrived. Package plume (root) wires that up; the command
// line and servers call it through there.
//
// A [Hub] has no open files between calls, and any number of goroutines and
// processes may use it at once; two that want to change the same name are told
// apart by [ErrBusy].
package hub
