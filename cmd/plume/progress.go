package main

import (
	"io"
	"os"
	"sync"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

// unit is what a progress bar counts.
type unit int

const (
	unitBytes unit = iota
	unitTokens
)

// bar shows the progress of long work on stderr when that is a terminal, and
// nothing otherwise. The zero value and nil show nothing.
type bar struct {
	name string
	unit unit
	out  io.Writer

	mu       sync.Mutex
	progress *mpb.Progress
	bar      *mpb.Bar
	ended    bool
}

// newBar returns a bar that appears with the first call of set.
func newBar(out io.Writer, name string, u unit) *bar {
	if !isTerminal(out) {
		out = nil
	}
	return &bar{name: name, unit: u, out: out}
}

// set shows done of total.
func (b *bar) set(done, total int64) {
	if b.out == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return
	}
	if b.bar == nil {
		b.progress = mpb.New(mpb.WithOutput(b.out), mpb.WithWidth(40))
		counter := decor.CountersKibiByte("% .1f / % .1f")
		if b.unit == unitTokens {
			counter = decor.CountersNoUnit("%d / %d tokens")
		}
		b.bar = b.progress.AddBar(total, mpb.BarRemoveOnComplete(),
			mpb.PrependDecorators(decor.Name(b.name+" ")),
			mpb.AppendDecorators(counter, decor.Name(" "), decor.AverageETA(decor.ET_STYLE_GO)))
	}
	b.bar.SetTotal(total, false)
	b.bar.SetCurrent(done)
}

// end takes the bar off the screen.
func (b *bar) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
	if b.bar != nil {
		b.bar.Abort(true)
		b.progress.Wait()
		b.bar = nil
	}
}

// isTerminal reports whether people see w or type into it.
func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
