package server

import (
	"context"
	"net/http"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/plume-run/plume"
	"github.com/plume-run/plume/internal/load"
)

// modelEngine is the demo model behind the interface.
type modelEngine struct {
	*plume.Service
	m *plume.Model
}

func (e modelEngine) CountTokens(r plume.Request) (int, error) { return e.m.CountTokens(r) }

// TestLoad lets many clients stream from the demo model, and leave, and send
// nonsense, and too much. Every well-formed request that was admitted and not
// left must end properly, and nothing may be left behind. `plume bench serve
// --soak` does the same for minutes.
func TestLoad(t *testing.T) {
	m, err := plume.OpenDemo(plume.Options{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	service, err := m.NewService(plume.ServiceOptions{Context: 256, Queue: 32, PrefixCacheBytes: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer service.Close(context.Background())
	o := testOptions(modelEngine{service, m})
	o.MaxBody, o.Model.Context = 64<<10, 256
	s, h := newTestServer(t, o)
	ask := load.Options{URL: h.URL, Clients: 1, Rounds: 1, Prompt: "Tell me a story.", Tokens: 16}
	load.Run(t.Context(), ask) // what is made once is made now
	settle(service)
	before := usageNow()
	ask.Clients, ask.Rounds, ask.Rough, ask.TooLarge = 64, 3, true, 100<<10
	got := load.Run(t.Context(), ask)
	settle(service)
	after := usageNow()
	t.Logf("%+v", *got)
	t.Logf("goroutines %d → %d, open files %d → %d, heap %d → %d KiB", before.goroutines, after.goroutines, before.files, after.files, before.heap>>10, after.heap>>10)
	if got.Failed > 0 || got.Ended == 0 || got.Left == 0 || got.Malformed == 0 || got.TooLarge == 0 || got.HungUp == 0 {
		t.Errorf("failures, or a kind of request that never happened: %+v", *got)
	}
	if n := got.Ended + got.Left + got.Refused + got.Malformed + got.TooLarge + got.HungUp; n != ask.Clients*ask.Rounds {
		t.Errorf("%d requests, want %d", n, ask.Clients*ask.Rounds)
	}
	if after.goroutines > before.goroutines+5 || after.files > before.files+5 {
		t.Errorf("left behind: goroutines %d → %d, files %d → %d", before.goroutines, after.goroutines, before.files, after.files)
	}
	// What may stay: the prefixes within their budget, and scratch of sequences used first now.
	if after.heap > before.heap+16<<20 {
		t.Errorf("left behind: heap %d → %d KiB", before.heap>>10, after.heap>>10)
	}
	if n := s.bodies.Load(); n != 0 {
		t.Errorf("%d bytes of bodies are still counted", n)
	}
}

// settle waits until no answer runs and the goroutines stand still.
func settle(service *plume.Service) {
	for i := 0; i < 500; i++ {
		if st := service.Stats(); st.Running == 0 && st.Waiting == 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	http.DefaultClient.CloseIdleConnections()
	for n := 0; n != runtime.NumGoroutine(); time.Sleep(50 * time.Millisecond) {
		n = runtime.NumGoroutine()
	}
}

type usageNumbers struct {
	goroutines, files int
	heap              uint64 // bytes in use once the garbage is gone
}

func usageNow() usageNumbers {
	files, _ := os.ReadDir("/proc/self/fd") // none elsewhere
	runtime.GC()
	runtime.GC() // what the first one found unused in pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return usageNumbers{runtime.NumGoroutine(), len(files), m.HeapAlloc}
}
