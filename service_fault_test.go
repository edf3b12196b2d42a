package plume

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/plume-run/plume/internal/checkpoint"
)

// tableIn says where a file has its per-layer table, and how many rows that has.
func tableIn(t *testing.T, path string) (at, rowBytes int64, rows int32) {
	t.Helper()
	cat, err := checkpoint.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer cat.Close()
	for _, s := range cat.Tensors() {
		if s.Name == "per_layer_token_embd.weight" {
			_, at = s.Location()
			rows = int32(s.Shape[0])
			return at, s.Bytes / int64(rows), rows
		}
	}
	t.Fatal("no table")
	return 0, 0, 0
}

// TestTableGone takes the upper half of the table away, or all of it, from a service that
// runs, wherever the table is: requests that need a row of it fail and name it, those
// beside them do not, and all is well when it is back.
func TestTableGone(t *testing.T) {
	data, err := os.ReadFile(demoPath(t))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "model.gguf")
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	at, row, rows := tableIn(t, file)
	var down atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !down.Load() {
			http.ServeFile(w, r, file)
		} else if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
			c.Close()
		}
	}))
	defer server.Close()
	truncate := func(gone bool) {
		if gone {
			err = os.Truncate(file, at+row*int64(rows/2))
		} else {
			err = os.WriteFile(file, data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		place, names string
		fault        func(gone bool)
	}{
		{"direct", file, truncate}, {"disk", file, truncate}, {"mmap", file, truncate}, {server.URL + "/model", server.URL, down.Store},
	} {
		t.Run(c.place, func(t *testing.T) {
			m, err := Open(file, Options{PLE: c.place, Threads: 1, RAM: -1})
			if errors.Is(err, errors.ErrUnsupported) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			s := newService(t, m, ServiceOptions{Context: 64, Sequences: 4})
			ask := func(ids ...int32) (*Answer, error) {
				return Collect(s.Generate(t.Context(), greedyRequest(Request{Tokens: ids, MaxTokens: 1})))
			}
			low, high := []int32{20, 21, 22}, []int32{20, rows - 9, 22}
			want, err := ask(low...) // its rows are in the row cache from now on
			if err != nil {
				t.Fatal(err)
			}
			c.fault(true)
			var together sync.WaitGroup
			for range 2 {
				together.Go(func() {
					_, err := ask(high...)
					if err == nil || !strings.Contains(err.Error(), "read row ") || !strings.Contains(err.Error(), c.names) {
						t.Errorf("without its row: %v", err)
					}
				})
				together.Go(func() {
					if got, err := ask(low...); err != nil || !slices.Equal(got.Result.IDs, want.Result.IDs) {
						t.Errorf("beside it: %v", err)
					}
				})
			}
			together.Wait()
			c.fault(false)
			if _, err := ask(high...); err != nil {
				t.Errorf("after the fault: %v", err)
			}
		})
	}
}
