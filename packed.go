package plume

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/plume-run/plume/demo"
	"github.com/plume-run/plume/internal/backend/cpu"
	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/hub"
)

// Values of Options.Packed beside a file's name.
const (
	PackedAuto = "auto" // the copy in the cache folder, if there is one that matches
	PackedOff  = "off"
)

const packedSuffix = ".packed"

// PackedCopy is what is known of a model's packed copy: its weights as the cpu backend
// packs them, in a file of their own, so that a start only reads them.
type PackedCopy struct {
	Path   string `json:"path"`
	Bytes  int64  `json:"bytes"`            // of the weights in it; 0 when it cannot be used
	Reason string `json:"reason,omitempty"` // why it cannot be used; "" when it can
}

// PackOptions say where a packed copy is written.
type PackOptions struct {
	Out      string                  // file; "": PackedPath
	Progress func(done, total int64) // when set, is told of bytes
}

// PackedPath is where a model's packed copy is looked for and written: a file in the
// folder "packed" of $PLUME_CACHE, or of "plume" in the user's cache folder, whose name
// follows from where the model lies.
func PackedPath(model string) (string, error) {
	abs, err := filepath.Abs(model)
	if err == nil {
		abs, err = filepath.EvalSymlinks(abs)
	}
	if err != nil {
		return "", err
	}
	dir := os.Getenv(demo.CacheEnv)
	if dir == "" {
		if dir, err = os.UserCacheDir(); err != nil {
			return "", fmt.Errorf("find a folder for packed copies: %w; set %s", err, demo.CacheEnv)
		}
		dir = filepath.Join(dir, "plume")
	}
	sum := sha256.Sum256([]byte(abs))
	name := strings.TrimSuffix(filepath.Base(abs), filepath.Ext(abs))
	return filepath.Join(dir, "packed", fmt.Sprintf("%s-%x%s", name, sum[:6], packedSuffix)), nil
}

// Pack writes a packed copy of a model, which Open then reads its weights from. It takes
// as much disk as the weights take memory; a disk without that much left is refused
// before anything is written, and the file appears whole or not at all.
func Pack(ctx context.Context, model string, o PackOptions) (*PackedCopy, error) {
	pm, err := openForPacking(model)
	if err != nil {
		return nil, err
	}
	defer pm.close()
	if o.Out == "" {
		if o.Out, err = PackedPath(model); err != nil {
			return nil, err
		}
		if err := os.MkdirAll(filepath.Dir(o.Out), 0o777); err != nil {
			return nil, err
		}
	}
	if err := pm.checkTarget(o.Out); err != nil {
		return nil, err
	}
	if err := gemma.WritePacked(ctx, pm.cat, pm.cfg, pm.dev, o.Out, o.Progress); err != nil {
		return nil, err
	}
	return pm.look(o.Out)
}

// VerifyPacked reads all of a model's packed copy and compares it with the sums in it.
// file "" is PackedPath. What is wrong is the Reason; an error is one of looking.
func VerifyPacked(ctx context.Context, model, file string, progress func(done, total int64)) (*PackedCopy, error) {
	pm, err := openForPacking(model)
	if err != nil {
		return nil, err
	}
	defer pm.close()
	if file, err = packedFile(model, file); err != nil {
		return nil, err
	}
	p, err := pm.openPacked(file)
	if err == nil {
		defer p.Close()
		err = gemma.VerifyPacked(ctx, p.Packed, pm.cat, pm.cfg, pm.dev, progress)
	}
	if err == nil {
		return &PackedCopy{Path: file, Bytes: p.Bytes()}, nil
	}
	return unusable(file, err)
}

// FindPacked looks whether a model has a packed copy that Open would use, by its header;
// file "" is PackedPath. nil when there is no such file.
func FindPacked(model, file string) (*PackedCopy, error) {
	file, err := packedFile(model, file)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	pm, err := openForPacking(model)
	if err != nil {
		return nil, err
	}
	defer pm.close()
	return pm.look(file)
}

// RemovePacked removes a model's packed copy and returns where it was; file "" is
// PackedPath. The error is fs.ErrNotExist when there is none. Only packed copies are removed.
func RemovePacked(model, file string) (string, error) {
	file, err := packedFile(model, file)
	if err != nil {
		return "", err
	}
	if err := mayReplace(file); err != nil {
		return file, fmt.Errorf("remove packed copy: %w", err)
	}
	return file, os.Remove(file)
}

// mayReplace refuses what is there and is no packed copy, not even a damaged one.
func mayReplace(file string) error {
	cat, err := openModel(file, 0)
	switch {
	case err == nil:
		defer cat.Close()
		if gemma.IsPacked(cat) {
			return nil
		}
	case errors.Is(err, fs.ErrNotExist):
		return err
	case strings.HasSuffix(file, packedSuffix) && beginsLikeCopy(file):
		return nil
	}
	return requestError{fmt.Errorf("%s is something else: name another file, or remove it yourself", file)}
}

