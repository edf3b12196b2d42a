package checkpoint

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/plume-run/plume/internal/quant"
)

func TestReadSafetensors(t *testing.T) {
	c, err := openBytes(smallSafetensors())
	if err != nil {
		t.Fatal(err)
	}
	a, b, s := c.Lookup("a"), c.Lookup("b"), c.Lookup("c")
	if a.Type != quant.F32 || !slices.Equal(a.Shape, []int{2, 3}) || a.Bytes != 24 || a.Values() != 6 || a.TypeName != "F32" {
		t.Errorf("a: %+v", a)
	}
	if b.Type != quant.BF16 || s.Type != quant.I64 || len(s.Shape) != 0 || s.Values() != 1 {
		t.Errorf("b: %+v, c: %+v", b, s)
	}
	if got := tensorBytes(t, b); !bytes.Equal(got, []byte{24, 25, 26, 27, 28, 29, 30, 31}) {
		t.Errorf("b holds %v", got)
	}
	if c.Format() != "safetensors" || len(c.Meta().Keys()) != 0 {
		t.Errorf("format %s, keys %v", c.Format(), c.Meta().Keys())
	}
	if _, err := c.File("config.json"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("File of a reader: %v", err)
	}
}

// TestDTypes: equivalents are mapped, the rest is listed and refuses to be read.
func TestDTypes(t *testing.T) {
	c, err := openBytes(safetensorsOf(`{"bool":{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]},`+
		`"u8":{"dtype":"U8","shape":[2],"data_offsets":[2,4]},"f8":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[4,6]},`+
		`"new":{"extra":[{"x":[1]},null],"dtype":"F4_NEW","shape":[3],"data_offsets":[6,8]}}`, 8))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"bool", "u8"} {
		if x := c.Lookup(name); x.Type != quant.I8 || len(tensorBytes(t, x)) != 2 || x.TypeName != strings.ToUpper(name) {
			t.Errorf("%s: %+v", name, x)
		}
	}
	for _, name := range []string{"f8", "new"} {
		x := c.Lookup(name)
		if n, err := x.ReadAt(make([]byte, 1), 0); n != 0 || !errors.Is(err, ErrUnsupported) || x.Type != NoType || x.Bytes != 2 {
			t.Errorf("%s: %d %v %+v", name, n, err, x)
		}
	}
}

