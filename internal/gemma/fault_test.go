package gemma_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/backend/ref"
	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/ple"
	"github.com/plume-run/plume/internal/testkit"
)

// gate holds up reads of matrices while it is shut.
type gate struct {
	io.ReaderAt
	matrix func(off int64) bool

	mu      sync.Mutex
	shut    chan struct{} // closed when it opens; nil: open
	waiting chan struct{} // gets one when a read waits
}

func (g *gate) ReadAt(p []byte, off int64) (int, error) {
	g.mu.Lock()
	shut, waiting := g.shut, g.waiting
	g.mu.Unlock()
	if shut != nil && g.matrix(off) {
		select {
		case waiting <- struct{}{}:
		default:
		}
		<-shut
	}
	return g.ReaderAt.ReadAt(p, off)
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut, g.waiting = make(chan struct{}), make(chan struct{}, 1)
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut != nil {
		close(g.shut)
	}
	g.shut = nil
}

// openFaulty opens a golden model whose file fails as told, behind a gate that is open.
func openFaulty(t *testing.T, g *golden) (*checkpoint.Catalog, *gemma.Config, *testkit.FaultyReaderAt, *gate) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(g.dir, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile(filepath.Join(g.dir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := gemma.ParseConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	faulty := testkit.NewFaultyReaderAt(bytes.NewReader(raw))
	door := &gate{ReaderAt: faulty}
	cat, err := checkpoint.OpenReader("some.safetensors", door, int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	door.matrix = func(off int64) bool {
		for _, tensor := range cat.Tensors() {
			if _, at := tensor.Location(); len(tensor.Shape) > 1 && at <= off && off < at+tensor.Bytes {
				return true
			}
		}
		return false
	}
	return cat, cfg, faulty, door
}

// bindFaulty binds the model of openFaulty; the gate is shut when weights are to arrive in the
// background.
func bindFaulty(t *testing.T, g *golden, b backend.Backend, o gemma.BindOptions) (*gemma.Model, *testkit.FaultyReaderAt, *gate) {
	t.Helper()
	cat, cfg, faulty, door := openFaulty(t, g)
	if o.Background {
		door.close()
	}
	m, err := gemma.Bind(cat, cfg, b, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		door.open()
		m.Close()
	})
	return m, faulty, door
}

// Bind and Close end although a device hangs, and say that reads were left behind; when they
// have come back, all is closed.
func TestHungDeviceIsLeft(t *testing.T) {
	g := loadGolden(t, "e-tiny")
	left := func(err error) {
		t.Helper()
		if !errors.Is(err, ple.ErrSlow) || !errors.Is(err, gemma.ErrLeft) || !strings.Contains(err.Error(), "some.safetensors") {
			t.Errorf("error %v", err)
		}
	}
	for _, background := range []bool{false, true} {
		cat, cfg, _, door := openFaulty(t, g)
		door.close()
		t.Cleanup(door.open)
		o := gemma.BindOptions{Background: background, PLE: ple.Options{Timeout: time.Millisecond}}
		m, err := gemma.Bind(cat, cfg, ref.New(), o)
		for errors.Is(err, ple.ErrSlow) && !errors.Is(err, gemma.ErrLeft) { // no read had begun
			m, err = gemma.Bind(cat, cfg, ref.New(), o)
		}
		if !background {
			left(err)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		<-door.waiting
		left(m.Close())
		door.open()
		for err = m.Close(); err != nil; err = m.Close() {
			left(err)
		}
	}
}

// Bind ends although not even the vectors arrive, which it needs before any weight is read.
func TestHungVectorsAreLeft(t *testing.T) {
	cat, cfg, _, door := openFaulty(t, loadGolden(t, "e-tiny"))
	door.matrix = func(int64) bool { return true }
	door.close()
	t.Cleanup(door.open)
	_, err := gemma.Bind(cat, cfg, ref.New(), gemma.BindOptions{Background: true, PLE: ple.Options{Timeout: time.Millisecond}})
	if !errors.Is(err, ple.ErrSlow) || !strings.Contains(err.Error(), "vectors of some.safetensors") {
		t.Errorf("error %v", err)
	}
}

// tryStep evaluates the golden tokens with a new cache.
func tryStep(ctx context.Context, t *testing.T, m *gemma.Model, ids []int32) ([]float32, error) {
	t.Helper()
	logits, _, err := m.Forward(ctx, &gemma.Batch{Parts: []gemma.Part{{Cache: newCache(t, m, 64), IDs: ids, Want: gemma.WantAll}}})
	return logits, err
}

// whole returns the logits of the golden tokens with everything in memory.
func whole(t *testing.T, g *golden, b backend.Backend) []float32 {
	t.Helper()
	m := open(t, g.dir, b)
	return forward(t, m, newCache(t, m, 64), g.IDs, gemma.WantAll)
}

// names fails unless err says which tensor of which file could not be read.
func names(t *testing.T, err error) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), "some.safetensors") || !strings.Contains(err.Error(), `tensor "`) {
		t.Errorf("error %v, want one that names file and tensor", err)
	}
}

