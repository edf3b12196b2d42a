package server

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plume-run/plume"
)

var (
	loadTime    = flag.Duration("load", 500*time.Millisecond, "how long TestLoad runs")
	loadClients = flag.Int("load-clients", 64, "clients of TestLoad")
)

// modelEngine is the demo model behind the interface.
type modelEngine struct {
	*plume.Service
	m *plume.Model
}

func (e modelEngine) CountTokens(r plume.Request) (int, error) { return e.m.CountTokens(r) }

// TestLoad lets many clients stream from the demo model, and leave, and send
// nonsense, and too much. Every well-formed request that was admitted and not
// left must end properly, and nothing may be left behind. For long:
//
//	go test ./internal/server -run TestLoad -load 5m -v -timeout 10m
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
	l := &load{t: t, url: h.URL}
	l.round(context.Background(), rand.New(rand.NewPCG(0, 0))) // what is made once is made now
	settle(h.Client(), service)
	before := usageNow()
	l.run(*loadTime, *loadClients)
	settle(h.Client(), service)
	after := usageNow()
	t.Logf("%d clients, %v: %d whole, %d left, %d refused with 429, %d nonsense, %d too large, %d connections cut by us",
		*loadClients, *loadTime, l.whole, l.left, l.busy, l.nonsense, l.large, l.cut)
	t.Logf("time to first token p50 %v p99 %v, whole answer p50 %v p99 %v", at(l.first, 50), at(l.first, 99), at(l.total, 50), at(l.total, 99))
	t.Logf("goroutines %d → %d, open files %d → %d, heap %d → %d KiB", before.goroutines, after.goroutines, before.files, after.files, before.heap>>10, after.heap>>10)
	if l.whole == 0 || l.nonsense == 0 || l.large == 0 {
		t.Error("a kind of request never happened")
	}
	if after.goroutines > before.goroutines+5 || after.files > before.files+5 {
		t.Errorf("left behind: goroutines %d → %d, files %d → %d", before.goroutines, after.goroutines, before.files, after.files)
	}
	if n := s.bodies.Load(); n != 0 {
		t.Errorf("%d bytes of bodies are still counted", n)
	}
}

// settle waits until no answer runs and no idle connection is kept.
func settle(c *http.Client, service *plume.Service) {
	for i := 0; i < 500; i++ {
		if st := service.Stats(); st.Running == 0 && st.Waiting == 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	c.CloseIdleConnections()
	http.DefaultClient.CloseIdleConnections()
	for n := 0; n != runtime.NumGoroutine(); time.Sleep(50 * time.Millisecond) {
		n = runtime.NumGoroutine() // until it stands still
	}
}

type usageNumbers struct {
	goroutines, files int
	heap              uint64
}

func usageNow() usageNumbers {
	runtime.GC()
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	files, _ := os.ReadDir("/proc/self/fd") // none elsewhere
	return usageNumbers{runtime.NumGoroutine(), len(files), mem.HeapAlloc}
}

func at(d []time.Duration, percent int) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[min(len(d)-1, len(d)*percent/100)].Round(time.Millisecond)
}

// load is what the clients do and see.
type load struct {
	t   *testing.T
	url string

	mu                                      sync.Mutex
	whole, left, busy, nonsense, large, cut int
	first, total                            []time.Duration
}

func (l *load) run(d time.Duration, clients int) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 1))
			for ctx.Err() == nil {
				switch k := r.IntN(20); {
				case k == 0:
					l.expect(400, &l.nonsense, strings.NewReader(`{"messages":[{"role":"user"`+strings.Repeat("x", r.IntN(99))))
				case k == 1:
					l.expect(413, &l.large, io.MultiReader(strings.NewReader(`{"x":"`), strings.NewReader(strings.Repeat("y", 100<<10))))
				case k == 2:
					l.hangUp(r)
				default:
					l.round(ctx, r)
				}
			}
		})
	}
	wg.Wait()
}

// expect sends what must be refused.
func (l *load) expect(status int, count *int, body io.Reader) {
	resp, err := http.Post(l.url+"/v1/chat/completions", "application/json", body)
	if err != nil {
		return // the server hangs up on large bodies, sometimes before we have read why
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	l.mu.Lock()
	defer l.mu.Unlock()
	*count++
	if resp.StatusCode != status {
		l.t.Errorf("status %d, want %d", resp.StatusCode, status)
	}
}

// hangUp sends part of a request and goes.
func (l *load) hangUp(r *rand.Rand) {
	c, err := net.Dial("tcp", strings.TrimPrefix(l.url, "http://"))
	if err != nil {
		return
	}
	whole := "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\n{\"messages\""
	io.WriteString(c, whole[:r.IntN(len(whole))])
	c.Close()
	l.mu.Lock()
	l.cut++
	l.mu.Unlock()
}

// round streams one answer, and leaves in the middle now and then.
func (l *load) round(parent context.Context, r *rand.Rand) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(parent), time.Minute)
	defer cancel()
	leaveAfter := -1
	if r.IntN(4) == 0 {
		leaveAfter = r.IntN(12)
	}
	begun := time.Now()
	body := fmt.Sprintf(`{"stream":true,"max_tokens":%d,"seed":%d,"messages":[{"role":"user","content":"Tell me story %d."}]}`, 4+r.IntN(28), 1+r.IntN(1000), r.IntN(50))
	q, _ := http.NewRequestWithContext(ctx, "POST", l.url+"/v1/chat/completions", strings.NewReader(body))
	resp, err := http.DefaultClient.Do(q)
	if err != nil {
		l.t.Errorf("ask: %v", err)
		return
	}
	defer resp.Body.Close()
	first, n, done := time.Duration(0), 0, false
	if resp.StatusCode == http.StatusOK {
		lines := bufio.NewScanner(resp.Body)
		for lines.Scan() && n != leaveAfter {
			switch line := lines.Text(); {
			case line == "data: [DONE]":
				done = true
			case strings.HasPrefix(line, "data: "):
				if n++; first == 0 {
					first = time.Since(begun)
				}
			}
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case resp.StatusCode == http.StatusTooManyRequests:
		l.busy++
	case done:
		l.whole++
		l.first, l.total = append(l.first, first), append(l.total, time.Since(begun))
	case n == leaveAfter:
		l.left++
	default:
		l.t.Errorf("status %d, %d events and no end", resp.StatusCode, n)
	}
}
