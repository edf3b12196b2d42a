package gemma_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/backend/cpu"
	"github.com/plume-run/plume/internal/backend/ref"
	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/quant"
	"github.com/plume-run/plume/internal/testkit"
)

// packCase is a golden model in a folder of its own, and its packed copy.
type packCase struct {
	*golden
	back backend.Backend
	cat  *checkpoint.Catalog
	cfg  *gemma.Config
	file string // the copy
}

func newPackCase(t *testing.T, name string) *packCase {
	t.Helper()
	g := loadGolden(t, name)
	own := t.TempDir()
	if err := os.CopyFS(own, os.DirFS(g.dir)); err != nil {
		t.Fatal(err)
	}
	g.dir = own
	p := &packCase{golden: g, back: newCPU(t, 2), file: filepath.Join(t.TempDir(), "copy.packed")}
	p.reopen(t)
	if err := gemma.WritePacked(t.Context(), p.cat, p.cfg, p.back, p.file, nil); err != nil {
		t.Fatal(err)
	}
	return p
}

// reopen opens the model as it is now.
func (p *packCase) reopen(t *testing.T) {
	t.Helper()
	var err error
	if p.cat, err = checkpoint.Open(p.dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.cat.Close() })
	if p.cfg, err = gemma.ReadConfig(p.cat); err != nil {
		t.Fatal(err)
	}
}

// packed opens the copy.
func (p *packCase) packed(t *testing.T) (*gemma.Packed, error) {
	t.Helper()
	copied, err := checkpoint.Open(p.file)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { copied.Close() })
	return gemma.OpenPacked(copied, p.cat, p.cfg, p.back)
}

// bind binds the model with its copy; faults counts what the copy is blamed for.
func (p *packCase) bind(t *testing.T, o gemma.BindOptions) (m *gemma.Model, faults *atomic.Int32, fault *error) {
	t.Helper()
	if o.Packed == nil {
		var err error
		if o.Packed, err = p.packed(t); err != nil {
			t.Fatal(err)
		}
	}
	faults, fault = new(atomic.Int32), new(error)
	o.PackedFault = func(err error) {
		if faults.Add(1) == 1 {
			*fault = err
		}
	}
	m, err := gemma.Bind(p.cat, p.cfg, p.back, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m, faults, fault
}

// spoil overwrites the model's matrices, but for those that single rows are read of.
func (p *packCase) spoil(t *testing.T) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(p.dir, "model.safetensors"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, tensor := range p.cat.Tensors() {
		if _, off := tensor.Location(); len(tensor.Shape) > 1 && !strings.Contains(tensor.Name, "embed_tokens") {
			if _, err := f.WriteAt(make([]byte, tensor.Bytes), off); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// All rows come from the copy, in place or by way of a buffer, whole or in blocks, and
// give the same bits.
func TestPackedCopyChangesNoBit(t *testing.T) {
	for _, name := range goldenModels {
		p := newPackCase(t, name)
		plain := open(t, p.dir, p.back)
		want := forward(t, plain, newCache(t, plain, 64), p.IDs, gemma.WantAll)
		plain.Close()
		list := residencies(weigh(t, p.dir, sizerOf(p.back)))
		copies := make([]*gemma.Packed, len(list))
		for i := range list {
			var err error
			if copies[i], err = p.packed(t); err != nil {
				t.Fatal(err)
			}
		}
		p.spoil(t)
		for i, r := range list {
			t.Run(fmt.Sprintf("%s/%+v", name, r), func(t *testing.T) {
				m, faults, fault := p.bind(t, gemma.BindOptions{Packed: copies[i], Residency: r, Background: i%2 == 0, DropRead: i%3 == 0})
				inChunks(t, m, p.IDs, want)
				if faults.Load() > 0 {
					t.Errorf("the copy was blamed: %v", *fault)
				}
			})
		}
	}
}

// flip changes a byte of a file.
func flip(t *testing.T, file string, off int64) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], off); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x10
	if _, err := f.WriteAt(b[:], off); err != nil {
		t.Fatal(err)
	}
}

// Damage of a copy is noticed where it is read, said once, and changes no bit.
func TestDamagedCopyIsNotUsed(t *testing.T) {
	for _, name := range []string{"e-tiny", "moe-tiny"} {
		p := newPackCase(t, name)
		plain := open(t, p.dir, p.back)
		want := forward(t, plain, newCache(t, plain, 64), p.IDs, gemma.WantAll)
		sound, err := os.ReadFile(p.file)
		if err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(7, 7))
		for _, r := range []gemma.Residency{{}, {StreamBytes: everything}, {ExpertSlots: 9}} {
			for what, damage := range map[string]func(){
				"flipped": func() {
					copied, err := checkpoint.Open(p.file)
					if err != nil {
						t.Fatal(err)
					}
					defer copied.Close()
					tensor := copied.Tensors()[0] // the first to be read, by all
					_, off := tensor.Location()
					flip(t, p.file, off+rng.Int64N(tensor.Bytes))
				},
				"cut short": func() {
					if err := os.Truncate(p.file, int64(len(sound))/8); err != nil {
						t.Fatal(err)
					}
				},
			} {
				if err := os.WriteFile(p.file, sound, 0o666); err != nil {
					t.Fatal(err)
				}
				c, err := p.packed(t)
				if err != nil {
					t.Fatal(err)
				}
				damage()
				m, faults, fault := p.bind(t, gemma.BindOptions{Packed: c, Residency: r})
				got, err := tryStep(t.Context(), t, m, p.IDs)
				if err != nil {
					t.Fatalf("%s, %s: %v", name, what, err)
				}
				testkit.SameBits(t, name+" "+what, got, want)
				if faults.Load() != 1 || !errors.Is(*fault, checkpoint.ErrCorrupt) || !strings.Contains((*fault).Error(), p.file) {
					t.Errorf("%s, %s: %d complaints, %v", name, what, faults.Load(), *fault)
				}
				m.Close()
			}
		}
	}
}

