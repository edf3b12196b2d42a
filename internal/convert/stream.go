package convert

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/plume-run/plume/internal/quant"
)

// chunkValues is the aim for one chunk: large enough that hand-overs do not
// show, small enough that a chunk's float32 values stay in a core's cache.
const chunkValues = 128 << 10

// maxBufferBytes bounds the chunks in flight. A chunk of c values takes at most
// 12c bytes (source, float32, output), so this only bites with more than 80
// threads, or rows of millions of values.
const maxBufferBytes = 256 << 20

// part is one tensor of the output.
type part struct {
	name         string
	typ          quant.Type
	shape        []int
	rows, rowLen int
	rowBytes     int64
	// fill makes rows [row, row+n) of the tensor in dst, which has just their
	// length. It is called from several goroutines; scratch belongs to the call.
	fill func(dst []byte, scratch *scratch, row, n int) error
}

// newPart computes the sizes of a part. shape is known to be positive.
func newPart(name string, typ quant.Type, shape []int) (part, error) {
	p := part{name: name, typ: typ, shape: shape, rows: 1, rowLen: shape[len(shape)-1]}
	for _, d := range shape[:len(shape)-1] {
		p.rows *= d
	}
	var err error
	p.rowBytes, err = typ.Bytes(int64(p.rowLen))
	if err != nil {
		return part{}, fmt.Errorf("%s: %w", name, err)
	}
	return p, nil
}

func (p *part) bytes() int64 { return int64(p.rows) * p.rowBytes }

// chunkRows is how many rows make a chunk.
func (p *part) chunkRows() int { return max(1, min(p.rows, chunkValues/p.rowLen)) }

// scratch is the memory of one worker, grown as needed.
type scratch struct {
	values []float32
	raw    []byte
}

func (s *scratch) floats(n int) []float32 {
	if cap(s.values) < n {
		s.values = make([]float32, n)
	}
	return s.values[:n]
}

func (s *scratch) bytes(n int) []byte {
	s.raw = resize(s.raw, n)
	return s.raw
}

// sink is a file being written: a GGUF or safetensors writer.
type sink interface {
	Declare(name string, t quant.Type, shape []int) error
	WriteFunc(name string, fn func(io.Writer) error) error
}

// chunk is a stretch of a part on its way to the file.
type chunk struct {
	part   *part
	row, n int
	data   []byte
	err    error
	done   chan struct{} // closed by the worker that has made it
}

// writeParts declares and writes all parts; w's end is the caller's business. Chunks
// are made by threads goroutines (0: one for each CPU) in any order and written
// in order. progress, if set, is called from this goroutine with output bytes.
func writeParts(ctx context.Context, w sink, parts []part, threads int, progress func(done, total int64)) error {
	var total int64
	for i := range parts {
		if err := w.Declare(parts[i].name, parts[i].typ, parts[i].shape); err != nil {
			return err
		}
		total += parts[i].bytes()
	}
	ctx, cancel := context.WithCancel(ctx)
	pl := newPipeline(parts, threads)
	pl.start(ctx, parts)
	defer pl.wait.Wait()
	defer cancel()

	var done int64
	for i := range parts {
		err := w.WriteFunc(parts[i].name, func(out io.Writer) error {
			for left := parts[i].rows; left > 0; {
				n, rows, err := pl.writeNext(ctx, out)
				if err != nil {
					return err
				}
				left -= rows
				if done += int64(n); progress != nil {
					progress(done, total)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// pipeline moves chunks from a dispatcher through workers to the writer. There
// are as many buffers as chunks may be in flight; the dispatcher takes one for
// each chunk and the writer gives it back, so the channels never fill up.
type pipeline struct {
	threads int
	buffers chan []byte
	work    chan *chunk // to any worker
	line    chan *chunk // to the writer, in order
	wait    sync.WaitGroup
}

func newPipeline(parts []part, threads int) *pipeline {
	if threads <= 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	largest := int64(1)
	for i := range parts {
		largest = max(largest, int64(parts[i].chunkRows())*int64(parts[i].rowLen)*12)
	}
	inFlight := int(max(1, min(2*int64(threads), maxBufferBytes/largest)))
	p := &pipeline{
		threads: min(threads, inFlight),
		buffers: make(chan []byte, inFlight),
		work:    make(chan *chunk, inFlight),
		line:    make(chan *chunk, inFlight),
	}
	for range inFlight {
		p.buffers <- nil
	}
	return p
}

// start begins the goroutines; they end when all is made or ctx is cancelled.
func (p *pipeline) start(ctx context.Context, parts []part) {
	p.wait.Go(func() { p.dispatch(ctx, parts) })
	for range p.threads {
		p.wait.Go(func() {
			var s scratch
			for c := range p.work {
				if c.err = ctx.Err(); c.err == nil {
					c.err = c.part.fill(c.data, &s, c.row, c.n)
				}
				close(c.done)
			}
		})
	}
}

func (p *pipeline) dispatch(ctx context.Context, parts []part) {
	defer close(p.work)
	defer close(p.line)
	for i := range parts {
		t := &parts[i]
		for row := 0; row < t.rows; row += t.chunkRows() {
			c := &chunk{part: t, row: row, n: min(t.chunkRows(), t.rows-row), done: make(chan struct{})}
			select {
			case buf := <-p.buffers:
				c.data = resize(buf, int(int64(c.n)*t.rowBytes))
			case <-ctx.Done():
				return
			}
			p.line <- c
			p.work <- c
		}
	}
}

// writeNext writes the next chunk and returns its length in bytes and rows.
func (p *pipeline) writeNext(ctx context.Context, out io.Writer) (n, rows int, err error) {
	c, ok := <-p.line
	if !ok { // the dispatcher has left early, which it does for one reason
		return 0, 0, context.Cause(ctx)
	}
	<-c.done
	if c.err != nil {
		return 0, 0, c.err
	}
	n, err = out.Write(c.data)
	p.buffers <- c.data
	return n, c.n, err
}

// resize returns a slice of n bytes, b's memory where that is enough.
func resize(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}
