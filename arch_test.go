package plume_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// allowed is the whole architecture: each package and what it may import from
// this module. The order is the reading order; a package may only name packages
// listed above it ("." is the root package). Test files are free, so that a test
// can put together what it needs; only they may import internal/testkit.
var allowed = []struct{ pkg, deps string }{
	{"internal/quant", ""},
	{"internal/tokenizer", ""},
	{"internal/sample", ""},
	{"internal/ple", ""},
	{"internal/filelock", ""},
	{"internal/hub", "internal/filelock"},
	{"demo", ""},
	{"internal/chat", "internal/tokenizer"},
	{"internal/grammar", "internal/tokenizer"},
	{"internal/kernel", "internal/quant"},
	{"internal/checkpoint", "internal/quant"},
	{"internal/backend", "internal/quant"},
	{"internal/backend/ref", "internal/backend internal/quant"},
	{"internal/backend/cpu", "internal/backend internal/kernel internal/quant"},
	{"internal/gemma", "internal/backend internal/checkpoint internal/ple internal/quant"},
	{"internal/plan", "internal/backend internal/checkpoint internal/gemma internal/quant"},
	{"internal/sysinfo", ""},
	{"internal/plan/flash", ""},
	{"internal/plan/fleet", ""},
	{"internal/plan/forecast", "internal/backend internal/gemma internal/ple internal/plan/flash internal/quant"},
	{"internal/plan/measure", "internal/backend internal/quant internal/plan/flash internal/plan/forecast"},
	{"internal/convert", "internal/gemma internal/checkpoint internal/quant internal/tokenizer"},
	{"internal/engine", "internal/gemma internal/sample internal/tokenizer internal/grammar internal/filelock"},
	{".", "internal/engine internal/plan internal/gemma internal/checkpoint internal/tokenizer internal/chat internal/sample " +
		"internal/quant internal/ple internal/backend internal/backend/ref internal/backend/cpu internal/hub internal/grammar demo " +
		"internal/convert internal/plan/flash internal/plan/fleet internal/plan/forecast internal/plan/measure internal/sysinfo"},
	{"internal/server", "."},
	{"examples/library", "."},
	{"examples/http-go", ""},
	{"internal/plot", ""},
	{"internal/load", ""},
	{"cmd/plume", ". internal/load internal/plot internal/server internal/convert internal/checkpoint internal/gemma internal/quant demo"},
	{testkit, "internal/checkpoint internal/gemma internal/quant"},
}

const (
	module  = "github.com/plume-run/plume"
	testkit = "internal/testkit"
)

func TestImportDirection(t *testing.T) {
	rule := importRules(t)
	walkGo(t, func(path, dir string, f *ast.File) {
		if rule[dir] == nil {
			t.Errorf("%s: package %q is not in the table of arch_test.go", path, dir)
			return
		}
		if strings.HasSuffix(path, "_test.go") {
			return
		}
		for _, spec := range f.Imports {
			if to, ours := moduleDir(strings.Trim(spec.Path.Value, `"`)); ours && !rule[dir][to] {
				t.Errorf("%s: %q must not import %q", path, dir, to)
			}
		}
	})
}

// importRules turns the table into package → import → allowed, and checks that
// the table itself points one way.
func importRules(t *testing.T) map[string]map[string]bool {
	t.Helper()
	rule := map[string]map[string]bool{}
	for _, a := range allowed {
		if rule[a.pkg] != nil {
			t.Fatalf("allowed: %q is listed twice", a.pkg)
		}
		deps := map[string]bool{}
		for _, d := range strings.Fields(a.deps) {
			if rule[d] == nil {
				t.Fatalf("allowed: %q names %q, which is not listed above it", a.pkg, d)
			}
			if d == testkit {
				t.Fatalf("allowed: %q names %q, which is for tests only", a.pkg, d)
			}
			deps[d] = true
		}
		rule[a.pkg] = deps
	}
	return rule
}

// moduleDir returns the directory of an import path of this module.
func moduleDir(importPath string) (dir string, ours bool) {
	if importPath == module {
		return ".", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

// walkGo parses every Go file of the module, test files included.
//
// It reads the files itself: `go test` caches a result together with the files
// the test opened, but knows nothing of those a child `go list` opened, so a
// test built on that would go on passing from the cache.
func walkGo(t *testing.T, visit func(path, dir string, f *ast.File)) {
	t.Helper()
	n := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); path != "." && (name[0] == '.' || name[0] == '_' || name == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		n++
		visit(filepath.ToSlash(path), filepath.ToSlash(filepath.Dir(path)), f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n < 3 {
		t.Fatalf("found %d Go files: not in the module's root", n)
	}
}
