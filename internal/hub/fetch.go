package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
)

// enoughProgress is what a connection must bring for its failure not to count
// as one more in a row.
const enoughProgress = 64 << 10

// errYield ends a span whose file another connection reads as a whole.
var errYield = errors.New("another connection reads this file")

// fetcher fills parts with a bounded number of connections.
type fetcher struct {
	c          *client
	parts      []*part
	spanChunks int
	progress   func() // after each piece
	verified   func(*part)
}

// run returns when all parts are complete and verified, or with the first error.
// No goroutine outlives it.
func (f *fetcher) run(ctx context.Context, connections int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	start := func(work func(context.Context) error) {
		all.Go(func() {
			if err := work(ctx); err != nil {
				cancel(err)
			}
		})
	}
	for range connections {
		start(f.work)
	}
	// One goroutine computes the sums: a processor adds up faster than most
	// networks bring.
	start(func(ctx context.Context) error {
		for _, p := range f.parts {
			if err := p.verify(ctx); err != nil {
				return err
			}
			f.verified(p)
		}
		return nil
	})
	all.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// work fetches spans until none is left.
func (f *fetcher) work(ctx context.Context) error {
	buf := make([]byte, 256<<10)
	for s := f.next(); s != nil; s = f.next() {
		err := f.c.retry(ctx, s.part.name, func() (bool, error) {
			pos, finished := s.pos, s.finished
			err := f.fetch(ctx, s, buf)
			// Who reads from the start each time gets ahead by whole pieces only.
			return s.finished > finished || !s.whole && s.pos-pos >= enoughProgress, err
		})
		if err != nil && !errors.Is(err, errYield) {
			return err
		}
	}
	return nil
}

// next finds work, in the order of the files, so that sums can follow.
func (f *fetcher) next() *span {
	for _, p := range f.parts {
		if s := p.take(f.spanChunks); s != nil {
			return s
		}
	}
	return nil
}

// fetch makes one request for what is left of s.
func (f *fetcher) fetch(ctx context.Context, s *span, buf []byte) error {
	p := s.part
	res, err := f.c.get(ctx, p.url, http.Header{"Range": {fmt.Sprintf("bytes=%d-%d", s.pos, s.end-1)}})
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if err := plainBytes(res); err != nil {
		return err
	}
	total := res.ContentLength
	if res.StatusCode == http.StatusPartialContent {
		var first int64
		if first, total, err = contentRange(res.Header); err != nil {
			return err
		}
		if first != s.pos {
			return fmt.Errorf("asked for bytes from %d, got them from %d", s.pos, first)
		}
	} else if s.pos != 0 || s.end != p.bytes || s.whole {
		if !p.claim(s) {
			return finalError{errYield}
		}
	}
	if total >= 0 && total != p.bytes {
		return finalError{fmt.Errorf("the server now has %d bytes, expected %d; try again", total, p.bytes)}
	}
	if p.etag != "" && version(res.Header) != p.etag {
		return finalError{errors.New("the file at the server has changed meanwhile; try again")}
	}
	return f.copy(s, res.Body, buf)
}

// copy stores the body of an answer. It returns nil when the span is complete.
func (f *fetcher) copy(s *span, body io.Reader, buf []byte) error {
	p := s.part
	for s.pos < s.end {
		i := int(s.pos / p.chunk)
		pieceEnd := min(int64(i+1)*p.chunk, p.bytes)
		n, err := body.Read(buf[:min(int64(len(buf)), pieceEnd-s.pos)])
		if n > 0 {
			if err := p.write(buf[:n], i, s.pos); err != nil {
				return err
			}
			if s.pos += int64(n); s.pos == pieceEnd {
				if err := f.finish(s, i); err != nil {
					return err
				}
			}
		}
		if err != nil && s.pos < s.end {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("after byte %d: %w", s.pos, err)
		}
	}
	return nil
}

// finish notes a complete piece, once.
func (f *fetcher) finish(s *span, i int) error {
	p := s.part
	p.mu.Lock()
	done := p.state[i] == pieceDone
	p.mu.Unlock()
	if done {
		return nil
	}
	if err := p.complete(i); err != nil {
		return err
	}
	s.finished++
	f.progress()
	return nil
}
