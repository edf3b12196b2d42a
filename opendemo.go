package plume

import (
	"io"

	"github.com/plume-run/plume/demo"
)

// OpenDemo opens the small model that is built into the program: 17.9 million
// parameters that tell children's stories, on disk in the user's cache folder
// (or in PLUME_CACHE). When it has to be kept elsewhere, a line is written to
// notes, which may be nil. Programs that do not call OpenDemo do not carry it.
func OpenDemo(o Options, notes io.Writer) (*Model, error) {
	path, note, err := demo.Path()
	if err != nil {
		return nil, err
	}
	if note != "" && notes != nil {
		io.WriteString(notes, note+"\n")
	}
	return Open(path, o)
}
