package hub

import (
	"context"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestFindAndRemove: names in full and in short, what is unknown, what is half there.
func TestFindAndRemove(t *testing.T) {
	w := newWorld(t)
	h := w.open()
	if list, err := h.Models(); err != nil || list == nil || len(list) != 0 {
		t.Fatalf("a store that is not there: %v, %v", list, err)
	}
	if _, err := h.Find("a/b"); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "no model has been pulled yet") {
		t.Errorf("error %v", err)
	}
	for i, name := range []string{"a/one", "b/one", "a/two"} {
		pull(t, h, name, w.put(name, "m.gguf", noise(uint64(i), 100)))
	}
	pull(t, h, "ollama:gemma4:e2b", w.onlyBlob(noise(9, 100)))
	for short, full := range map[string]string{
		"a/one": "a/one", "two": "a/two", "gemma4:e2b": "ollama:gemma4:e2b", "ollama:gemma4:e2b": "ollama:gemma4:e2b",
		"one": "", "three": "", "e2b": "", "": "", "a": "", "wo": "", "../a/one": "",
	} {
		m, err := h.Find(short)
		if full == "" && !errors.Is(err, ErrNotFound) || full != "" && (err != nil || m.Name != full) {
			t.Errorf("%q: %v, %v, want %q", short, m, err, full)
		}
	}
	if _, err := h.Find("one"); !strings.Contains(err.Error(), "a/one or b/one") {
		t.Errorf("error %v", err)
	}
	if _, err := h.Find("three"); !strings.Contains(err.Error(), "pulled models: a/one, a/two, b/one, ollama:gemma4:e2b") {
		t.Errorf("error %v", err)
	}

	two, _ := h.Find("two")
	if full, err := h.Remove("two"); err != nil || full != "a/two" || exists(two.Path) {
		t.Errorf("removed %s, %v", full, err)
	}
	if _, err := h.Remove("two"); !errors.Is(err, ErrNotFound) {
		t.Errorf("error %v", err)
	}
	// Half a model is not listed, and can be removed by its full name.
	one, _ := h.Find("b/one")
	if err := os.Truncate(one.Path, 50); err != nil {
		t.Fatal(err)
	}
	list, err := h.Models()
	if err != nil || len(list) != 2 || list[0].Name != "a/one" || list[1].Name != "ollama:gemma4:e2b" {
		t.Errorf("models %v, %v", list, err)
	}
	if full, err := h.Remove("b/one"); err != nil || full != "b/one" {
		t.Errorf("removed %s, %v", full, err)
	}
	// What a removal has left, the next change of the store sweeps away.
	trash := filepath.Join(h.Dir(), trashPrefix+"x")
	if err := os.MkdirAll(filepath.Join(trash, "y"), 0o755); err != nil {
		t.Fatal(err)
	}
	pull(t, h, "a/one", w.repos["a/one"]["m.gguf"])
	if exists(trash) {
		t.Error("trash is still there")
	}
}

// onlyBlob makes data the only thing on the second server, and so the layer of
// the Ollama model.
func (w *world) onlyBlob(data []byte) []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.blobs = map[string][]byte{sumOf(data): data}
	return data
}

