package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"plume": main})
}

// TestScript runs the files of testdata/script, each a session at the command
// line. The demo model is written once, to a folder that all of them share;
// $E_TINY is a model of random weights without vocabulary.
func TestScript(t *testing.T) {
	cache := t.TempDir()
	tiny, err := filepath.Abs(filepath.Join("..", "..", "internal", "gemma", "testdata", "e-tiny"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(tiny, "config.json")); err != nil {
		t.Fatal(err)
	}
	site := demoSite(t, tiny)
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(env *testscript.Env) error {
			env.Setenv("PLUME_CACHE", cache)
			env.Setenv("E_TINY", tiny)
			env.Setenv("HF_ENDPOINT", site)
			env.Setenv("OLLAMA_REGISTRY", site)
			env.Setenv("PLUME_MODELS", filepath.Join(env.WorkDir, "models"))
			return nil
		},
	})
}
