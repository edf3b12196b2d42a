package ple

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// home is a table on disk and on a server, with other bytes around it.
type home struct {
	spec Spec
	rows int
	row  int
	data []byte // the whole file
}

const (
	tableOffset = 4096*3 + 32
	tableTail   = 100
)

func newHome(t testing.TB, rows, rowBytes int) *home {
	t.Helper()
	table := newSource(rows, rowBytes).data
	data := append(bytes.Repeat([]byte{0xAA}, tableOffset), table...)
	data = append(data, bytes.Repeat([]byte{0xBB}, tableTail)...)
	path := filepath.Join(t.TempDir(), "model.gguf")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return &home{rows: rows, row: rowBytes, data: data,
		spec: Spec{Path: path, Offset: tableOffset, Bytes: int64(len(table)), FileBytes: int64(len(data))}}
}

// serve puts the file on a loopback server.
func (h *home) serve(t testing.TB) Spec {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"v1"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(h.data))
	}))
	t.Cleanup(srv.Close)
	s := h.spec
	s.Path, s.URL = "", srv.URL+"/dir/model.gguf"
	return s
}

// each runs do with a source of every kind that the system has.
func (h *home) each(t *testing.T, do func(t *testing.T, src Source)) {
	for _, kind := range append(Kinds(), HTTP, "direct by pool") {
		t.Run(string(kind), func(t *testing.T) {
			spec := h.spec
			if kind == HTTP {
				spec = h.serve(t)
			}
			pool := kind == "direct by pool"
			if pool {
				kind = Direct
			}
			src, err := OpenSource(kind, spec)
			if errors.Is(err, errors.ErrUnsupported) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			if pool {
				src = poolOnly{src}
			}
			defer func() {
				if err := src.Close(); err != nil {
					t.Error(err)
				}
			}()
			do(t, src)
		})
	}
}

func TestEveryKindGivesTheSameRows(t *testing.T) {
	for _, rowBytes := range []int{24, 735, 5040} {
		h := newHome(t, 300, rowBytes)
		h.each(t, func(t *testing.T, src Source) {
			for _, o := range []Options{{}, {Workers: 2, CacheBytes: -1, MaxReadBytes: -1}, {GapBytes: 3 * rowBytes, MaxReadBytes: 8 * rowBytes}} {
				useRandomly(t, h, src, o)
			}
		})
	}
}

// useRandomly fetches whole rows and parts, several at once.
func useRandomly(t *testing.T, h *home, src Source, o Options) {
	t.Helper()
	rng := rand.New(rand.NewPCG(3, 4))
	table, err := Open(src, h.rows, h.row, o)
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	table.mangle = true
	var open []*Fetch
	var asked [][]int32
	var parts [][]int
	for range 40 {
		ids, part := make([]int32, 1+rng.IntN(40)), []int(nil)
		for i := range ids {
			ids[i] = int32(rng.IntN(1 + rng.IntN(h.rows)))
		}
		ids[0] = int32(h.rows - 1) // the end of the table is special
		if rng.IntN(2) == 0 {
			for range ids {
				part = append(part, rng.IntN(h.row+1))
			}
		}
		open, asked, parts = append(open, table.FetchPart(ids, part)), append(asked, ids), append(parts, part)
		if len(open) < 3 {
			continue
		}
		checkParts(t, open[0], asked[0], parts[0], h.row)
		open, asked, parts = open[1:], asked[1:], parts[1:]
	}
	for i := range open {
		checkParts(t, open[i], asked[i], parts[i], h.row)
	}
}

// checkParts waits for f and compares what it brought.
func checkParts(t *testing.T, f *Fetch, ids []int32, part []int, rowBytes int) {
	t.Helper()
	defer f.Release()
	if err := f.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	for i, id := range ids {
		want := rowBytes
		if part != nil {
			want = part[i]
		}
		row := f.Row(i)
		if len(row) != want {
			t.Fatalf("row %d: %d bytes, asked for %d", id, len(row), want)
		}
		for k, b := range row {
			if b != wantByte(int(id), k) {
				t.Fatalf("row %d, byte %d is %#x, want %#x", id, k, b, wantByte(int(id), k))
			}
		}
	}
}

func TestSourceReadAt(t *testing.T) {
	h := newHome(t, 50, 100)
	h.each(t, func(t *testing.T, src Source) {
		table := h.data[tableOffset : len(h.data)-tableTail]
		for _, c := range []struct{ off, n int }{{0, 1}, {0, 5000}, {99, 301}, {4999, 1}, {5000, 0}, {17, 4096}} {
			p := make([]byte, c.n)
			if n, err := src.ReadAt(p, int64(c.off)); n != c.n || err != nil && err != io.EOF || !bytes.Equal(p, table[c.off:c.off+c.n]) {
				t.Errorf("%d bytes at %d: n %d, error %v", c.n, c.off, n, err)
			}
		}
		p := make([]byte, 10)
		if n, err := src.ReadAt(p, 4995); n != 5 || err != io.EOF {
			t.Errorf("over the end: n %d, error %v", n, err)
		}
		for _, off := range []int64{-1, 5001} {
			if n, err := src.ReadAt(p, off); n != 0 || err == nil {
				t.Errorf("at %d: n %d, error %v", off, n, err)
			}
		}
		if s := src.Traits().String(); !strings.Contains(s, "model.gguf") {
			t.Errorf("traits %q", s)
		}
	})
}