// A copy whose disk fails is given up as well.
func TestUnreadableCopyIsNotUsed(t *testing.T) {
	p := newPackCase(t, "e-tiny")
	plain := open(t, p.dir, p.back)
	want := forward(t, plain, newCache(t, plain, 64), p.IDs, gemma.WantAll)
	raw, err := os.ReadFile(p.file)
	if err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	for _, after := range []int64{0, 5000, 60_000} {
		faulty := testkit.NewFaultyReaderAt(bytes.NewReader(raw))
		copied, err := checkpoint.OpenReader(p.file, faulty, int64(len(raw)))
		if err != nil {
			t.Fatal(err)
		}
		c, err := gemma.OpenPacked(copied, p.cat, p.cfg, p.back)
		if err != nil {
			t.Fatal(err)
		}
		faulty.FailAfter(after, boom)
		m, faults, fault := p.bind(t, gemma.BindOptions{Packed: c})
		got, err := tryStep(t.Context(), t, m, p.IDs)
		if err != nil {
			t.Fatal(err)
		}
		testkit.SameBits(t, fmt.Sprint("after ", after), got, want)
		if faults.Load() != 1 || !errors.Is(*fault, boom) {
			t.Errorf("after %d bytes: %d complaints, %v", after, faults.Load(), *fault)
		}
		m.Close()
	}
}

// otherForm is a device that packs in another way.
type otherForm struct{ backend.Backend }

func (otherForm) Packed() string { return "other" }

