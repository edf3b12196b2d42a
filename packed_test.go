package plume_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/plume-run/plume"
)

// packable is a small model in a folder of its own, with a cache folder of its own.
func packable(t *testing.T) (dir string) {
	t.Helper()
	t.Setenv("PLUME_CACHE", t.TempDir())
	dir = t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("internal", "gemma", "testdata", "e-tiny"))); err != nil {
		t.Fatal(err)
	}
	return dir
}

// greedy answers with a fresh model, and tells where weights came from and what was noted.
func greedy(t *testing.T, dir string, o plume.Options) (ids []int32, from string, notes []string) {
	t.Helper()
	var mu sync.Mutex
	o.Note = func(text string) {
		mu.Lock()
		defer mu.Unlock()
		notes = append(notes, text)
	}
	m, err := plume.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	ev, err := m.Evaluate(t.Context(), []int32{2, 5, 9}, plume.EvalOptions{Greedy: 8})
	if err != nil {
		t.Fatal(err)
	}
	return ev.Greedy, m.Stats().From, notes
}

// A packed copy is used when it is there and matches, said to be used, and changes no token;
// one that does not match is not used, which is said too.
func TestPackedCopyOfAModel(t *testing.T) {
	dir := packable(t)
	want, from, notes := greedy(t, dir, plume.Options{})
	if from != "the model's file" || len(notes) > 0 {
		t.Errorf("without a copy: from %s, notes %q", from, notes)
	}
	if c, err := plume.FindPacked(dir, ""); c != nil || err != nil {
		t.Errorf("found %+v, %v", c, err)
	}
	c, err := plume.Pack(t.Context(), dir, plume.PackOptions{})
	if err != nil || c.Reason != "" || c.Bytes == 0 {
		t.Fatalf("packed %+v, %v", c, err)
	}
	check := func(what string, o plume.Options, place string, note string) {
		t.Helper()
		got, from, notes := greedy(t, dir, o)
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("%s: %v, want %v", what, got, want)
			}
		}
		if !strings.HasPrefix(from, place) || (note != "") != (len(notes) == 1) || note != "" && !strings.Contains(notes[0], note) {
			t.Errorf("%s: from %q, notes %q", what, from, notes)
		}
	}
	check("found", plume.Options{}, "the packed copy "+c.Path, "")
	check("named", plume.Options{Packed: c.Path}, "the packed copy "+c.Path, "")
	check("off", plume.Options{Packed: plume.PackedOff}, "the model's file", "")
	check("streamed", plume.Options{RAM: -1, Stream: &plume.Stream{Bytes: 1 << 40}}, "the packed copy "+c.Path, "")

	raw, err := os.ReadFile(c.Path)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)/2] ^= 1
	if err := os.WriteFile(c.Path, raw, 0o666); err != nil {
		t.Fatal(err)
	}
	check("damaged", plume.Options{}, "the model's file, since the packed copy cannot be used", "are not what was written")
	if v, err := plume.VerifyPacked(t.Context(), dir, "", nil); err != nil || !strings.Contains(v.Reason, "are not what was written") {
		t.Errorf("verified %+v, %v", v, err)
	}
	if err := os.Truncate(c.Path, 100); err != nil {
		t.Fatal(err)
	}
	check("cut short", plume.Options{}, "the model's file, since the packed copy cannot be used", "plume pack makes it anew")
	if v, err := plume.FindPacked(dir, ""); err != nil || v == nil || v.Reason == "" {
		t.Errorf("found %+v, %v", v, err)
	}
	if _, err := plume.Pack(t.Context(), dir, plume.PackOptions{}); err != nil {
		t.Fatal(err)
	}
	check("packed again", plume.Options{}, "the packed copy", "")
	model := filepath.Join(dir, "model.safetensors")
	st, err := os.Stat(model)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(model, st.ModTime().Add(5e9), st.ModTime().Add(5e9)); err != nil {
		t.Fatal(err)
	}
	check("stale", plume.Options{}, "the model's file, since", "was made from another")
	if file, err := plume.RemovePacked(dir, ""); err != nil || file != c.Path {
		t.Errorf("removed %s, %v", file, err)
	}
	if _, err := plume.RemovePacked(dir, ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removed twice: %v", err)
	}
}

func TestPackedOptions(t *testing.T) {
	dir := packable(t)
	if _, err := plume.Open(dir, plume.Options{Packed: filepath.Join(dir, "none")}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a copy that is not there: %v", err)
	}
	model := filepath.Join(dir, "model.safetensors")
	if _, err := plume.Pack(t.Context(), dir, plume.PackOptions{Out: model}); !errors.Is(err, plume.ErrRequest) {
		t.Errorf("a copy in place of the model: %v", err)
	}
	if _, err := plume.RemovePacked(dir, model); !errors.Is(err, plume.ErrRequest) {
		t.Errorf("the model removed as its copy: %v", err)
	}
	for text, mine := range map[string]bool{"": false, "Dear reader": false, "GGUF, and then damage": true} {
		file := filepath.Join(dir, "letter.packed")
		if err := os.WriteFile(file, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := plume.RemovePacked(dir, file); mine != (err == nil) || !mine && !errors.Is(err, plume.ErrRequest) {
			t.Errorf("removing a file of %q: %v", text, err)
		}
		if _, err := os.Stat(file); mine != errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a file of %q afterwards: %v", text, err)
		}
	}
	if _, err := plume.Pack(t.Context(), filepath.Join(dir, "config.json"), plume.PackOptions{}); err == nil {
		t.Error("packed what is no model")
	}
	if _, err := plume.Pack(t.Context(), dir, plume.PackOptions{}); err != nil {
		t.Fatal(err)
	}
	_, from, notes := greedy(t, dir, plume.Options{Backend: "ref"})
	if from != "the model's file" || len(notes) > 0 {
		t.Errorf("a device that packs nothing: from %s, notes %q", from, notes)
	}
}