func TestOpenSourceRefuses(t *testing.T) {
	h := newHome(t, 10, 100)
	missing, folder, long, short := h.spec, h.spec, h.spec, h.spec
	missing.Path += ".gone"
	folder.Path = filepath.Dir(h.spec.Path)
	long.FileBytes = 0
	long.Bytes = int64(len(h.data))
	short.FileBytes++
	for _, c := range []struct {
		name, want string
		kind       Kind
		spec       Spec
	}{
		{"no name", "no file", Disk, Spec{Bytes: 1}},
		{"kind", `unknown kind "tape"`, "tape", h.spec},
		{"url as a file", "a URL is read as", Disk, h.serve(t)},
		{"file as a url", "no URL", HTTP, h.spec},
		{"no bytes", "0 bytes from offset 5", Disk, Spec{Path: "x", Offset: 5}},
		{"overflow", "bytes from offset", Disk, Spec{Path: "x", Offset: 1 << 62, Bytes: 1<<63 - 1}},
		{"beyond the file", "of a file of 5", Disk, Spec{Path: "x", Bytes: 6, FileBytes: 5}},
		{"scheme", "want http or https", HTTP, Spec{URL: "ftp://host/x", Bytes: 1}},
	} {
		if _, err := OpenSource(c.kind, c.spec); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v", c.name, err)
		}
	}
	for _, kind := range Kinds() {
		for name, c := range map[string]struct {
			spec Spec
			is   error
			want string
		}{
			"missing": {missing, os.ErrNotExist, missing.Path},
			"folder":  {folder, nil, ""},
			"long":    {long, nil, "the table ends at"},
			"short":   {short, nil, "want"},
		} {
			src, err := OpenSource(kind, c.spec)
			if err == nil {
				src.Close()
				t.Errorf("%s, %s: no error", kind, name)
			} else if !errors.Is(err, errors.ErrUnsupported) &&
				(c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%s, %s: error %v", kind, name, err)
			}
		}
	}
}

// TestTruncatedFile cuts the file while a table is on it: rows behind the cut
// fail and name the file, rows before it go on, and whole files work again.
func TestTruncatedFile(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("open files cannot be cut")
	}
	const rows, rowBytes = 400, 500
	for _, kind := range []Kind{Disk, Direct, Mmap} {
		t.Run(string(kind), func(t *testing.T) {
			h := newHome(t, rows, rowBytes)
			src, err := OpenSource(kind, h.spec)
			if errors.Is(err, errors.ErrUnsupported) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer src.Close()
			table, err := Open(src, rows, rowBytes, Options{CacheBytes: -1})
			if err != nil {
				t.Fatal(err)
			}
			defer table.Close()
			if err := os.Truncate(h.spec.Path, tableOffset+100*rowBytes+7); err != nil {
				t.Fatal(err)
			}
			good, bad := table.Fetch([]int32{1, 2, 99}), table.Fetch([]int32{3, 100, 101, 399})
			if err := bad.Wait(ctx); !errors.Is(err, io.ErrUnexpectedEOF) ||
				!strings.Contains(err.Error(), "read row 100 at offset 62320 of "+h.spec.Path) {
				t.Errorf("error %v", err)
			}
			bad.Release()
			checkParts(t, good, []int32{1, 2, 99}, nil, rowBytes)
			if err := os.WriteFile(h.spec.Path, h.data, 0o644); err != nil {
				t.Fatal(err)
			}
			ids := []int32{3, 100, 101, 399}
			checkParts(t, table.Fetch(ids), ids, nil, rowBytes)
		})
	}
}

// TestReplacedFile: a file that is removed or replaced by another one of the
// same name stays what it was for those who have it open.
func TestReplacedFile(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("open files cannot be replaced")
	}
	h := newHome(t, 100, 500)
	for _, kind := range Kinds() {
		t.Run(string(kind), func(t *testing.T) {
			if err := os.WriteFile(h.spec.Path, h.data, 0o644); err != nil {
				t.Fatal(err)
			}
			src, err := OpenSource(kind, h.spec)
			if errors.Is(err, errors.ErrUnsupported) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer src.Close()
			if err := os.WriteFile(h.spec.Path+".new", make([]byte, 10), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(h.spec.Path+".new", h.spec.Path); err != nil {
				t.Fatal(err)
			}
			useRandomly(t, h, src, Options{})
		})
	}
}

func TestMappedPageThatIsGone(t *testing.T) {
	h := newHome(t, 100, 500)
	src, err := OpenSource(Mmap, h.spec)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if err := os.Truncate(h.spec.Path, 0); err != nil {
		t.Fatal(err)
	}
	if err := faultPast(src); !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "a page of the mapping is gone") {
		t.Errorf("error %v", err) // and no SIGBUS
	}
}

func TestRAM(t *testing.T) {
	const rows, rowBytes = 3000, 4000 // three chunks
	h := newHome(t, rows, rowBytes)
	var ended atomic.Int64
	h.spec.Ended = func() { ended.Add(1) }
	src, err := OpenSource(RAM, h.spec)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if n := ended.Load(); n != 3 {
		t.Errorf("%d reads ended, want 3", n)
	}
	if r := src.Traits().Resident; r < rows*rowBytes || r > rows*rowBytes+8192 {
		t.Errorf("%d bytes resident", r)
	}
	useRandomly(t, h, src, Options{})
}
