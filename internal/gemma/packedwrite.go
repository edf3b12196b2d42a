package gemma

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"os"
	"sync"

	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/quant"
)

// PackedBytes is the length of the weights in a copy of a model, by its headers; that of
// the file is a page for each matrix more at most.
func PackedBytes(cat *checkpoint.Catalog, cfg *Config, b PackedForm) (int64, error) {
	l, err := bindPackable(cat, cfg, b)
	if err != nil {
		return 0, err
	}
	loads, n := l.groups.loads(), int64(0)
	for i := range loads {
		n += aligned(sizeOn(b)(&loads[i])) + int64(loads[i].panels())*sumBytes
	}
	return n, nil
}

// bindPackable is dryBind that refuses a matrix that b cannot hold.
func bindPackable(cat *checkpoint.Catalog, cfg *Config, b PackedForm) (*loader, error) {
	l, err := dryBind(cat, cfg)
	if err != nil {
		return nil, err
	}
	size := sizeOn(b)
	for _, ld := range l.groups.loads() {
		if size(&ld) == 0 {
			return nil, ld.noLayout("pack", cat)
		}
	}
	return l, nil
}

// WritePacked writes a packed copy of cat's weights for b to path, replacing what is
// there. progress, when set, is told of bytes of the model.
func WritePacked(ctx context.Context, cat *checkpoint.Catalog, cfg *Config, b backend.Backend, path string, progress func(done, total int64)) error {
	if b.Packed() == "" {
		return markedError{fmt.Sprintf("device %s has no packed form", b.Name()), checkpoint.ErrUnsupported}
	}
	l, err := bindPackable(cat, cfg, b)
	if err != nil {
		return err
	}
	print, err := Fingerprint(cat)
	if err != nil {
		return err
	}
	pieceBytes := l.groups.cut(sizeOn(b))
	loads := l.groups.loads()
	w, err := checkpoint.CreateGGUF(path, checkpoint.WriterOptions{Alignment: backend.SlabAlign})
	if err != nil {
		return err
	}
	defer w.Abort()
	p := packer{ctx: ctx, back: b, w: w, progress: progress, total: storedBytes(loads)}
	if err := p.declare(loads, print); err != nil {
		return err
	}
	if p.slab, err = b.NewSlab(int64(pieceBytes)); err != nil {
		return err
	}
	for i := range loads {
		if err := p.write(&loads[i]); err != nil {
			return fmt.Errorf("pack %s: %w", loads[i].src.Spec, err)
		}
	}
	err = w.WriteFunc(packedSums, func(out io.Writer) error {
		_, err := out.Write(p.sums)
		return err
	})
	if err != nil {
		return err
	}
	if after, err := Fingerprint(cat); err != nil || after != print {
		return errors.Join(fmt.Errorf("%s was changed while it was packed", cat.Path()), err)
	}
	return w.Close()
}

// packer writes a copy.
type packer struct {
	ctx      context.Context
	back     backend.Backend
	w        *checkpoint.GGUFWriter
	sums     []byte
	raw      []byte
	slab     backend.Slab // of a piece
	progress func(done, total int64)
	done     int64
	total    int64
}

// declare describes the file.
func (p *packer) declare(loads []load, source string) error {
	size := sizeOn(p.back)
	err := errors.Join(p.w.Set(keyArchitecture, packedArchitecture), p.w.Set(keyPackedVersion, uint32(packedVersion)),
		p.w.Set(keyPackedForm, p.back.Packed()), p.w.Set(keyPackedSource, source))
	panels := 0
	for i := range loads {
		ld := &loads[i]
		err = errors.Join(err, p.w.Declare(ld.packedName(), quant.I8, []int{int(size(ld))}))
		panels += ld.panels()
	}
	return errors.Join(err, p.w.Declare(packedSums, quant.I32, []int{panels}))
}

// write packs one matrix, piece by piece.
func (p *packer) write(ld *load) error {
	return p.w.WriteFunc(ld.packedName(), func(out io.Writer) error {
		size := sizeOn(p.back)
		for row := 0; row < ld.matrix.Out; row += ld.pieceRows {
			if err := p.ctx.Err(); err != nil {
				return context.Cause(p.ctx)
			}
			piece := ld.rows(row, min(row+ld.pieceRows, ld.matrix.Out))
			mem, err := p.pack(&piece)
			if err != nil {
				return err
			}
			if _, err := out.Write(mem); err != nil {
				return err
			}
			one := piece.rows(0, min(backend.FillRows, piece.matrix.Out))
			for panel := int(size(&one)); len(mem) > 0; mem = mem[min(panel, len(mem)):] {
				p.sums = binary.LittleEndian.AppendUint32(p.sums, crc32.Checksum(mem[:min(panel, len(mem))], castagnoli))
			}
		}
		return nil
	})
}