// TestCheck: one bit is enough.
func TestCheck(t *testing.T) {
	w := newWorld(t)
	name, data := w.gguf()
	h := w.open()
	m := pull(t, h, name, data)
	last := int64(0)
	if _, err := h.Check(t.Context(), name, func(done, total int64) {
		if last = done; total != m.Bytes {
			t.Errorf("total %d", total)
		}
	}); err != nil || last != m.Bytes {
		t.Errorf("%v after %d bytes", err, last)
	}
	bad := slices.Clone(data)
	bad[999] ^= 1
	if err := os.WriteFile(m.Path, bad, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Check(t.Context(), name, nil); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), m.Files[0].Name) {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Check(ctx, name, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// TestManifests: what is in the store is checked like everything else.
func TestManifests(t *testing.T) {
	w := newWorld(t)
	name, data := w.gguf()
	h := w.open()
	m := pull(t, h, name, data)
	path := filepath.Join(filepath.Dir(filepath.Dir(m.Path)), manifestFile)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{
		`"version": 1`:                        `"version": 2`,
		`"name": "me/tiny-GGUF"`:              `"name": "me/other"`,
		`"name": "tiny-Q4_0.gguf"`:            `"name": "../../../etc/passwd"`,
		`"folder": "`:                         `"folder": "../`,
		`{`:                                   ``,
		`"bytes": ` + strconv.Itoa(len(data)): `"bytes": 7`,
	} {
		bad := strings.ReplaceAll(string(good), from, to)
		if bad == string(good) {
			t.Fatalf("%s is not in the manifest: %s", from, good)
		}
		if err := os.WriteFile(path, []byte(bad), 0o644); err != nil {
			t.Fatal(err)
		}
		if list, err := h.Models(); err != nil || len(list) != 0 {
			t.Errorf("%s: listed %v, %v", to, list, err)
		}
	}
	pull(t, h, name, data) // heals it
}

// TestOptions: what cannot be is refused before anything happens.
func TestOptions(t *testing.T) {
	t.Setenv(HFVariable, "")
	for _, o := range []Options{
		{HFEndpoint: "huggingface.co"}, {HFEndpoint: "ftp://x"}, {HFEndpoint: "https://u:p@x"}, {OllamaRegistry: "https://x/?a=b"}, {Connections: 65}, {Connections: -1},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
	t.Setenv(DirVariable, "models")
	t.Setenv(HFVariable, "https://mirror.example/hf/")
	h, err := New(Options{})
	if err != nil || !filepath.IsAbs(h.Dir()) || filepath.Base(h.Dir()) != "models" || h.hf.String() != "https://mirror.example/hf" {
		t.Errorf("%+v, %v", h, err)
	}
	if free, err := freeBytes(t.TempDir()); err != nil || free <= 0 {
		t.Errorf("free bytes %d, %v", free, err)
	}
}

// Variables of the process that TestKill kills.
const (
	killDir = "HUB_TEST_DIR"
	killURL = "HUB_TEST_URL"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(killDir); dir != "" {
		h, err := New(Options{Dir: dir, HFEndpoint: os.Getenv(killURL), Connections: 3})
		if err != nil {
			panic(err)
		}
		h.quick()
		_, err = h.Pull(context.Background(), "me/tiny-GGUF", nil)
		panic(err) // the parent kills this process before
	}
	os.Exit(m.Run())
}

// TestKill: a process that is killed in the middle leaves what another one
// goes on with, and its lock does not outlive it.
func TestKill(t *testing.T) {
	w := newWorld(t)
	name, data := w.gguf()
	h := w.open()
	arrived := make(chan struct{}, 100)
	stop := hold(16 * testChunk)
	w.fault(nil, func(res http.ResponseWriter, r *http.Request) bool {
		arrived <- struct{}{}
		return stop(res, r)
	})
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), killDir+"="+h.Dir(), killURL+"="+w.hub.URL)
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer child.Wait()
	defer child.Process.Kill()
	// Four spans are answered, three requests hang: one connection has asked
	// twice, so a span before it is on the disk.
	for range 7 {
		<-arrived
	}
	if _, err := h.Pull(t.Context(), name, nil); !errors.Is(err, ErrBusy) {
		t.Errorf("beside the other process: %v", err)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	child.Wait()
	u, err := h.Unfinished()
	if err != nil || len(u) != 1 || u[0].Done < 4*testChunk {
		t.Fatalf("unfinished %+v, %v", u, err)
	}
	w.fault(nil, nil)
	w.forget()
	pull(t, h, name, data)
	if n := w.blobBytes(); n > int64(len(data))-u[0].Done {
		t.Errorf("%d bytes fetched although %d of %d were there", n, u[0].Done, len(data))
	}
}

// TestTornJournal: a journal is believed up to its first bad line.
func TestTornJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	rf := remoteFile{name: "f", bytes: 10*testChunk + 1, sha256: strings.Repeat("0", 64)}
	head := string(rf.head(testChunk))
	for text, want := range map[string]int64{
		head:                      0,
		head + "3\n0\n":           2 * testChunk,
		head + "3\n1":             testChunk,
		head + "10\n":             1,
		head + "3\n\x00\x00\n4\n": testChunk,
		head + "3\n11\n4\n":       testChunk,
		head + "3\n-1\n":          testChunk,
		head + "3\n3\n":           testChunk,
		strings.Replace(head, "sha256:0", "sha256:1", 1) + "3\n":   0,
		strings.Replace(head, `"chunk":1`, `"chunk":2`, 1) + "3\n": 0,
		"":       0,
		"\n\n\n": 0,
	} {
		if err := errors.Join(os.WriteFile(path, make([]byte, rf.bytes), 0o644), os.WriteFile(path+journalSuffix, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
		p, err := openPart(path, rf, testChunk)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.doneBytes(); got != want {
			t.Errorf("%q: %d bytes are done, want %d", text, got, want)
		}
		// What is appended now is a line of its own.
		if err := p.complete(7); err != nil {
			t.Error(err)
		}
		p.close()
		p, err = openPart(path, rf, testChunk)
		if err != nil || p.doneBytes() != want+testChunk {
			t.Errorf("%q: %d bytes are done after one more piece, want %d", text, p.doneBytes(), want+testChunk)
		}
		p.close()
	}
	// A file that was cut off is not believed, whatever the journal says.
	if err := errors.Join(os.WriteFile(path, []byte("x"), 0o644), os.WriteFile(path+journalSuffix, []byte(head+"3\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	p, err := openPart(path, rf, testChunk)
	if err != nil || p.doneBytes() != 0 {
		t.Errorf("%d bytes are done, %v", p.doneBytes(), err)
	}
	p.close()
}

func FuzzJournal(f *testing.F) {
	f.Add([]byte("3\n0\n"))
	f.Add([]byte("3\n99999999999999999999\n\x00"))
	f.Fuzz(func(t *testing.T, lines []byte) {
		done, n := journalPieces(lines, 11)
		if n > len(lines) || n > 0 && lines[n-1] != '\n' {
			t.Errorf("%d of %d bytes are good", n, len(lines))
		}
		for _, i := range done {
			if i < 0 || i > 10 {
				t.Errorf("piece %d", i)
			}
		}
	})
}
