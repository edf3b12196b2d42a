package plume

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/plume-run/plume/demo"
)

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{
		"1500MiB": 1500 << 20, "2GiB": 2 << 30, "1.5G": 3 << 29, "800000000": 8e8, "1 k": 1024,
		"64kb": 64000, "2gb": 2e9, " 1T ": 1 << 40, "7B": 7, "0.5MiB": 1 << 19,
	} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "MiB", "-1G", "1.2.3G", "1X", "1e9", "0", "0.1", "99999999999G", "1GiBs", "G1"} {
		if n, err := ParseSize(text); !errors.Is(err, ErrRequest) {
			t.Errorf("ParseSize(%q) = %d, %v, want ErrRequest", text, n, err)
		}
	}
}

// system writes what the kernel would tell.
func system(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestFindBudget(t *testing.T) {
	const meminfo = "MemTotal:  4194304 kB\nMemAvailable:  2097152 kB\n"
	v2 := map[string]string{
		"proc/meminfo": meminfo, "proc/self/cgroup": "0::/a/b\n",
		"sys/fs/cgroup/a/memory.max": "1073741824\n", "sys/fs/cgroup/a/b/memory.max": "max\n",
	}
	v1 := map[string]string{
		"proc/meminfo": meminfo, "proc/self/cgroup": "5:cpu:/c\n4:memory:/c\n0::/\n",
		"sys/fs/cgroup/memory/memory.limit_in_bytes":   "9223372036854771712\n",
		"sys/fs/cgroup/memory/c/memory.limit_in_bytes": "536870912\n",
	}
	nested := map[string]string{ // the innermost is not the smallest
		"proc/meminfo": meminfo, "proc/self/cgroup": "0::/a/b/c\n",
		"sys/fs/cgroup/a/memory.max": "max\n", "sys/fs/cgroup/a/b/memory.max": "536870912\n", "sys/fs/cgroup/a/b/c/memory.max": "1073741824\n",
	}
	high := map[string]string{
		"proc/meminfo": meminfo, "proc/self/cgroup": "0::/a\n",
		"sys/fs/cgroup/a/memory.max": "1073741824\n", "sys/fs/cgroup/a/memory.high": "536870912\n",
	}
	free := map[string]string{
		"proc/meminfo": meminfo, "proc/self/cgroup": "0::/a\n",
		"sys/fs/cgroup/a/memory.max": "max\n", "sys/fs/cgroup/a/memory.high": "max\n",
	}
	beyond := map[string]string{ // a limit above what is free
		"proc/meminfo": meminfo, "proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "4294967296\n",
	}
	inside := map[string]string{ // a container that sees its own group as the root
		"proc/meminfo": meminfo, "proc/self/cgroup": "0::/docker/123\n", "sys/fs/cgroup/memory.max": "268435456\n",
	}
	for _, c := range []struct {
		name    string
		ram     int64
		env     string
		files   map[string]string
		bytes   int64
		limited bool
	}{
		{"asked for", 7 << 20, "1G", v2, 7 << 20, true},
		{"unlimited", -1, "1G", v2, 0, false},
		{"environment", 0, "1.5G", v2, 3 << 29, true},
		{"version 2, limit above", 0, "", v2, 1<<30 - 1<<24, true},
		{"version 2, nested", 0, "", nested, 1<<29 - 1<<23, true},
		{"version 2, high", 0, "", high, 1<<29 - 1<<23, true},
		{"version 2, max", 0, "", free, 2<<30 - 2<<26, false},
		{"version 2, more than is free", 0, "", beyond, 2<<30 - 2<<26, false},
		{"version 1", 0, "", v1, 1<<29 - 1<<23, true},
		{"container", 0, "", inside, 1<<28 - 1<<22, true},
		{"machine", 0, "", map[string]string{"proc/meminfo": meminfo}, 2<<30 - 2<<26, false},
		{"nobody tells", 0, "", nil, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := findBudget(c.ram, c.env, system(t, c.files))
			if err != nil || b.bytes != c.bytes || b.limited != c.limited {
				t.Errorf("budget %+v, %v, want %d, limited %t", b, err, c.bytes, c.limited)
			}
		})
	}
	if _, err := findBudget(0, "much", "/"); !errors.Is(err, ErrRequest) || !strings.Contains(err.Error(), RAMVariable) {
		t.Errorf("a senseless %s gives %v", RAMVariable, err)
	}
}

// TestBudgetBoundsSessions opens as many sessions as fit, and gets room back from Close.
func TestBudgetBoundsSessions(t *testing.T) {
	path, _, err := demo.Path()
	if err != nil {
		t.Fatal(err)
	}
	free, err := Plan(path, Options{RAM: -1, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, Options{RAM: free.Minimum() - 1<<20, Threads: 1}); !errors.Is(err, ErrMemory) {
		t.Fatalf("a budget below the minimum gives %v, want ErrMemory", err)
	}
	m, err := Open(path, Options{RAM: free.Total(), Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if got := m.Plan().Total(); got != free.Total() {
		t.Errorf("the plan takes %d bytes, want %d", got, free.Total())
	}
	s, err := m.NewSession(SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.NewSession(SessionOptions{}); !errors.Is(err, ErrMemory) {
		t.Fatalf("a second session gives %v, want ErrMemory", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := m.NewSession(SessionOptions{Context: m.Options().Context})
	if err != nil {
		t.Fatalf("after Close: %v", err)
	}
	again.Close()
	if _, err := m.NewSession(SessionOptions{Chunk: 4096}); !errors.Is(err, ErrMemory) {
		t.Errorf("a session with large steps gives %v, want ErrMemory", err)
	}
}