func TestHostileSafetensors(t *testing.T) {
	entry := func(fields string) []byte { return safetensorsOf(`{"w":{`+fields+`}}`, 8) }
	ok := `"dtype":"F32","shape":[2],"data_offsets":[0,8]`
	cases := []struct {
		name string
		file []byte
		want string
	}{
		{"seven bytes", []byte("\x00\x00\x00\x00\x00\x00\x00"), "too few for a header length"},
		{"header length 2^63", (&raw{}).u64(1 << 63).put("{}").b, "header of 9223372036854775808 bytes"},
		{"header past end", (&raw{}).u64(3).put("{}").b, "header of 3 bytes, but only 2 follow"},
		{"header empty", (&raw{}).u64(0).put("{}").b, "does not begin with {"},
		{"array", safetensorsOf(`[1]`, 0), "does not begin with {"},
		{"not UTF-8", safetensorsOf("{\"\xff\":{"+ok+"}}", 8), "not UTF-8"},
		{"cut off", safetensorsOf(`{"w":{"dtype":"F32"`, 0), "not JSON"},
		{"bad JSON", safetensorsOf(`{"w" {}}`, 0), "not JSON"},
		{"goes on", safetensorsOf(`{"w":{`+ok+`}} {}`, 8), "goes on"},
		{"name twice", safetensorsOf(`{"w":{`+ok+`},"w":{`+ok+`}}`, 8), `key "w" occurs twice`},
		{"name twice by escape", safetensorsOf(`{"w":{`+ok+`},"\u0077":{`+ok+`}}`, 8), `key "w" occurs twice`},
		{"name empty", safetensorsOf(`{"":{`+ok+`}}`, 8), "is empty"},
		{"name with control character", safetensorsOf(`{"\u001b[2J":{`+ok+`}}`, 8), "control character"},
		{"field twice", entry(ok + `,"shape":[2]`), `"shape" occurs twice`},
		{"field missing", entry(`"dtype":"F32","shape":[2]`), "is missing"},
		{"no dtype", entry(`"shape":[2],"data_offsets":[0,8]`), "is missing"},
		{"entry is a number", safetensorsOf(`{"w":8}`, 0), "found 8, want {"},
		{"dtype is a number", entry(`"dtype":8,"shape":[2],"data_offsets":[0,8]`), "dtype is"},
		{"negative dimension", entry(`"dtype":"F32","shape":[-2],"data_offsets":[0,8]`), `"-2"`},
		{"fractional dimension", entry(`"dtype":"F32","shape":[2.0],"data_offsets":[0,8]`), `"2.0"`},
		{"dimension as text", entry(`"dtype":"F32","shape":["2"],"data_offsets":[0,8]`), "want an integer"},
		{"dimension 2^63", entry(`"dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,8]`), "want an integer"},
		{"product overflow", entry(`"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]`), "2^63 values"},
		{"bytes overflow", entry(`"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]`), "want 4611686018427387904 values"},
		{"seventeen dimensions", entry(`"dtype":"F32","shape":[2` + strings.Repeat(",1", 16) + `],"data_offsets":[0,8]`), "more than 16"},
		{"size differs", entry(`"dtype":"F32","shape":[3],"data_offsets":[0,8]`), "8 bytes, want 3 values of F32"},
		{"offsets backwards", entry(`"dtype":"F32","shape":[2],"data_offsets":[8,0]`), "want [begin, end]"},
		{"one offset", entry(`"dtype":"F32","shape":[2],"data_offsets":[8]`), "want [begin, end]"},
		{"three offsets", entry(`"dtype":"F32","shape":[2],"data_offsets":[0,8,9]`), "more than 2"},
		{"past end", entry(`"dtype":"F32","shape":[3],"data_offsets":[0,12]`), "past the end"},
		{"far past end", entry(`"dtype":"I8","shape":[1],"data_offsets":[9223372036854775806,9223372036854775807]`), "past the end"},
		{"unknown dtype past end", entry(`"dtype":"X","shape":[1],"data_offsets":[0,9]`), "past the end"},
		{"gap", entry(`"dtype":"F32","shape":[1],"data_offsets":[4,8]`), "4 bytes before"},
		{"trailing data", entry(`"dtype":"F32","shape":[1],"data_offsets":[0,4]`), "4 bytes follow"},
		{"overlap", safetensorsOf(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, 8), "overlaps the tensor before it by 4"},
		{"metadata is a list", safetensorsOf(`{"__metadata__":[]}`, 0), "want {"},
		{"metadata holds a number", safetensorsOf(`{"__metadata__":{"a":1}}`, 0), "want a string"},
		{"deep", safetensorsOf(`{"w":{"x":`+strings.Repeat("[", 20000)+`}}`, 0), "not JSON"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var err error
			used := allocated(func() {
				_, err = OpenReader("test.safetensors", bytes.NewReader(c.file), int64(len(c.file)))
			})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want %q in it", err, c.want)
			}
			// "deep" may well take a hundred times its 20 kB.
			if !errors.Is(err, ErrCorrupt) || used > 2<<20 {
				t.Errorf("ErrCorrupt %v, %d bytes allocated", errors.Is(err, ErrCorrupt), used)
			}
		})
	}
}

// TestSparseHeader: a header length that a huge file would allow is bounded
// before memory is taken.
func TestSparseHeader(t *testing.T) {
	prefix := (&raw{}).u64(maxSafetensorsHeader + 1).put("{").b
	r := io.NewSectionReader(&patternReader{head: prefix}, 0, 1<<50)
	used := allocated(func() {
		if _, err := OpenReader("huge.safetensors", r, r.Size()); !errors.Is(err, ErrCorrupt) {
			t.Errorf("got %v", err)
		}
	})
	if used > 1<<20 {
		t.Errorf("%d bytes allocated", used)
	}
}
