package gemma

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/ple"
	"github.com/plume-run/plume/internal/quant"
)

// fakeDisk is a reader without goroutines: who uses it ends fetches.
type fakeDisk struct{ reader }

func newFakeDisk() *fakeDisk {
	d := &fakeDisk{reader{patience: time.Hour}}
	d.work.L = &d.mu
	return d
}

// endWith ends f if it is running.
func (d *fakeDisk) endWith(f *fetch, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f.state == fetchRunning {
		d.unqueue(f)
		d.end(f, err)
	}
}

// A waiter that was held up right after a fetch had ended finds that it was begun again:
// then the next end counts.
func TestBegunAgainUnderAWaiter(t *testing.T) {
	d, f, boom := newFakeDisk(), &fetch{}, errors.New("boom")
	d.begin(f)
	d.endWith(f, boom)
	<-f.ended
	d.begin(f)
	if ended, err := d.outcome(f); ended || len(f.ended) > 0 {
		t.Errorf("a fetch that runs has ended: %v, %v", ended, err)
	}
	d.endWith(f, boom)
	<-f.ended
	d.begin(f)
	d.endWith(f, nil)
	if ended, err := d.outcome(f); !ended || err != nil || len(f.ended) != 1 {
		t.Errorf("a fetch that went well the second time: %v, %v", ended, err)
	}
}

// A device that gives nothing ends the wait with an error that names tensor and file; when
// it has come back, so does the fetch.
func TestHungDevice(t *testing.T) {
	cat, err := checkpoint.Describe("m.gguf", []checkpoint.Described{{Name: "token_embd.weight", Type: quant.F32, Shape: []int{8, 8}}})
	if err != nil {
		t.Fatal(err)
	}
	src, err := Locate(cat, (&Config{VocabSize: 8, HiddenSize: 8}).Spec(KeyEmbed, -1))
	if err != nil {
		t.Fatal(err)
	}
	d, f := newFakeDisk(), &fetch{loads: []load{{src: src}}}
	d.begin(f)
	d.patience = time.Microsecond
	err = d.wait(t.Context(), f)
	if !errors.Is(err, ple.ErrSlow) || !strings.Contains(err.Error(), "m.gguf") || !strings.Contains(err.Error(), src.Spec.String()) {
		t.Errorf("error %v", err)
	}
	d.patience = time.Hour
	d.endWith(f, nil)
	if err := d.wait(t.Context(), f); err != nil {
		t.Errorf("after the device came back: %v", err)
	}
}

// Nobody who waits for a fetch that always fails hears that it went well.
func TestManyWaitForAFailure(t *testing.T) {
	d, f, boom := newFakeDisk(), &fetch{}, errors.New("boom")
	d.begin(f)
	ctx, done := context.WithCancel(t.Context())
	var disk, waiters sync.WaitGroup
	disk.Go(func() {
		for ctx.Err() == nil {
			d.endWith(f, boom)
			runtime.Gosched()
		}
	})
	for range 4 {
		waiters.Go(func() {
			for range 500 {
				d.ensure(f)
				if err := d.wait(ctx, f); err != boom {
					t.Errorf("error %v", err)
					return
				}
			}
		})
	}
	waiters.Wait()
	done()
	disk.Wait()
}
