package hub

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestChooseGGUF: choices by label, by file and by end; split sets together;
// mistakes list what there is.
func TestChooseGGUF(t *testing.T) {
	paths := []string{
		"BF16/g-BF16-00001-of-00002.gguf", "BF16/g-BF16-00002-of-00002.gguf",
		"g-IQ4_NL.gguf", "g-Q4_0.gguf", "g-Q4_K_M.gguf", "g-UD-Q4_K_XL.gguf", "g-UD-Q4_0.gguf",
		"mmproj-F16.gguf", "g.imatrix.gguf", "README.md",
		"torn-Q8_0-00001-of-00003.gguf", "torn-Q8_0-00003-of-00003.gguf", "special.gguf",
		"Q2_K/model.gguf", "Q3_K_S/model.gguf",
	}
	models := ggufModels(paths, func(string) int64 { return 1 << 30 })
	cases := []struct {
		tag  string
		want []string
		says string
	}{
		{"Q4_0", []string{"g-Q4_0.gguf"}, ""},
		{"q4_k_m", []string{"g-Q4_K_M.gguf"}, ""},
		{"UD-Q4_K_XL", []string{"g-UD-Q4_K_XL.gguf"}, ""},
		{"Q4_K_XL", []string{"g-UD-Q4_K_XL.gguf"}, ""},
		{"bf16", paths[:2], ""},
		{"q3_k_s", []string{"Q3_K_S/model.gguf"}, ""},
		{"model", nil, "me/g holds 2 models, choose one:\n  me/g:Q2_K (1.0 GiB)\n  me/g:Q3_K_S"},
		{"special", []string{"special.gguf"}, ""},
		{"g-UD-Q4_0.gguf", []string{"g-UD-Q4_0.gguf"}, ""},
		{"Q5_K_M", nil, "has no Q5_K_M, but:\n  me/g:BF16 (2.0 GiB)\n  me/g:IQ4_NL (1.0 GiB)\n"},
		{"", nil, "me/g holds 10 models, choose one"},
		{"Q8_0", nil, "2 of the 3 parts of torn-Q8_0"},
		{"F16", nil, "has no F16"},
	}
	for _, c := range cases {
		r := &ref{name: "me/g", repo: "me/g", tag: c.tag}
		if c.tag != "" {
			r.name += ":" + c.tag
		}
		m, err := chooseGGUF(r, models)
		switch {
		case c.says == "" && (err != nil || !slices.Equal(m.paths, c.want)):
			t.Errorf("%q: %v, %v, want %v", c.tag, m, err, c.want)
		case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)):
			t.Errorf("%q: error %q, want %q in it", c.tag, err, c.says)
		}
	}
}