// A read that fails during a step fails the step, and only that one.
func TestFaultsWhileStreaming(t *testing.T) {
	boom := errors.New("boom")
	for _, name := range goldenModels {
		g, b := loadGolden(t, name), newCPU(t, 2)
		want := whole(t, g, b)
		for _, r := range []gemma.Residency{{StreamBytes: everything}, {StreamBytes: 100 << 10, ExpertSlots: 3}, {ExpertSlots: 9}} {
			if r.StreamBytes == 0 && name != "moe-tiny" {
				continue
			}
			t.Run(fmt.Sprintf("%s/%+v", name, r), func(t *testing.T) {
				m, faulty, _ := bindFaulty(t, g, b, gemma.BindOptions{Residency: r})
				before := m.WeightStats()
				for at := int64(0); ; at += 20011 {
					faulty.FailAfter(at, boom)
					logits, err := tryStep(t.Context(), t, m, g.IDs)
					faulty.Heal()
					if err == nil {
						testkit.SameBits(t, "before the fault", logits, want)
						break
					}
					if !errors.Is(err, boom) {
						t.Fatal(err)
					}
					for errors.Is(err, boom) { // a row may still be read from before the fault was healed
						logits, err = tryStep(t.Context(), t, m, g.IDs)
					}
					if err != nil {
						t.Fatalf("after the fault was healed: %v", err)
					}
					testkit.SameBits(t, "after the fault", logits, want)
				}
				if s := m.WeightStats().Sub(before); s.ReadBytes == 0 {
					t.Error("nothing was read")
				}
				faulty.EndAt(4000)
				_, err := tryStep(t.Context(), t, m, g.IDs)
				if !errors.Is(err, checkpoint.ErrCorrupt) {
					t.Errorf("truncated file: error %v", err)
				}
				names(t, err)
			})
		}
	}
}

// What fails in the background is told once to whoever needs it, then tried again.
func TestFaultsInTheBackground(t *testing.T) {
	g, b := loadGolden(t, "e-tiny"), ref.New()
	want := whole(t, g, b)
	boom := errors.New("boom")
	for _, who := range []string{"ready", "forward"} {
		t.Run(who, func(t *testing.T) {
			m, faulty, door := bindFaulty(t, g, b, gemma.BindOptions{Background: true})
			ask := func() error {
				if who == "ready" {
					return m.Ready(t.Context())
				}
				_, err := tryStep(t.Context(), t, m, g.IDs)
				return err
			}
			faulty.FailAfter(0, boom)
			door.open()
			if err := ask(); !errors.Is(err, boom) {
				t.Fatalf("error %v, want boom", err)
			} else if who == "ready" {
				names(t, err)
			}
			faulty.Heal()
			var logits []float32
			for err := errors.New("not asked"); err != nil; { // one failure for each group at most
				if logits, err = tryStep(t.Context(), t, m, g.IDs); err != nil && !errors.Is(err, boom) {
					t.Fatal(err)
				}
			}
			testkit.SameBits(t, "healed", logits, want)
		})
	}
}

// A step that comes before the weights waits for them, as long as it may.
func TestStepsWaitForWeights(t *testing.T) {
	for _, name := range goldenModels {
		g, b := loadGolden(t, name), newCPU(t, 1)
		for _, r := range []gemma.Residency{{}, {StreamBytes: 100 << 10, ExpertSlots: 4}} {
			m, _, door := bindFaulty(t, g, b, gemma.BindOptions{Background: true, Residency: r})
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				<-door.waiting
				cancel()
			}()
			if err := m.Ready(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("%s: ready before the weights: %v", name, err)
			}
			door.open()
			logits, err := tryStep(t.Context(), t, m, g.IDs)
			if err != nil {
				t.Fatal(err)
			}
			testkit.SameBits(t, name, logits, whole(t, g, b))
		}
	}
}

// Closing a model while its weights arrive, or while a step's are read ahead, ends all
// goroutines and whoever waits.
func TestCloseWhileReading(t *testing.T) {
	g := loadGolden(t, "moe-tiny")
	b := ref.New()
	before := runtime.NumGoroutine()
	for _, r := range []gemma.Residency{{}, {StreamBytes: everything, ExpertSlots: 4}} {
		m, _, door := bindFaulty(t, g, b, gemma.BindOptions{Background: true, Residency: r})
		<-door.waiting
		waited := make(chan error)
		go func() { waited <- m.Ready(context.Background()) }()
		closed := make(chan error)
		go func() { closed <- m.Close() }()
		door.open()
		if err := <-closed; err != nil {
			t.Error(err)
		}
		<-waited // with an error unless everything came before Close
		if _, err := tryStep(t.Context(), t, m, g.IDs); err == nil && r.StreamBytes > 0 {
			t.Error("a step of a closed model got its weights")
		}
	}
	// Goroutines may take a moment to be gone after they have said so, a long one on a busy machine.
	for begin := time.Now(); time.Since(begin) < 30*time.Second; runtime.Gosched() {
		if runtime.NumGoroutine() <= before {
			return
		}
	}
	t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), before)
}
