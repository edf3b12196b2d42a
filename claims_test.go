package plume

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/gemma"
)

// silenced copies the demo model with a per-layer table of zeros.
func silenced(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(demoPath(t))
	if err != nil {
		t.Fatal(err)
	}
	cat, err := checkpoint.Open(demoPath(t))
	if err != nil {
		t.Fatal(err)
	}
	defer cat.Close()
	cfg, err := gemma.ReadConfig(cat)
	if err != nil {
		t.Fatal(err)
	}
	table := gemma.Find(cat, cfg.Spec(gemma.KeyPLETable, -1))
	_, off := table.Location()
	clear(data[off : off+table.Bytes]) // zero scales: every value is 0 in any block format
	path := filepath.Join(t.TempDir(), "silenced.gguf")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// docs/claims.md says that the table is worth its bytes. PLUME_CLAIMS_TEXT names a longer
// text for its figure.
func TestTheTableImprovesTheModel(t *testing.T) {
	text := []byte("Once upon a time, there was a little girl named Lily. She loved to play outside in the park with her friends. " +
		"One day, she saw a big dog. The dog was very sad because it had lost its ball. Lily helped the dog to find the ball, and they were happy.")
	if name := os.Getenv("PLUME_CLAIMS_TEXT"); name != "" {
		var err error
		if text, err = os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
	}
	nll := func(path string) float64 {
		m, err := Open(path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		ids, err := m.Tokenize(string(text))
		if err != nil {
			t.Fatal(err)
		}
		ev, err := m.Perplexity(t.Context(), ids, PerplexityOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return ev.MeanNLL
	}
	with, without := nll(demoPath(t)), nll(silenced(t))
	t.Logf("with the table %.4f nats per token, with a table of zeros %.4f", with, without)
	if without < with+0.1 {
		t.Errorf("a table of zeros costs %.4f nats per token", without-with)
	}
}
