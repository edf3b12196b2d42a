package plume

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plume-run/plume/demo"
	"github.com/plume-run/plume/internal/plan"
	"github.com/plume-run/plume/internal/ple"
)

// The table's place changes where rows come from and nothing else.
func TestPLEPlaces(t *testing.T) {
	file, _, err := demo.Path()
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer me" {
			http.Error(w, "who?", http.StatusUnauthorized)
			return
		}
		http.ServeFile(w, r, file)
	}))
	defer server.Close()
	var want []int32
	for _, place := range append(PLEPlaces(), server.URL) {
		o := Options{PLE: place}
		if place == server.URL {
			o.PLEHeader = map[string][]string{"Authorization": {"Bearer me"}}
		}
		m, err := Open(file, o)
		if errors.Is(err, errors.ErrUnsupported) {
			t.Logf("%s: %v", place, err)
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", place, err)
		}
		if m.PLEPlace() == "" {
			t.Errorf("%s: nothing is said about the place", place)
		}
		s := newSession(t, m, SessionOptions{Context: 64})
		a, err := Collect(s.Generate(t.Context(), greedyRequest(Request{Prompt: "Tell me a story about a fox.", MaxTokens: 20})))
		if err != nil {
			t.Fatalf("%s: %v", place, err)
		}
		if want == nil {
			want = a.Result.IDs
		}
		if !slices.Equal(a.Result.IDs, want) {
			t.Errorf("%s: %v, want %v", place, a.Result.IDs, want)
		}
		m.Close()
	}
}

func TestPLEPlaceErrors(t *testing.T) {
	file, _, err := demo.Path()
	if err != nil {
		t.Fatal(err)
	}
	plan, err := Plan(file, Options{})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	for name, c := range map[string]struct {
		o    Options
		want error
	}{
		"an unknown place":          {Options{PLE: "tape"}, ErrRequest},
		"headers without a URL":     {Options{PLE: "disk", PLEHeader: map[string][]string{"X": {"y"}}}, ErrRequest},
		"a table beyond the budget": {Options{PLE: "ram", RAM: plan.Minimum() + 1<<20}, ErrMemory},
	} {
		m, err := Open(file, c.o)
		if err == nil {
			m.Close()
		}
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if m, err := Open(file, Options{PLE: server.URL + "/model.gguf"}); err == nil {
		m.Close()
		t.Error("a server that does not have the file was accepted")
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for i := len(data) / 2; i < len(data); i++ { // the table is behind the middle
		data[i] ^= 0x55
	}
	for want, data := range map[string][]byte{"is no copy of": data, "bytes, want": append(data, 0)} {
		other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
		}))
		m, err := Open(file, Options{PLE: other.URL})
		if err == nil {
			m.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
		other.Close()
	}
}

// A copy that cannot be read is not called another model's.
func TestACopyThatCannotBeRead(t *testing.T) {
	file := demoPath(t)
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) > 1 { // the first finds out length and tag
			http.Error(w, "gone", http.StatusGone)
			return
		}
		http.ServeFile(w, r, file)
	}))
	defer server.Close()
	m, err := Open(file, Options{PLE: server.URL})
	if err == nil {
		m.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "compare "+server.URL) || strings.Contains(err.Error(), "no copy") {
		t.Errorf("error %v, want one of comparing", err)
	}
}

// Reads of the table go on as the plan has counted them, in a model as in BenchTable.
func TestPlanCountsReads(t *testing.T) {
	file := demoPath(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, file) }))
	defer server.Close()
	for _, place := range []string{"auto", "disk", "direct", "mmap", server.URL} {
		for _, workers := range []int{0, 3} {
			m, err := Open(file, Options{PLE: place, PLEWorkers: workers, Threads: 1})
			if errors.Is(err, errors.ErrUnsupported) {
				t.Logf("%s: %v", place, err)
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			other := place
			if place == "auto" {
				other = "disk"
			}
			b, err := m.NewBenchTable(t.Context(), 1, TablePlace{PLE: other, CacheBytes: m.opt.PLECacheBytes})
			if err != nil {
				t.Fatal(err)
			}
			own, bench := b.own.Options(), b.homes[0].Options()
			atOnce, _, _ := m.opt.rowReads(int64(b.RowBytes()))
			if place == other && own != bench {
				t.Errorf("%s: %+v, in BenchTable %+v", place, own, bench)
			}
			if place == "auto" && strings.Contains(m.plan.place, "read past the page cache") != (ple.FastKind() == ple.Direct) {
				t.Errorf("where %s suits fast storage the plan says %s", ple.FastKind(), m.plan.place)
			}
			if own.Workers > atOnce || place != "auto" && own.Workers < atOnce || own.MaxReadBytes != 64<<10 {
				t.Errorf("%s: %d reads of %d bytes, the plan has %d", place, own.Workers, own.MaxReadBytes, atOnce)
			}
			b.Close()
			m.Close()
		}
	}
}

// The plan of an open model knows whose memory the table is read into: Go's, but for a ring.
func TestOpenCorrectsReads(t *testing.T) {
	reads := func(p *MemoryPlan) plan.Item {
		return p.p.Items[slices.IndexFunc(p.p.Items, func(it plan.Item) bool { return it.Role == "ple reads" })]
	}
	for _, o := range []Options{{PLE: "direct"}, {PLE: "direct", PLEEmulate: "nvme"}, {PLE: "disk"}, {PLE: "direct", PLEEmulate: "nvme", PLEWorkers: 40}} {
		o.Threads, o.RAM, o.Context = 1, 1<<30, 64
		before, err := Plan(demoPath(t), o)
		if err != nil {
			t.Fatal(err)
		}
		m, err := Open(demoPath(t), o)
		if errors.Is(err, errors.ErrUnsupported) {
			t.Logf("%s: %v", o.PLE, err)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := m.NewBenchTable(t.Context(), 1, TablePlace{PLE: "disk"})
		if err != nil {
			t.Fatal(err)
		}
		ring := strings.HasSuffix(b.own.About(), "(ring)")
		if open := reads(m.Plan()); open.Heap == ring || open.Bytes != reads(before).Bytes || m.Plan().Total() != before.Total() {
			t.Errorf("%+v: by a ring %t, %+v, %d in all, planned %+v, %d", o, ring, open, m.Plan().Total(), reads(before), before.Total())
		}
		if ring && o.PLEEmulate != "" || o.PLEEmulate != "" && !reads(before).Heap {
			t.Errorf("%+v: emulated, by a ring %t, planned %+v", o, ring, reads(before))
		}
		b.Close()
		m.Close()
	}
}

// Under a limit, rows read through the page cache do not stay in it.
func TestLimitDropsRows(t *testing.T) {
	for _, c := range []struct {
		ram  int64
		drop bool
	}{{1 << 30, true}, {-1, false}} {
		m, err := Open(demoPath(t), Options{PLE: "disk", RAM: c.ram, Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		if drop := strings.Contains(m.PLEPlace(), "keeps nothing"); drop != c.drop {
			t.Errorf("--ram %d: %s", c.ram, m.PLEPlace())
		}
		m.Close()
	}
}
