package hub

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

const testChunk = 1 << 10

// world is a Hugging Face endpoint and an Ollama registry with a second server
// behind it that holds the large files, as the real ones have.
type world struct {
	t        *testing.T
	hub, cdn *httptest.Server

	mu     sync.Mutex
	repos  map[string]map[string][]byte // "owner/repo" → path → content
	blobs  map[string][]byte            // sha256 → content, on the second server
	commit string
	log    []request
	// Faults: called first, true when it has answered.
	onHub, onBlob func(w http.ResponseWriter, r *http.Request) bool
	tags          map[string]string // path → ETag of plain files
}

type request struct {
	host, path, rng, auth, referer string
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, repos: map[string]map[string][]byte{}, blobs: map[string][]byte{}, tags: map[string]string{}, commit: strings.Repeat("a1", 20)}
	w.hub = httptest.NewServer(http.HandlerFunc(w.serveHub))
	w.cdn = httptest.NewServer(http.HandlerFunc(w.serveBlob))
	t.Cleanup(w.hub.Close)
	t.Cleanup(w.cdn.Close)
	return w
}

func (w *world) note(r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log = append(w.log, request{r.Host, r.URL.Path, r.Header.Get("Range"), r.Header.Get("Authorization"), r.Header.Get("Referer")})
}

func (w *world) requests() []request {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]request(nil), w.log...)
}

func (w *world) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log = nil
}

// fault sets the handlers that come first.
func (w *world) fault(onHub, onBlob func(http.ResponseWriter, *http.Request) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.onHub, w.onBlob = onHub, onBlob
}

func (w *world) serveHub(res http.ResponseWriter, r *http.Request) {
	w.note(r)
	w.mu.Lock()
	fault := w.onHub
	w.mu.Unlock()
	if fault != nil && fault(res, r) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	path := strings.TrimPrefix(r.URL.Path, "/")
	if rest, ok := strings.CutPrefix(path, "api/models/"); ok {
		repo, _, _ := strings.Cut(rest, "/revision/")
		if files := w.repos[repo]; files != nil {
			json.NewEncoder(res).Encode(map[string]any{"sha": w.commit, "siblings": siblings(files)})
			return
		}
	}
	if repo, rest, ok := strings.Cut(path, "/resolve/"); ok {
		_, file, _ := strings.Cut(rest, "/")
		if data, ok := w.repos[repo][file]; ok {
			if isLFS(file) {
				http.Redirect(res, r, w.cdn.URL+"/"+sumOf(data)+"?signature=secret", http.StatusFound)
				return
			}
			http.ServeContent(res, r, "", time.Time{}, bytes.NewReader(data))
			return
		}
	}
	if rest, ok := strings.CutPrefix(path, "v2/library/gemma4/"); ok {
		if rest == "manifests/e2b" {
			for sum, data := range w.blobs {
				fmt.Fprintf(res, `{"schemaVersion":2,"layers":[
					{"mediaType":"application/vnd.ollama.image.license","digest":"sha256:%s","size":9},
					{"mediaType":"application/vnd.ollama.image.model","digest":"sha256:%s","size":%d}]}`, strings.Repeat("0", 64), sum, len(data))
			}
			return
		}
		if sum, ok := strings.CutPrefix(rest, "blobs/sha256:"); ok {
			http.Redirect(res, r, w.cdn.URL+"/"+sum, http.StatusTemporaryRedirect)
			return
		}
	}
	if data, ok := w.repos["files"][path]; ok {
		if tag := w.tags[path]; tag != "" {
			res.Header().Set("ETag", tag)
		}
		http.ServeContent(res, r, "", time.Time{}, bytes.NewReader(data))
		return
	}
	http.NotFound(res, r)
}

func (w *world) serveBlob(res http.ResponseWriter, r *http.Request) {
	w.note(r)
	w.mu.Lock()
	fault := w.onBlob
	data, ok := w.blobs[strings.TrimPrefix(r.URL.Path, "/")]
	w.mu.Unlock()
	if fault != nil && fault(res, r) {
		return
	}
	if !ok {
		http.NotFound(res, r)
		return
	}
	http.ServeContent(res, r, "", time.Time{}, bytes.NewReader(data))
}

// blob returns the content that a request to the second server asks for.
func (w *world) blob(r *http.Request) []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.blobs[strings.TrimPrefix(r.URL.Path, "/")]
}

func isLFS(file string) bool { return isGGUF(file) || strings.HasSuffix(file, ".safetensors") }

func siblings(files map[string][]byte) []map[string]any {
	var list []map[string]any
	for name, data := range files {
		s := map[string]any{"rfilename": name, "size": len(data)}
		git := sha1.New()
		fmt.Fprintf(git, "blob %d\x00", len(data))
		git.Write(data)
		s["blobId"] = hex.EncodeToString(git.Sum(nil))
		if isLFS(name) {
			s["lfs"] = map[string]any{"sha256": sumOf(data), "size": len(data), "pointerSize": 134}
		}
		list = append(list, s)
	}
	return list
}

func sumOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// put adds a file to a repository.
func (w *world) put(repo, path string, data []byte) []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.repos[repo] == nil {
		w.repos[repo] = map[string][]byte{}
	}
	w.repos[repo][path] = data
	if isLFS(path) && repo != "files" {
		w.blobs[sumOf(data)] = data
	}
	return data
}

// noise is n bytes that differ from piece to piece.
func noise(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 7))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// gguf is a repository with one GGUF model of many pieces.
func (w *world) gguf() (name string, data []byte) {
	return "me/tiny-GGUF", w.put("me/tiny-GGUF", "tiny-Q4_0.gguf", noise(1, 37*testChunk+11))
}

// open makes a Hub with a store of its own that never waits.
func (w *world) open(change ...func(*Options)) *Hub {
	w.t.Helper()
	w.t.Setenv(HFTokenVariable, "")
	o := Options{Dir: filepath.Join(w.t.TempDir(), "store"), HFEndpoint: w.hub.URL, OllamaRegistry: w.hub.URL, Connections: 3}
	for _, c := range change {
		c(&o)
	}
	h, err := New(o)
	if err != nil {
		w.t.Fatal(err)
	}
	h.quick()
	return h
}

// quick makes a hub that does not wait, with small pieces and a large disk.
func (h *Hub) quick() {
	h.chunkBytes, h.spanChunks = testChunk, 4
	h.sleep = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	h.free = func(string) (int64, error) { return math.MaxInt64, nil }
}

// pull expects a pull to succeed with these contents, in this order.
func pull(t *testing.T, h *Hub, name string, want ...[]byte) *Model {
	t.Helper()
	m, err := h.Pull(t.Context(), name, nil)
	if err != nil {
		t.Fatal(err)
	}
	checkModel(t, h, m, want...)
	return m
}

func checkModel(t *testing.T, h *Hub, m *Model, want ...[]byte) {
	t.Helper()
	dir := m.Path
	if m.Format == "gguf" {
		dir = filepath.Dir(dir)
	}
	if len(m.Files) != len(want) {
		t.Fatalf("%d files, want %d", len(m.Files), len(want))
	}
	for i, f := range m.Files {
		got, err := os.ReadFile(filepath.Join(dir, f.Name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want[i]) || f.SHA256 != sumOf(want[i]) || f.Bytes != int64(len(want[i])) {
			t.Errorf("%s is not what the source has", f.Name)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != len(want) {
		t.Errorf("%d files in the folder, want %d: %v", len(entries), len(want), entries)
	}
	if found, err := h.Find(m.Name); err != nil || found.Path != m.Path {
		t.Errorf("Find: %v, %v", found, err)
	}
	noLeaks(t, h)
}

// fails expects a pull to fail with an error of a class that says these things,
// and nothing to be listed.
func fails(t *testing.T, h *Hub, name string, class error, says ...string) {
	t.Helper()
	m, err := h.Pull(t.Context(), name, nil)
	if err == nil {
		t.Fatalf("pulled %s to %s", name, m.Path)
	}
	if class != nil && !errors.Is(err, class) {
		t.Errorf("error %q is not a %q", err, class)
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("error %q, want %q in it", err, s)
		}
	}
	if list, err := h.Models(); err != nil || len(list) != 0 {
		t.Errorf("listed after a failure: %v, %v", list, err)
	}
	noLeaks(t, h)
}

// noLeaks looks for goroutines and open files that outlive a pull.
func noLeaks(t *testing.T, h *Hub) {
	t.Helper()
	buf := make([]byte, 1<<20)
	stacks := string(buf[:runtime.Stack(buf, true)])
	for _, f := range []string{"hub.(*fetcher).", "hub.(*part).", "hub.(*client)."} {
		if strings.Contains(stacks, f) {
			t.Errorf("a goroutine is still in %s", f)
		}
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return // not Linux
	}
	for _, fd := range fds {
		if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.HasPrefix(to, h.o.Dir) {
			t.Errorf("%s is still open", to)
		}
	}
}

// first makes a fault that happens n times and then no more.
func first(n int, fault func(http.ResponseWriter, *http.Request)) func(http.ResponseWriter, *http.Request) bool {
	var mu sync.Mutex
	return func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		n--
		now := n >= 0
		mu.Unlock()
		if now {
			fault(w, r)
		}
		return now
	}
}

// always makes a fault that does not heal.
func always(fault func(http.ResponseWriter, *http.Request)) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool { fault(w, r); return true }
}

// hangUp ends the connection.
func hangUp() { panic(http.ErrAbortHandler) }