// beginsLikeCopy reports whether a file that cannot be opened may be a copy that was damaged.
func beginsLikeCopy(file string) bool {
	f, err := os.Open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	var magic [4]byte
	_, err = io.ReadFull(f, magic[:])
	return err == nil && string(magic[:]) == "GGUF"
}

func packedFile(model, file string) (string, error) {
	if file != "" {
		return file, nil
	}
	return PackedPath(model)
}

// packModel is what packing needs of a model.
type packModel struct {
	cat *checkpoint.Catalog
	cfg *gemma.Config
	dev *cpu.CPU
}

func openForPacking(model string) (*packModel, error) {
	cat, err := openModel(model, 0)
	if err != nil {
		return nil, markUnsupported(err)
	}
	cfg, err := gemma.ReadConfig(cat)
	if err != nil {
		cat.Close()
		return nil, markConfig(err)
	}
	dev, err := cpu.New(1)
	if err != nil {
		cat.Close()
		return nil, err
	}
	return &packModel{cat, cfg, dev}, nil
}

func (pm *packModel) close() {
	pm.dev.Close()
	pm.cat.Close()
}

// spareBytes is what a disk is to have left beside a copy.
const spareBytes = 64 << 20

// checkTarget refuses a file that is something else, and a disk that is too full.
func (pm *packModel) checkTarget(file string) error {
	if err := mayReplace(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("write packed copy: %w", err)
	}
	need, err := gemma.PackedBytes(pm.cat, pm.cfg, pm.dev)
	if err != nil {
		return markUnsupported(err)
	}
	free, err := hub.FreeBytes(filepath.Dir(file))
	if err == nil && free < need+spareBytes {
		return fmt.Errorf("write packed copy: it takes %d MiB, %s has %d MiB left", (need+spareBytes)>>20, filepath.Dir(file), free>>20)
	}
	return err
}

// look describes the copy in file.
func (pm *packModel) look(file string) (*PackedCopy, error) {
	p, err := pm.openPacked(file)
	if err != nil {
		return unusable(file, err)
	}
	defer p.Close()
	return &PackedCopy{Path: file, Bytes: p.Bytes()}, nil
}

// unusable turns the errors of a copy into its description.
func unusable(file string, err error) (*PackedCopy, error) {
	if errors.Is(err, gemma.ErrStale) || errors.Is(err, checkpoint.ErrCorrupt) || errors.Is(err, checkpoint.ErrUnsupported) {
		return &PackedCopy{Path: file, Reason: err.Error()}, nil
	}
	return nil, err
}

// openCopy is a packed copy and its open file.
type openCopy struct {
	*gemma.Packed
	cat *checkpoint.Catalog
}

func (c openCopy) Close() error { return c.cat.Close() }

func (pm *packModel) openPacked(file string) (openCopy, error) {
	return openPacked(file, pm.cat, pm.cfg, pm.dev, 0)
}

// openPacked opens the packed copy of the model in cat that form can use; timeout is
// Options.PLETimeout.
func openPacked(file string, cat *checkpoint.Catalog, cfg *gemma.Config, form gemma.PackedForm, timeout time.Duration) (openCopy, error) {
	return openCatalog(file, filePatience(timeout), func(file string) (openCopy, error) {
		copied, err := checkpoint.Open(file)
		if err != nil {
			return openCopy{}, err
		}
		p, err := gemma.OpenPacked(copied, cat, cfg, form)
		if err != nil {
			copied.Close()
		}
		return openCopy{p, copied}, err
	})
}

// findPacked opens the packed copy that the options ask for, and notes where weights come
// from. A copy that cannot be used is no error: it is said, and the model's file is read.
func (m *Model) findPacked(cat *checkpoint.Catalog) (*gemma.Packed, error) {
	m.setWeights("the model's file")
	file := m.opt.Packed
	switch {
	case file == PackedOff || m.back.Packed() == "" && file == PackedAuto:
		return nil, nil
	case file == PackedAuto:
		path, err := PackedPath(m.path)
		if err != nil {
			return nil, nil // no folder, no copy
		}
		file = path
	}
	copied, err := openPacked(file, cat, m.cfg, m.back, m.opt.PLETimeout)
	if errors.Is(err, fs.ErrNotExist) && m.opt.Packed == PackedAuto {
		return nil, nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open packed copy: %w", err)
	}
	if err != nil {
		m.copyFault(err)
		return nil, nil
	}
	m.closers = append(m.closers, copied.Close)
	m.setWeights("the packed copy " + file)
	return copied.Packed, nil
}

// copyFault says that the packed copy is not used any more. It may be called by any goroutine.
func (m *Model) copyFault(err error) {
	m.setWeights(fmt.Sprintf("the model's file, since the packed copy cannot be used: %v", err))
	if m.opt.Note != nil {
		m.opt.Note(fmt.Sprintf("weights come from the model's file, which is slower; the packed copy cannot be used: %v; plume pack makes it anew", err))
	}
}

func (m *Model) setWeights(from string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.weights = from
}

// WeightsPlace says where weights are read from: the model's file, or its packed copy.
func (m *Model) WeightsPlace() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.weights
}
