package plume

import (
	"bytes"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/convert"
)

// splitDemo writes the demo as a model of two parts, the second of which has the table.
func splitDemo(t *testing.T) (first, second string) {
	t.Helper()
	cat, err := checkpoint.Open(demoPath(t))
	if err != nil {
		t.Fatal(err)
	}
	defer cat.Close()
	types := convert.Types{Type: cat.Lookup("blk.0.attn_q.weight").Type}
	table, embed := cat.Lookup("per_layer_token_embd.weight").Type, cat.Lookup("token_embd.weight").Type
	types.PLE, types.Embed = &table, &embed
	r, err := convert.Convert(t.Context(), cat, filepath.Join(t.TempDir(), "demo.gguf"), convert.Options{Types: types, SplitPLE: true})
	if err != nil {
		t.Fatal(err)
	}
	return r.Files[0], r.Files[1]
}

// tableServer serves data as one version of a file, to who knows the word.
func tableServer(t *testing.T, data []byte) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer me" {
			http.Error(w, "who?", http.StatusUnauthorized)
			return
		}
		w.Header().Set("ETag", `"v1"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// A model whose table was split off and is nowhere here answers as if it were, by any
// server that has it, and refuses what is not its table.
func TestTableElsewhere(t *testing.T) {
	first, second := splitDemo(t)
	request := greedyRequest(Request{Prompt: "Tell me a story about a fox.", MaxTokens: 20})
	answer := func(o Options) ([]int32, error) {
		o.Threads = 1
		m, err := Open(first, o)
		if err != nil {
			return nil, err
		}
		defer m.Close()
		a, err := Collect(newSession(t, m, SessionOptions{Context: 64}).Generate(t.Context(), request))
		if err != nil {
			return nil, err
		}
		return a.Result.IDs, nil
	}
	want, err := answer(Options{}) // both parts are here
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(second)
	if err == nil {
		err = os.Remove(second)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := answer(Options{}); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), second) || !strings.Contains(err.Error(), "URL") {
		t.Errorf("without the table: %v", err)
	}
	if _, err := Plan(first, Options{}); err != nil {
		t.Errorf("plan without the table: %v", err)
	}
	in, err := Inspect(first)
	if err != nil || in.TierBytes(TierDisk) == 0 || !strings.Contains(strings.Join(in.Notes, "\n"), "not here") {
		t.Errorf("inspect: %d bytes of table, notes %v, %v", in.TierBytes(TierDisk), in.Notes, err)
	}
	url := tableServer(t, data)
	o := Options{PLE: url, PLEHeader: map[string][]string{"Authorization": {"Bearer me"}}}
	for _, tag := range []string{"", "v1", `"v1"`} {
		o.PLEETag = tag
		if got, err := answer(o); err != nil || !slices.Equal(got, want) {
			t.Errorf("ETag %q: %v, want %v (%v)", tag, got, want, err)
		}
	}
	other := slices.Clone(data)
	for i := len(other) / 2; i < len(other); i++ {
		other[i] ^= 0x55
	}
	for want, change := range map[string]func(*Options){
		"status 401":              func(o *Options) { o.PLEHeader = nil },
		`ETag "\"v1\"", want`:     func(o *Options) { o.PLEETag = "v2" },
		"is no copy of " + second: func(o *Options) { o.PLE = tableServer(t, other) },
		"bytes, want":             func(o *Options) { o.PLE = tableServer(t, append(data, 0)) },
	} {
		o := o
		change(&o)
		if _, err := answer(o); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "http://") {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}
