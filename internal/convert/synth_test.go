package convert

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/quant"
)

// synthConfig is a small model with everything in it that E2B has, but a
// published model's kind of config.json.
func synthConfig(t *testing.T, name string) *gemma.Config {
	t.Helper()
	return readConfig(t, tiny(t, name))
}

func TestSynthForms(t *testing.T) {
	for _, name := range []string{"e-tiny", "moe-tiny"} {
		cfg := synthConfig(t, name)
		for _, tc := range []struct {
			out string // made by Synth
			typ quant.Type
		}{
			{"folder", quant.BF16}, {"file.safetensors", quant.BF16}, {"folder", quant.F32},
			{"file.gguf", quant.BF16}, {"file.gguf", quant.F16}, {"noext", quant.Q8_0}, {"FILE.GGUF", quant.Q4_0},
		} {
			path := filepath.Join(t.TempDir(), tc.out)
			r, err := Synth(context.Background(), cfg, path, SynthOptions{Types: Types{Type: tc.typ}})
			if err != nil {
				t.Fatal(err)
			}
			cat := open(t, path)
			got := readConfig(t, cat)
			if !reflect.DeepEqual(got, cfg) {
				t.Errorf("%s, %s: config %+v\nwant %+v", tc.out, tc.typ, got, cfg)
			}
			if r.Tensors != len(cat.Tensors()) {
				t.Errorf("%s, %s: %d tensors, report says %d", tc.out, tc.typ, len(cat.Tensors()), r.Tensors)
			}
			for _, spec := range cfg.Tensors() {
				if src, err := gemma.Locate(cat, spec); err != nil || (src == nil) != spec.Optional {
					t.Fatalf("%s: %+v, %v", spec, src, err)
				}
				if spec.Optional || tc.typ.BlockLen() > 1 && spec.Role != gemma.RoleNorm {
					continue
				}
				want := make([]float32, spec.Values())
				rule := ruleOf(spec)
				rule.fill(want, 0)
				if tc.typ == quant.F16 && spec.Role != gemma.RoleNorm && spec.Role != gemma.RoleRouter {
					for i, v := range want { // values below 2^-14 lose bits
						want[i] = quant.F16ToF32(quant.F32ToF16(v))
					}
				}
				if !slices.Equal(values(t, cat, spec), want) {
					t.Errorf("%s, %s: %s differs from the rule", tc.out, tc.typ, spec)
				}
			}
		}
	}
}

// A GGUF file gets the vocabulary that convert would give it, safetensors refuse one.
func TestSynthTokenizer(t *testing.T) {
	cfg := synthConfig(t, "e-tiny")
	o := SynthOptions{Types: Types{Type: quant.Q8_0}, Tokenizer: smallTokenizer(t)}
	path := filepath.Join(t.TempDir(), "v.gguf")
	if _, err := Synth(context.Background(), cfg, path, o); err != nil {
		t.Fatal(err)
	}
	compareTokenizers(t, o.Tokenizer, open(t, path).Meta())
	for name, o := range map[string]SynthOptions{
		"folder":   {Types: Types{Type: quant.BF16}, Tokenizer: o.Tokenizer},
		"bad.gguf": {Types: o.Types, Tokenizer: []byte("{")},
	} {
		if _, err := Synth(context.Background(), cfg, filepath.Join(t.TempDir(), name), o); err == nil {
			t.Errorf("%s was written", name)
		}
	}
}

func TestSynthThreads(t *testing.T) {
	cfg := synthConfig(t, "moe-tiny")
	var first []byte
	for _, threads := range []int{1, 2, 7} {
		path := filepath.Join(t.TempDir(), "m.gguf")
		if _, err := Synth(context.Background(), cfg, path, SynthOptions{Types: Types{Type: quant.Q4_0}, Threads: threads}); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = data
		}
		if !bytes.Equal(data, first) {
			t.Errorf("%d threads give other bytes", threads)
		}
	}
}

func TestSynthRefuses(t *testing.T) {
	cfg := synthConfig(t, "e-tiny")
	dir := t.TempDir()
	q8 := quant.Q8_0
	for _, tc := range []struct {
		name, out string
		types     Types
		want      string
	}{
		{"quantised safetensors", "x.safetensors", Types{Type: quant.Q4_0}, "plain type"},
		{"mixed safetensors", "folder", Types{Type: quant.BF16, PLE: &q8}, "plain type"},
		{"no encoder", "x.gguf", Types{Type: quant.I16}, "cannot be encoded"},
		{"folder in use", "used", Types{Type: quant.BF16}, "notes.txt"},
		{"foreign config", "foreign/x.safetensors", Types{Type: quant.BF16}, "another model"},
	} {
		for sub, file := range map[string]string{"used": "notes.txt", "foreign": "config.json"} {
			if err := os.MkdirAll(filepath.Join(dir, sub), 0o777); err != nil {
				t.Fatal(err)
			}
			addFile(t, filepath.Join(dir, sub), file, "{}")
		}
		_, err := Synth(context.Background(), cfg, filepath.Join(dir, tc.out), SynthOptions{Types: tc.types})
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	bad := *cfg
	bad.NumKVHeads = 3
	if _, err := Synth(context.Background(), &bad, filepath.Join(dir, "x.gguf"), SynthOptions{Types: Types{Type: quant.BF16}}); err == nil {
		t.Error("an invalid config is accepted")
	}
	// Making the same folder again replaces it.
	for range 2 {
		if _, err := Synth(context.Background(), cfg, filepath.Join(dir, "again"), SynthOptions{Types: Types{Type: quant.BF16}}); err != nil {
			t.Error(err)
		}
	}
}

func TestSynthCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	dir := filepath.Join(t.TempDir(), "m")
	if _, err := Synth(ctx, synthConfig(t, "e-tiny"), dir, SynthOptions{Types: Types{Type: quant.BF16}}); err == nil {
		t.Fatal("no error")
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder that a cancelled run made is still there: %v", err)
	}
}
