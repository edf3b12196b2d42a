package hub

import (
	"errors"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseName(t *testing.T) {
	good := []struct{ name, kept, repo, rev, tag string }{
		{"google/gemma-4-E2B-it", "google/gemma-4-E2B-it", "google/gemma-4-E2B-it", "", ""},
		{"google/gemma-4-E2B-it@refs/pr/1", "google/gemma-4-E2B-it@refs/pr/1", "google/gemma-4-E2B-it", "refs/pr/1", ""},
		{"unsloth/gemma-4-E2B-it-GGUF:Q4_0", "unsloth/gemma-4-E2B-it-GGUF:Q4_0", "unsloth/gemma-4-E2B-it-GGUF", "", "Q4_0"},
		{"a/b@v1:UD-Q4_K_XL", "a/b@v1:UD-Q4_K_XL", "a/b", "v1", "UD-Q4_K_XL"},
		{"ollama:gemma4", "ollama:gemma4:latest", "library/gemma4", "", "latest"},
		{"ollama:gemma4:e2b", "ollama:gemma4:e2b", "library/gemma4", "", "e2b"},
		{"ollama:me/x:y", "ollama:me/x:y", "me/x", "", "y"},
		{"ollama:library/x", "ollama:x:latest", "library/x", "", "latest"},
		{"a_b/x__1.5-it@release/v1.5:file-Q4_0.gguf", "a_b/x__1.5-it@release/v1.5:file-Q4_0.gguf", "a_b/x__1.5-it", "release/v1.5", "file-Q4_0.gguf"},
		{"https://h.example:8443/a%20b/%C3%A4/c+d.gguf", "https://h.example:8443/a%20b/%C3%A4/c+d.gguf", "", "", ""},
		{"https://h.example/a b.gguf", "https://h.example/a%20b.gguf", "", "", ""},
		{"https://h.example/a/b.gguf?sig=1", "https://h.example/a/b.gguf", "", "", ""},
		{"http://127.0.0.1:9/b.safetensors", "http://127.0.0.1:9/b.safetensors", "", "", ""},
	}
	for _, c := range good {
		r, err := parseName(c.name)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if r.name != c.kept || r.repo != c.repo || r.rev != c.rev || r.tag != c.tag {
			t.Errorf("%s: %+v", c.name, r)
		}
	}
	for _, name := range []string{
		"", "demo", "a", "a/b/c", "../b", "a/..", "a/b@../../x", "a/b@x//y", "a/b@x/", "a/b:c/d", "a/b:", "/etc/passwd", "a\\b/c", "a/b c", "-a/b", ".a/b", "a./b", "a/b.", "a--b/c", "a.-b/c", "a/b@v.", "a/b:c-",
		"ollama:0..", "ollama:a.", "https://h.example:123456/a.gguf", "https://h%41/a.gguf", "https://[::1%25eth0]/a.gguf", strings.Repeat("a", 2000) + "/b",
		"ollama:", "ollama:a/b/c", "ollama:../x", "ollama:host.example/a/b:c", "ollama:x:", "ollama:x:y:z",
		"http://h.example/a.gguf", "https://h.example/a", "https://h.example/", "https:///a.gguf", "https://u:p@h.example/a.gguf",
		"https://h.example/a.gguf#x", "https://h.example/%2e%2e%2fa.gguf%00.gguf", "https://h.example/..%5ca.gguf", "ftp://h.example/a.gguf", "file:///a.gguf",
	} {
		if r, err := parseName(name); !errors.Is(err, ErrName) {
			t.Errorf("%q: %+v, %v; want ErrName", name, r, err)
		}
	}
}

func TestPlainName(t *testing.T) {
	for _, name := range []string{"model-00001-of-00002.safetensors", "gemma 4 (q4).gguf", "a.jinja", "console.gguf"} {
		if err := plainName(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{
		"", ".", "..", ".hidden", "a/b", `a\b`, "a:b", "C:", "a\x00b", "a\n", "con", "CON.gguf", "nul.json", "Com1.gguf", "lpt9", "a.", "a ",
		"a.journal", "A.JOURNAL", strings.Repeat("a", 201), "ä.gguf", "a*b", "a?b", "a|b", "<a>", "-rf",
	} {
		if plainName(name) == nil {
			t.Errorf("%q was accepted", name)
		}
	}
}

func TestSlug(t *testing.T) {
	a, b := slug("A/b"), slug("a/b")
	if strings.EqualFold(a, b) {
		t.Errorf("%s and %s are one folder where case is ignored", a, b)
	}
	if a == slug("A-b") || !strings.HasPrefix(a, "A-b-") {
		t.Errorf("slug %s", a)
	}
	if dir := slug("con.x/y"); plainName(dir) != nil || !strings.HasPrefix(dir, "con-x-y-") {
		t.Errorf("con.x/y is kept in %s", dir)
	}
}

func FuzzName(f *testing.F) {
	for _, s := range []string{"google/gemma-4-E2B-it", "a/b@v1:Q4_0", "ollama:me/x:y", "https://h/a.gguf?x#sha256=0", "http://[::1]/a.gguf", "../..", "con/nul:aux", "Con./0", "ollama:nul.x/y", "ollama:0.."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		r, err := parseName(name)
		if err != nil {
			return
		}
		if dir := slug(r.name); plainName(dir) != nil || filepath.Base(dir) != dir || len(dir) > 100 {
			t.Errorf("%q is kept in %q", name, dir)
		}
		again, err := parseName(r.name)
		if err != nil || again.name != r.name {
			t.Errorf("%q is kept as %q, which is %v, %v", name, r.name, again, err)
		}
		for _, part := range strings.FieldsFunc(r.repo+"/"+r.rev+"/"+r.tag, func(c rune) bool { return c == '/' }) {
			if url.PathEscape(part) != part || strings.Contains(part, "..") || strings.Trim(part, ".-") != part {
				t.Errorf("%q becomes part of an address as %+v", name, r)
			}
		}
	})
}