func TestStaleCopyIsRefused(t *testing.T) {
	p := newPackCase(t, "e-tiny")
	model := filepath.Join(p.dir, "model.safetensors")
	st, err := os.Stat(model)
	if err != nil {
		t.Fatal(err)
	}
	stale := func(what string) {
		t.Helper()
		p.reopen(t)
		if _, err := p.packed(t); !errors.Is(err, gemma.ErrStale) || !strings.Contains(err.Error(), p.file) {
			t.Errorf("%s: %v", what, err)
		}
	}
	at := func(when time.Time) {
		t.Helper()
		if err := os.Chtimes(model, when, when); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.packed(t); err != nil {
		t.Fatal(err)
	}
	at(st.ModTime().Add(time.Second))
	stale("a model written again")
	at(st.ModTime())
	p.reopen(t)
	if _, err := p.packed(t); err != nil {
		t.Errorf("the model as it was: %v", err)
	}
	_, off := p.cat.Tensors()[0].Location()
	flip(t, model, off)
	at(st.ModTime())
	stale("other weights with the old time")

	p.back = otherForm{p.back}
	if _, err := p.packed(t); !errors.Is(err, gemma.ErrStale) {
		t.Errorf("a device that packs in another way: %v", err)
	}
	p.back = ref.New()
	if _, err := p.packed(t); !errors.Is(err, gemma.ErrStale) {
		t.Errorf("a device that packs nothing: %v", err)
	}
	other := newPackCase(t, "dense-tiny")
	other.file = p.file
	if _, err := other.packed(t); !errors.Is(err, gemma.ErrStale) {
		t.Errorf("the copy of another model: %v", err)
	}
	other.file = filepath.Join(p.dir, "model.safetensors")
	if _, err := other.packed(t); !errors.Is(err, gemma.ErrStale) {
		t.Errorf("no copy at all: %v", err)
	}
}

func TestWritePackedLeavesNothingHalf(t *testing.T) {
	p := newPackCase(t, "e-tiny")
	if st, err := os.Stat(p.file); err != nil {
		t.Fatal(err)
	} else if n, err := gemma.PackedBytes(p.cat, p.cfg, p.back); err != nil || n > st.Size() || st.Size() > n+1<<16 {
		t.Errorf("%d bytes were announced (%v), %d written", n, err, st.Size())
	}
	if err := os.Remove(p.file); err != nil {
		t.Fatal(err)
	}
	if err := gemma.WritePacked(t.Context(), p.cat, p.cfg, ref.New(), p.file, nil); !errors.Is(err, checkpoint.ErrUnsupported) {
		t.Errorf("a device that packs nothing: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err := gemma.WritePacked(ctx, p.cat, p.cfg, p.back, p.file, func(done, total int64) {
		if done > total/2 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if left, _ := filepath.Glob(p.file + "*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// noLayout is a device that can hold no matrix.
type noLayout struct{ backend.Backend }

func (noLayout) MatrixBytes(quant.Type, int, int) int64 { return 0 }

func (noLayout) Place(backend.Slab, int64, backend.MatrixSpec) (backend.Matrix, error) {
	return nil, checkpoint.ErrUnsupported
}

// A matrix that the device cannot hold is named.
func TestNothingToPack(t *testing.T) {
	p := newPackCase(t, "e-tiny")
	other := p.file + ".other"
	_, sized := gemma.PackedBytes(p.cat, p.cfg, noLayout{p.back})
	written := gemma.WritePacked(t.Context(), p.cat, p.cfg, noLayout{p.back}, other, nil)
	for what, err := range map[string]error{"sized": sized, "written": written} {
		if !errors.Is(err, checkpoint.ErrUnsupported) || !strings.Contains(err.Error(), "pack "+p.dir) || !strings.Contains(err.Error(), "cannot be multiplied") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if left, _ := filepath.Glob(other + "*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	for _, r := range []gemma.Residency{{}, {StreamBytes: everything}} {
		if _, err := gemma.Bind(p.cat, p.cfg, noLayout{p.back}, gemma.BindOptions{Residency: r}); !errors.Is(err, checkpoint.ErrUnsupported) {
			t.Errorf("%+v: %v", r, err)
		}
	}
}

// DropRead leaves nothing of a copy in the page cache either, also of what was there before.
func TestDropReadOfACopy(t *testing.T) {
	p := newPackCase(t, "e-tiny")
	copied, err := checkpoint.Open(p.file)
	if err != nil {
		t.Fatal(err)
	}
	defer copied.Close()
	readAll := func() {
		if _, err := os.ReadFile(p.file); err != nil {
			t.Fatal(err)
		}
	}
	cached := func() bool {
		for _, tensor := range copied.Tensors() {
			if !tensor.Cached(0, int(tensor.Bytes)) {
				return false
			}
		}
		return true
	}
	readAll()
	if !cached() {
		t.Skip("the system does not tell what it has in its page cache")
	}
	if copied.DropAll(); cached() {
		t.Skip("files here cannot be dropped from the page cache")
	}
	readAll()
	m, faults, fault := p.bind(t, gemma.BindOptions{DropRead: true, Residency: gemma.Residency{StreamBytes: everything}})
	for before := m.WeightStats(); m.WeightStats().Sub(before).ReadBytes < 20<<20; {
		forward(t, m, newCache(t, m, 64), p.IDs, gemma.WantLast)
	}
	if cached() {
		t.Error("all of the copy is still in the page cache")
	}
	if faults.Load() > 0 {
		t.Errorf("the copy was blamed: %v", *fault)
	}
}

func TestVerifyPacked(t *testing.T) {
	for _, name := range goldenModels {
		p := newPackCase(t, name)
		c, err := p.packed(t)
		if err != nil {
			t.Fatal(err)
		}
		var last int64
		verify := func() error {
			return gemma.VerifyPacked(t.Context(), c, p.cat, p.cfg, p.back, func(done, total int64) { last = done })
		}
		if err := verify(); err != nil || last == 0 || last != c.Bytes() {
			t.Errorf("%s: %v after %d of %d bytes", name, err, last, c.Bytes())
		}
		copied, err := checkpoint.Open(p.file)
		if err != nil {
			t.Fatal(err)
		}
		defer copied.Close()
		all := copied.Tensors()
		for _, tensor := range []*checkpoint.Tensor{all[0], all[len(all)/2], all[len(all)-2]} {
			_, off := tensor.Location()
			for _, at := range []int64{off, off + tensor.Bytes - 1} {
				flip(t, p.file, at)
				if err := verify(); !errors.Is(err, checkpoint.ErrCorrupt) || !strings.Contains(err.Error(), tensor.Name) {
					t.Errorf("%s: a flipped bit in %s: %v", name, tensor.Name, err)
				}
				flip(t, p.file, at)
			}
		}
	}
}

// FuzzOpenPacked holds a copy's file to what it says, whatever that is: what is believed
// of it can be read, or is reported.
func FuzzOpenPacked(f *testing.F) {
	g := filepath.Join("testdata", "e-tiny")
	cat, err := checkpoint.Open(g)
	if err != nil {
		f.Fatal(err)
	}
	cfg, err := gemma.ReadConfig(cat)
	if err != nil {
		f.Fatal(err)
	}
	b := fuzzBackend(f)
	file := filepath.Join(f.TempDir(), "copy.packed")
	if err := gemma.WritePacked(f.Context(), cat, cfg, b, file, nil); err != nil {
		f.Fatal(err)
	}
	sound, err := os.ReadFile(file)
	if err != nil {
		f.Fatal(err)
	}
	const header = 8192 // that of e-tiny's copy is shorter
	f.Add(sound[:header], 0)
	f.Add(sound[:300], 0)
	f.Add(bytes.Replace(sound[:header], []byte("plume-packed"), []byte("gemma4______"), 1), 0)
	f.Add(bytes.Replace(sound[:header], []byte("0.attn_q.0"), []byte("0.attn_q.1"), 1), 0)
	f.Add(sound[:header], 5000)
	f.Fuzz(func(t *testing.T, head []byte, cut int) {
		raw := append(bytes.Clone(head), sound[min(len(head), len(sound)):]...) // the rest as it was written
		raw = raw[:len(raw)-min(len(raw), max(0, cut))]
		copied, err := checkpoint.OpenReader("copy.packed", io.NewSectionReader(bytes.NewReader(raw), 0, int64(len(raw))), int64(len(raw)))
		if err != nil {
			return
		}
		c, err := gemma.OpenPacked(copied, cat, cfg, b)
		if err != nil {
			if !errors.Is(err, gemma.ErrStale) && !errors.Is(err, checkpoint.ErrCorrupt) {
				t.Errorf("an error of no class: %v", err)
			}
			return
		}
		err = gemma.VerifyPacked(t.Context(), c, cat, cfg, b, nil)
		if err != nil && !errors.Is(err, checkpoint.ErrCorrupt) {
			t.Errorf("an error of no class: %v", err)
		}
	})
}

func fuzzBackend(f *testing.F) backend.Backend {
	b, err := cpu.New(1)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { b.Close() })
	return b
}
