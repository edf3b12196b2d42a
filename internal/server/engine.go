package server

import (
	"context"
	"iter"
	"time"

	"github.com/plume-run/plume"
)

// Engine is what answers requests: a plume.Service that can also count. All
// methods may be called at any time by any number of goroutines.
type Engine interface {
	// Generate answers r; see plume.Service.Generate. It ends within one step
	// when ctx does.
	Generate(ctx context.Context, r plume.Request) iter.Seq2[plume.Event, error]
	// CountTokens returns the length of the prompt that Generate would compute.
	CountTokens(r plume.Request) (int, error)
	// Stats tells how busy the engine is.
	Stats() plume.ServiceStats
}

// Model describes the one that is served.
type Model struct {
	ID           string         // the name that clients use
	Family       string         // "gemma4"
	Size         string         // published name of its shape ("E2B"), or ""
	Format       string         // "gguf" or "safetensors"
	Quantization string         // the most frequent type of its weights
	Parameters   int64          // all of them
	Bytes        int64          // of its tensors
	DiskBytes    int64          // those of them that stay on disk
	Modified     time.Time      // of its file
	Context      int            // tokens that one request may take, answer included
	Sampling     plume.Sampling // what holds where a request says nothing
	Tools        bool           // the vocabulary has tokens for tool calls
	Thinking     bool           // … and for thoughts
}

// PullProgress is one line of a download's progress.
type PullProgress struct {
	Status    string // "pulling", "verifying", …
	Digest    string // of the file in question, may be ""
	Total     int64  // bytes, 0 when unknown
	Completed int64
}
