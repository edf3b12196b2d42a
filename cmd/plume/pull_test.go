package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/plume-run/plume"
	"github.com/plume-run/plume/demo"
)

// site is a server in the manner of the Hugging Face site and of the Ollama
// registry, with a few repositories.
type site struct {
	repos map[string]map[string][]byte
	stuck func(r *http.Request) bool // lets the rest of a file hang
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/")
	if repo, _, ok := strings.Cut(strings.TrimPrefix(path, "api/models/"), "/revision/"); ok {
		s.info(w, repo)
		return
	}
	repo, file, _ := strings.Cut(path, "/resolve/main/")
	if rest, ok := strings.CutPrefix(path, "v2/library/tiny/"); ok {
		if rest == "manifests/latest" {
			data := s.repos["demo/tiny-GGUF"]["tiny-Q8_0.gguf"]
			fmt.Fprintf(w, `{"layers":[{"mediaType":"application/vnd.ollama.image.model","digest":"sha256:%s","size":%d}]}`, sum(data), len(data))
			return
		}
		repo, file = "demo/tiny-GGUF", "tiny-Q8_0.gguf"
	}
	data, ok := s.repos[repo][file]
	if !ok {
		http.NotFound(w, r)
		return
	}
	if s.stuck != nil && s.stuck(r) {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", len(data)-1, len(data)))
		w.WriteHeader(http.StatusPartialContent)
		w.Write(data[:9<<20])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

// info lists a repository.
func (s *site) info(w http.ResponseWriter, repo string) {
	files, ok := s.repos[repo]
	if !ok {
		w.Header().Set("X-Error-Code", "GatedRepo")
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	var list []map[string]any
	for name, data := range files {
		list = append(list, map[string]any{"rfilename": name, "lfs": map[string]any{"sha256": sum(data), "size": len(data)}})
	}
	json.NewEncoder(w).Encode(map[string]any{"siblings": list})
}

func sum(data []byte) string {
	s := sha256.Sum256(data)
	return hex.EncodeToString(s[:])
}

// newSite serves the demo model under several names.
func newSite(t *testing.T) *site {
	t.Helper()
	path, _, err := demo.Path()
	if err != nil {
		t.Fatal(err)
	}
	model, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return &site{repos: map[string]map[string][]byte{
		"demo/tiny-GGUF": {"tiny-Q8_0.gguf": model, "README.md": []byte("a model")},
		"demo/two-GGUF":  {"two-Q8_0.gguf": model, "two-Q4_0.gguf": model, "mmproj-F16.gguf": nil},
		"demo/broken":    {"broken.gguf": []byte("GGUF, or so it seems")},
	}}
}

// demoSite starts a site that has the model in folder too, and returns its
// address.
func demoSite(t *testing.T, folder string) string {
	t.Helper()
	s := newSite(t)
	files := map[string][]byte{}
	for _, name := range []string{"config.json", "model.safetensors"} {
		data, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = data
	}
	s.repos["demo/e-tiny"] = files
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return server.URL
}

// TestPullInterrupted: Ctrl-C leaves what the same command goes on with, and
// says so.
func TestPullInterrupted(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a process cannot send itself an interrupt on Windows")
	}
	s := newSite(t)
	s.stuck = func(*http.Request) bool { return true }
	server := httptest.NewServer(s)
	defer server.Close()
	t.Setenv(plume.HubDirVariable, t.TempDir())
	t.Setenv("HF_ENDPOINT", server.URL)
	t.Setenv("HF_TOKEN", "")

	events, out := io.Pipe()
	var stderr bytes.Buffer
	code := make(chan int)
	go func() {
		code <- execute([]string{"pull", "--json", "demo/tiny-GGUF"}, nil, out, &stderr)
		out.Close()
	}()
	for lines := bufio.NewScanner(events); lines.Scan(); {
		var e plume.HubEvent
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Error(err)
		}
		if e.Kind == plume.HubProgress && e.Done == 8<<20 {
			break
		}
	}
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if err := self.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	go io.Copy(io.Discard, events)
	if got := <-code; got != exitInterrupted || !strings.Contains(stderr.String(), "8.0 MiB of 18.6 MiB are kept; the same command goes on from there") {
		t.Errorf("exit code %d, %s", got, &stderr)
	}

	s.stuck = nil
	var path bytes.Buffer
	stderr.Reset()
	if got := execute([]string{"pull", "demo/tiny-GGUF"}, nil, &path, &stderr); got != 0 || !strings.Contains(stderr.String(), "8.0 MiB are here already") {
		t.Errorf("exit code %d, %s", got, &stderr)
	}
	if data, err := os.ReadFile(strings.TrimSpace(path.String())); err != nil || sum(data) != sum(s.repos["demo/tiny-GGUF"]["tiny-Q8_0.gguf"]) {
		t.Errorf("what stdout names is not the model: %v", err)
	}
}