// TestRepositories: what repositories may hold, and what is fetched of it.
func TestRepositories(t *testing.T) {
	w := newWorld(t)
	index := `{"weight_map":{"a":"%"}}`
	cases := []struct {
		name  string
		files map[string]string
		want  string // names, or the error
	}{
		{"gguf-one", map[string]string{"x.gguf": "1", "README.md": "2"}, "x.gguf"},
		{"gguf-split", map[string]string{"d/x-Q8_0-00001-of-00002.gguf": "1", "d/x-Q8_0-00002-of-00002.gguf": "2"}, "x-Q8_0-00001-of-00002.gguf x-Q8_0-00002-of-00002.gguf"},
		{"both", map[string]string{"x.gguf": "1", "config.json": "2", "model.safetensors": "3"}, "config.json model.safetensors"},
		{"both:x", map[string]string{"x.gguf": "1", "config.json": "2", "model.safetensors": "3"}, "x.gguf"},
		{"no-config", map[string]string{"model.safetensors": "3"}, "neither safetensors"},
		{"pickles", map[string]string{"config.json": "2", "pytorch_model.bin": "3"}, "neither safetensors"},
		{"empty", map[string]string{}, "neither safetensors"},
		{"folder:Q4_0", map[string]string{"config.json": "2", "model.safetensors": "3"}, "no GGUF files to choose Q4_0 from"},
		{"bad-index", map[string]string{"config.json": "2", shardIndex: "[]"}, "not JSON as expected"},
		{"empty-index", map[string]string{"config.json": "2", shardIndex: "{}"}, "names 0 files"},
		{"absent-shard", map[string]string{"config.json": "2", shardIndex: strings.Replace(index, "%", "y.safetensors", 1)}, "does not have"},
		{"up", map[string]string{"config.json": "2", shardIndex: strings.Replace(index, "%", "../y.safetensors", 1), "../y.safetensors": "3"}, "is no path"},
		{"absolute", map[string]string{"config.json": "2", shardIndex: strings.Replace(index, "%", "/etc/passwd", 1), "/etc/passwd": "3"}, "is no path"},
		{"backslash", map[string]string{`..\x.gguf`: "1"}, "no plain file name"},
		{"device", map[string]string{"NUL.gguf": "1"}, "no plain file name"},
		{"same", map[string]string{"config.json": "2", shardIndex: `{"weight_map":{"a":"a/y.safetensors","b":"b/Y.safetensors"}}`, "a/y.safetensors": "3", "b/Y.safetensors": "4"}, "two files are called"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			repo, _, _ := strings.Cut("me/"+c.name, ":")
			w.put(repo, "x", nil)
			clear(w.repos[repo])
			for path, text := range c.files {
				w.put(repo, path, []byte(text))
			}
			found, err := resolved(t, w, "me/"+c.name)
			got := ""
			if err != nil {
				got = err.Error()
			} else {
				for _, f := range found.files {
					got += " " + f.name
				}
				got = got[1:]
			}
			if err == nil && got != c.want || !strings.Contains(got, c.want) {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

func resolved(t *testing.T, w *world, name string) (*remote, error) {
	t.Helper()
	h := w.open()
	r, err := parseName(name)
	if err != nil {
		t.Fatal(err)
	}
	c, err := h.client(h.base(r), func(string, error, time.Duration) {})
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	return h.resolve(t.Context(), c, r)
}

// TestAddresses: revisions with slashes are one segment of the address, and
// files are fetched from the commit that the branch stood for.
func TestAddresses(t *testing.T) {
	w := newWorld(t)
	w.put("me/r", "sub dir/x.gguf", []byte("1"))
	var raw string
	w.fault(func(res http.ResponseWriter, r *http.Request) bool { raw = r.URL.EscapedPath(); return false }, nil)
	found, err := resolved(t, w, "me/r@refs/pr/1")
	if err != nil || raw != "/api/models/me/r/revision/refs%2Fpr%2F1" {
		t.Fatalf("asked %s, %v", raw, err)
	}
	if want := w.hub.URL + "/me/r/resolve/" + w.commit + "/sub%20dir/x.gguf"; found.files[0].url != want {
		t.Errorf("address %s, want %s", found.files[0].url, want)
	}
}

// TestWithoutSizes: a mirror that leaves sizes out is asked for each file.
func TestWithoutSizes(t *testing.T) {
	w := newWorld(t)
	name, data := w.gguf()
	w.fault(func(res http.ResponseWriter, r *http.Request) bool {
		ok := strings.HasPrefix(r.URL.Path, "/api/")
		if ok {
			io.WriteString(res, `{"siblings":[{"rfilename":"tiny-Q4_0.gguf"}]}`)
		}
		return ok
	}, nil)
	m := pull(t, w.open(), name, data)
	if m.Revision != "main" || m.Files[0].Verified != "" {
		t.Errorf("model %+v", m)
	}
}

// TestOllama: manifests that are not a GGUF model.
func TestOllama(t *testing.T) {
	w := newWorld(t)
	layer := func(typ, digest string) string {
		return `{"mediaType":"` + typ + `","digest":"` + digest + `","size":5}`
	}
	sum := "sha256:" + strings.Repeat("ab", 32)
	for text, want := range map[string]string{
		`{"layers":[]}`: "has 0 layers with a GGUF model",
		`{"layers":[` + layer(weightsType, sum) + `,` + layer(weightsType, sum) + `]}`: "has 2 layers",
		`{"layers":[` + layer("application/vnd.ollama.image.tensor", sum) + `]}`:       "has 0 layers",
		`{"layers":[` + layer(weightsType, "md5:00") + `]}`:                            "is not sha256",
		`{"layers":[` + layer(weightsType, "sha256:../../etc") + `]}`:                  "is not sha256",
		`{"layers":[` + layer(weightsType, sum) + `,{"mediaType":"x","digest":"y"}]}`:  "",
		`{"layers":[` + layer(weightsType, sum) + `],"layers":` + `"x"}`:               "not JSON as expected",
		`<!doctype html>`: "a web page",
	} {
		w.fault(func(res http.ResponseWriter, r *http.Request) bool { io.WriteString(res, text); return true }, nil)
		found, err := resolved(t, w, "ollama:gemma4:e2b")
		if want == "" {
			if err != nil || found.files[0].url != w.hub.URL+"/v2/library/gemma4/blobs/"+sum || found.files[0].bytes != 5 {
				t.Errorf("%+v, %v", found, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q in it", text, err, want)
		}
	}
	w.fault(nil, nil)
	if _, err := resolved(t, w, "ollama:nothing"); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "or not with this tag") {
		t.Errorf("error %v", err)
	}
}

// TestURLs: split sets are found by their names, safetensors with what lies
// beside them, the query goes along.
func TestURLs(t *testing.T) {
	w := newWorld(t)
	for _, f := range []string{"s/x-00001-of-00002.gguf", "s/x-00002-of-00002.gguf", "t/config.json", "t/tokenizer.json", "t/w.safetensors", "u/w.safetensors", "v/x-00001-of-00002.gguf"} {
		w.put("files", f, []byte("123"))
	}
	names := func(path string) string {
		found, err := resolved(t, w, w.hub.URL+path)
		if err != nil {
			return err.Error()
		}
		list := found.format
		for _, f := range found.files {
			u, err := url.Parse(f.url)
			if err != nil || u.RawQuery != "k=v" || f.bytes != 3 {
				t.Errorf("file %+v", f)
			}
			list += " " + f.name
		}
		return list
	}
	for path, want := range map[string]string{
		"/s/x-00002-of-00002.gguf?k=v": "gguf x-00001-of-00002.gguf x-00002-of-00002.gguf",
		"/t/w.safetensors?k=v":         "safetensors config.json tokenizer.json w.safetensors",
		"/u/w.safetensors?k=v":         "config.json: 127.0.0.1",
		"/v/x-00001-of-00002.gguf?k=v": "x-00002-of-00002.gguf: 127.0.0.1",
		"/s/x-00001-of-99999.gguf?k=v": "99999 parts",
	} {
		if got := names(path); !strings.HasPrefix(got, want) && !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	w.fault(func(res http.ResponseWriter, r *http.Request) bool {
		res.(http.Flusher).Flush()
		io.WriteString(res, "123")
		return true
	}, nil)
	if got := names("/s/y.gguf?k=v"); !strings.Contains(got, "does not say how long") {
		t.Error(got)
	}
}

// FuzzAnswers: whatever sources say about a repository or a manifest, files
// get plain names and possible lengths, or there is an error.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte(`{"sha":"x","siblings":[{"rfilename":"a/b-Q4_0.gguf","size":3,"lfs":{"sha256":"00","size":3}}]}`), true)
	f.Add([]byte(`{"siblings":[{"rfilename":"config.json","size":1},{"rfilename":"model.safetensors","size":2}]}`), true)
	f.Add([]byte(`{"siblings":[{"rfilename":"../x.gguf","size":1e300}]}`), true)
	f.Add([]byte(`{"layers":[{"mediaType":"`+weightsType+`","digest":"sha256:`+strings.Repeat("0", 64)+`","size":-1}]}`), false)
	f.Fuzz(func(t *testing.T, answer []byte, hf bool) {
		if !json.Valid(answer) {
			return
		}
		h, err := New(Options{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		c := &client{
			http: &http.Client{Transport: canned(answer)}, stall: time.Minute,
			sleep:  func(context.Context, time.Duration) error { return nil },
			notify: func(string, error, time.Duration) {},
		}
		r := &ref{name: "a/b", hf: hf, ollama: !hf, repo: "a/b", tag: "x"}
		if hf {
			r.tag = ""
		}
		found, err := h.resolve(t.Context(), c, r)
		if err != nil {
			return
		}
		for _, file := range found.files {
			if plainName(file.name) != nil || file.bytes < 0 || file.bytes > maxFileBytes {
				t.Errorf("file %+v", file)
			}
			if u, err := url.Parse(file.url); err != nil || strings.Contains(u.Path, "/../") {
				t.Errorf("address %s", file.url)
			}
		}
	})
}

// canned answers every request with the same document.
type canned []byte

func (c canned) RoundTrip(req *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Header: http.Header{}, Request: req, ContentLength: int64(len(c)),
		Body: io.NopCloser(strings.NewReader(string(c)))}, nil
}
