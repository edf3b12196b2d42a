package checkpoint

import (
	"fmt"
	"path/filepath"
	"testing"
)

// vocabularyFile writes a file with the metadata of a Gemma 4 model, 262,144
// tokens and 514,906 merges, and no tensors.
func vocabularyFile(tb testing.TB) string {
	tb.Helper()
	tokens := make([]string, 262144)
	kinds := make([]int32, len(tokens))
	scores := make([]float32, len(tokens))
	for i := range tokens {
		tokens[i], kinds[i], scores[i] = fmt.Sprintf("▁tok%x", i), 1, float32(i)
	}
	merges := make([]string, 514906)
	for i := range merges {
		merges[i] = fmt.Sprintf("▁%x %x", i, i/7)
	}
	path := filepath.Join(tb.TempDir(), "vocabulary.gguf")
	w, err := CreateGGUF(path, WriterOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	_ = w.Set("tokenizer.ggml.tokens", tokens) // errors stick
	_ = w.Set("tokenizer.ggml.scores", scores)
	_ = w.Set("tokenizer.ggml.token_type", kinds)
	_ = w.Set("tokenizer.ggml.merges", merges)
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return path
}

// TestVocabularyMemory: a vocabulary costs its text, a string header each and
// what slices outgrow, not an allocation per string.
func TestVocabularyMemory(t *testing.T) {
	path := vocabularyFile(t)
	allocs := testing.AllocsPerRun(1, func() {
		c, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	})
	if allocs > 500 {
		t.Errorf("%v allocations to open 777,050 strings", allocs)
	}
	c := mustOpen(t, path)
	tokens, _ := c.Meta().Strings("tokenizer.ggml.tokens")
	merges, _ := c.Meta().Strings("tokenizer.ggml.merges")
	if len(tokens) != 262144 || tokens[262143] != "▁tok3ffff" || len(merges) != 514906 || merges[7] != "▁7 1" {
		t.Errorf("%d tokens, %d merges", len(tokens), len(merges))
	}
}

func BenchmarkOpenVocabulary(b *testing.B) {
	path := vocabularyFile(b)
	b.ReportAllocs()
	for b.Loop() {
		c, err := Open(path)
		if err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
}