// pack reads and packs a piece; the bytes are valid until the next call.
func (p *packer) pack(piece *load) ([]byte, error) {
	n := piece.matrix.Out * piece.rowBytes
	if cap(p.raw) < n {
		p.raw = make([]byte, n)
	}
	if _, err := piece.src.ReadAt(p.raw[:n], piece.off); err != nil {
		return nil, err
	}
	m, err := p.back.Place(p.slab, 0, piece.matrix)
	if err != nil {
		return nil, err
	}
	if err := p.back.Fill(m, 0, p.raw[:n]); err != nil {
		return nil, err
	}
	if p.done += int64(n); p.progress != nil {
		p.progress(p.done, p.total)
	}
	return p.back.Memory(m), nil
}

// VerifyPacked reads all of a copy, and reports the first damage as checkpoint.ErrCorrupt.
// p must come from OpenPacked with the same arguments.
func VerifyPacked(ctx context.Context, p *Packed, cat *checkpoint.Catalog, cfg *Config, b backend.Backend, progress func(done, total int64)) error {
	l, err := dryBind(cat, cfg)
	if err != nil {
		return err
	}
	p.attach(l.groups)
	size := sizeOn(b)
	pieceBytes := l.groups.cut(size)
	slab, err := b.NewSlab(int64(pieceBytes) + backend.SlabAlign)
	if err != nil {
		return err
	}
	bufs, free := checkpoint.DirectBuffers(1, pieceBytes)
	defer free()
	var done int64
	for _, g := range l.groups.inOrder() {
		for i := range g.loads {
			ld := &g.loads[i]
			for row := 0; row < ld.matrix.Out; row += ld.pieceRows {
				if err := ctx.Err(); err != nil {
					return context.Cause(ctx)
				}
				piece := ld.rows(row, min(row+ld.pieceRows, ld.matrix.Out))
				m, err := b.Place(slab, 0, piece.matrix)
				if err != nil {
					return err
				}
				if err := piece.readPacked(b, m, 0, piece.matrix.Out, bufs[0], (*checkpoint.Tensor).ReadPlace); err != nil {
					return err
				}
				if done += size(&piece); progress != nil {
					progress(done, p.Bytes())
				}
			}
		}
	}
	return nil
}

// sampleCount and sampleBytes are what Fingerprint reads of the weights.
const (
	sampleCount = 32
	sampleBytes = 4096
)

// Fingerprint tells a model's files from others, and from themselves before they were
// changed: their lengths and times of change, every tensor's name, format, shape and
// place, and 32 pages spread evenly over the weights, for a file that was replaced by
// one of the same length within the clock's grain, or given back its old time. It takes a
// few milliseconds. A checkpoint that is not in files has none.
func Fingerprint(cat *checkpoint.Catalog) (string, error) {
	sum := sha256.New()
	var total int64
	last := ""
	for _, t := range cat.Tensors() {
		name, off := t.Location()
		if name != last {
			st, err := os.Stat(name)
			if err != nil {
				return "", err
			}
			fmt.Fprintf(sum, "file %d %d\n", st.Size(), st.ModTime().UnixNano())
			last = name
		}
		fmt.Fprintf(sum, "%q %d %v %d %d\n", t.Name, t.Type, t.Shape, off, t.Bytes)
		total += t.Bytes
	}
	if err := sample(sum, cat.Tensors(), total); err != nil {
		return "", err
	}
	return fmt.Sprintf("%x", sum.Sum(nil)[:16]), nil
}

// sample adds pages of tensors of total bytes.
func sample(sum hash.Hash, tensors []*checkpoint.Tensor, total int64) error {
	bufs, free := checkpoint.DirectBuffers(sampleCount, sampleBytes)
	defer free()
	var pages [sampleCount][]byte
	var errs [sampleCount]error
	var wg sync.WaitGroup
	i, before := 0, int64(0)
	for _, t := range tensors {
		for ; i < sampleCount && total*int64(i)/sampleCount < before+t.Bytes; i++ {
			off := total*int64(i)/sampleCount - before
			if t.Type == checkpoint.NoType {
				continue
			}
			n, at := int(min(sampleBytes, t.Bytes-off)), i
			wg.Go(func() { pages[at], errs[at] = t.ReadDirect(bufs[at], off, n) })
		}
		before += t.Bytes
	}
	wg.Wait()
	for _, p := range pages {
		sum.Write(p)
	}
	return errors.Join(errs[:]...)
}
