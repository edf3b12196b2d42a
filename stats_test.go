package plume

import (
	"encoding/json"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/plume-run/plume/demo"
)

func TestStatusBytes(t *testing.T) {
	status := []byte("Name:\tplume\nVmHWM:\t  1234 kB\nVmRSS:\t 5 kB\n")
	if hwm, rss, none := statusBytes(status, "VmHWM:"), statusBytes(status, "VmRSS:"), statusBytes(status, "VmSwap:"); hwm != 1234<<10 || rss != 5<<10 || none != 0 {
		t.Errorf("sizes %d, %d and %d", hwm, rss, none)
	}
}

// openFromDisk opens the demo with its rows on disk, however busy that is.
func openFromDisk(t *testing.T) *Model {
	t.Helper()
	path, _, err := demo.Path()
	if err != nil {
		t.Fatal(err)
	}
	m, err := Open(path, Options{PLE: "disk"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// TestStats follows the accounts of a model through a session's life.
func TestStats(t *testing.T) {
	m := openFromDisk(t)
	idle := m.Stats()
	s := newSession(t, m, SessionOptions{Context: 64})
	if grown := m.Stats().Memory.Used - idle.Memory.Used; grown != s.CacheBytes() {
		t.Errorf("a session takes %d bytes, its cache has %d", grown, s.CacheBytes())
	}
	a, err := Collect(s.Generate(t.Context(), greedyRequest(Request{Prompt: "Hi", MaxTokens: 4})))
	if err != nil {
		t.Fatal(err)
	}
	live := m.Stats()
	if p := live.PLE; p.Rows != idle.PLE.Rows+a.Result.PLE.Rows || p.Reads == 0 || p.WaitP99 < p.WaitP50 || p.Overlap < 0 || p.Overlap > 1 {
		t.Errorf("the table: %+v, the answer's part: %+v", p, a.Result.PLE)
	}
	var sum int64
	for _, r := range live.Memory.Roles {
		sum += r.Bytes
	}
	if mem := live.Memory; sum != mem.Used || mem.Budget > 0 && mem.Left != mem.Budget-mem.Used {
		t.Errorf("the roles sum to %d: %+v", sum, mem)
	}
	s.Close()
	if got := m.Stats().Memory.Used; got != idle.Memory.Used {
		t.Errorf("after Close %d bytes, before the session %d", got, idle.Memory.Used)
	}
	text, err := json.Marshal(live)
	if err != nil || !strings.Contains(string(text), `"wait_p99_seconds"`) || !strings.Contains(string(text), `"kv of sessions"`) {
		t.Errorf("as JSON: %s, %v", text, err)
	}
}

func TestPLEStatsSince(t *testing.T) {
	m := openFromDisk(t)
	s := newSession(t, m, SessionOptions{Context: 64})
	var sum PLEStats
	for _, prompt := range []string{"Hi", "A fox"} {
		a, err := Collect(s.Generate(t.Context(), greedyRequest(Request{Prompt: prompt, MaxTokens: 3})))
		if err != nil {
			t.Fatal(err)
		}
		sum.Rows += a.Result.PLE.Rows
		sum.Reads += a.Result.PLE.Reads
		sum.Wait += a.Result.PLE.Wait
	}
	if all := m.PLEStats(); all.Rows != sum.Rows || all.Reads != sum.Reads || all.Wait != sum.Wait {
		t.Errorf("since Open %+v, the answers together %+v", all, sum)
	}
}

// TestLimitGoFollowsSessions: what is open beyond the plan raises the collector's limit.
func TestLimitGoFollowsSessions(t *testing.T) {
	path, _, err := demo.Path()
	if err != nil {
		t.Fatal(err)
	}
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(-1))
	m, err := Open(path, Options{LimitGo: true, RAM: 1 << 30, Context: 64})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	planned := m.Plan().GoHeap()
	first := newSession(t, m, SessionOptions{})
	if got := debug.SetMemoryLimit(-1); got != planned {
		t.Errorf("with the planned session the limit is %d, want %d", got, planned)
	}
	second := newSession(t, m, SessionOptions{})
	if got := debug.SetMemoryLimit(-1); got != planned+second.CacheBytes() {
		t.Errorf("with two the limit is %d, want %d", got, planned+second.CacheBytes())
	}
	first.Close()
	if got := debug.SetMemoryLimit(-1); got != planned {
		t.Errorf("after Close the limit is %d, want %d", got, planned)
	}
}
