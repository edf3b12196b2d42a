package plume_test

import (
	"go/ast"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
)

// minPackageDoc is enough for one sentence that says something.
const minPackageDoc = 60

// TestPackageDoc wants one comment on every package that says what it is for.
func TestPackageDoc(t *testing.T) {
	docs := map[string][]string{} // directory → package comments
	names := map[string]string{}
	walkGo(t, func(file, dir string, f *ast.File) {
		if strings.HasSuffix(file, "_test.go") {
			return
		}
		names[dir] = f.Name.Name
		if f.Doc != nil {
			docs[dir] = append(docs[dir], f.Doc.Text())
		}
	})
	for _, dir := range slices.Sorted(maps.Keys(names)) {
		start := "Package " + names[dir] + " "
		if names[dir] == "main" {
			start = "Command " + path.Base(dir) + " "
		}
		switch d := docs[dir]; {
		case len(d) == 0:
			t.Errorf("%s: no package comment", dir)
		case len(d) > 1:
			t.Errorf("%s: %d package comments, want one", dir, len(d))
		case !strings.HasPrefix(d[0], start):
			t.Errorf("%s: package comment begins %.30q, want %q", dir, d[0], start)
		case len(d[0]) < minPackageDoc:
			t.Errorf("%s: package comment has %d characters, want %d at least", dir, len(d[0]), minPackageDoc)
		}
	}
}
