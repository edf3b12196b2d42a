package tokenizer

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// smallFile is a valid tokenizer.json with 256 byte tokens and a few more.
func smallFile(change func(file, model map[string]any)) []byte {
	vocab := map[string]any{"<pad>": 0, "<eos>": 1, "<bos>": 2, "<unk>": 3}
	for b := range 256 {
		vocab[fmt.Sprintf("<0x%02X>", b)] = len(vocab)
	}
	for _, p := range []string{"▁", "a", "b", "ab", "▁a", "\n", "\n\n", "▁ab"} {
		vocab[p] = len(vocab)
	}
	model := map[string]any{
		"type": "BPE", "dropout": nil, "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true,
		"vocab":  vocab,
		"merges": []any{"a b", "\n \n", []any{"▁", "a"}, []any{"▁", "ab"}},
	}
	added := []any{}
	for id, p := range []string{"<pad>", "<eos>", "<bos>", "<unk>"} {
		added = append(added, map[string]any{"id": id, "content": p, "special": true, "normalized": false})
	}
	file := map[string]any{
		"version":      "1.0",
		"added_tokens": added,
		"normalizer":   map[string]any{"type": "Replace", "pattern": map[string]any{"String": " "}, "content": "▁"},
		"decoder": map[string]any{"type": "Sequence", "decoders": []any{
			map[string]any{"type": "Replace", "pattern": map[string]any{"String": "▁"}, "content": " "},
			map[string]any{"type": "ByteFallback"}, map[string]any{"type": "Fuse"}}},
		"model": model,
	}
	if change != nil {
		change(file, model)
	}
	b, err := json.Marshal(file)
	if err != nil {
		panic(err)
	}
	return b
}

func load(file []byte) (*Tokenizer, error) {
	spec, err := ParseSpec(file)
	if err != nil {
		return nil, err
	}
	return New(spec)
}

type object = map[string]any

func TestParseAccepts(t *testing.T) {
	tests := []struct {
		name   string
		change func(file, model object)
	}{
		{"plain", nil},
		{"unknown keys", func(f, m object) { f["extra"] = []any{object{"a": 1.5e3}, nil}; m["later"] = "x" }},
		{"truncation", func(f, _ object) { f["truncation"] = object{"max_length": 4} }},
		{"split at spaces", func(f, _ object) {
			f["pre_tokenizer"] = object{"type": "Split", "pattern": object{"String": " "}, "behavior": "MergedWithPrevious", "invert": false}
		}},
		{"adds BOS", func(f, _ object) { f["post_processor"] = object{"type": "TemplateProcessing"} }},
		{"one-step sequence", func(f, _ object) {
			f["normalizer"] = object{"type": "Sequence", "normalizers": []any{f["normalizer"]}}
		}},
		{"added beyond vocab", func(f, m object) {
			f["added_tokens"] = append(f["added_tokens"].([]any), object{"id": len(m["vocab"].(object)), "content": "<new>", "special": false})
		}},
		{"no type", func(_, m object) { delete(m, "type") }},
	}
	want, err := load(smallFile(nil))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tok, err := load(smallFile(tt.change))
			if err != nil {
				t.Fatal(err)
			}
			const text = "ab aab\n\n\n<bos>é"
			if got, want := tok.Encode(nil, text, true), want.Encode(nil, text, true); !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	vocab := func(m object) object { return m["vocab"].(object) }
	first := func(f object) object { return f["added_tokens"].([]any)[0].(object) }
	merge := func(m object, e any) { m["merges"] = append(m["merges"].([]any), e) }
	tests := []struct {
		name, want string
		change     func(f, m object)
	}{
		{"NFKC", "NFKC is not supported", func(f, _ object) { f["normalizer"] = object{"type": "NFKC"} }},
		{"NFC in sequence", "NFC is not supported", func(f, _ object) {
			f["normalizer"] = object{"type": "Sequence", "normalizers": []any{object{"type": "NFC"}, f["normalizer"]}}
		}},
		{"prepend", "Prepend is not supported", func(f, _ object) { f["normalizer"] = object{"type": "Prepend", "prepend": "▁"} }},
		{"no normalizer", "want Replace", func(f, _ object) { f["normalizer"] = nil }},
		{"absent normalizer", `"normalizer" is missing`, func(f, _ object) { delete(f, "normalizer") }},
		{"byte level", "ByteLevel is not supported", func(f, _ object) { f["pre_tokenizer"] = object{"type": "ByteLevel"} }},
		{"regex split", "Split is not supported", func(f, _ object) {
			f["pre_tokenizer"] = object{"type": "Split", "pattern": object{"Regex": "\\s"}}
		}},
		{"strip", "Strip is not supported", func(f, _ object) {
			d := f["decoder"].(object)
			d["decoders"] = append(d["decoders"].([]any), object{"type": "Strip"})
		}},
		{"post-processor", "RobertaProcessing is not supported", func(f, _ object) { f["post_processor"] = object{"type": "RobertaProcessing"} }},
		{"unigram", "Unigram is not supported", func(_, m object) { m["type"] = "Unigram" }},
		{"no fallback", "byte_fallback is off", func(_, m object) { m["byte_fallback"] = false }},
		{"ignore merges", "ignore_merges", func(_, m object) { m["ignore_merges"] = true }},
		{"dropout", "dropout 0.1", func(_, m object) { m["dropout"] = 0.1 }},
		{"prefix", "continuing_subword_prefix", func(_, m object) { m["continuing_subword_prefix"] = "##" }},
		{"no model", `"model" is missing`, func(f, _ object) { delete(f, "model") }},
		{"no merges", `"model.merges" is missing`, func(_, m object) { delete(m, "merges") }},
		{"lstrip", "lstrip is not supported", func(f, _ object) { first(f)["lstrip"] = true }},
		{"single word", "single_word is not supported", func(f, _ object) { first(f)["single_word"] = true }},
		{"normalized space", "normalized", func(f, _ object) { first(f)["normalized"] = true; first(f)["content"] = "a b" }},
		{"added id taken", "given to both", func(f, _ object) { first(f)["content"] = "<other>" }},
		{"added text taken", "already token", func(f, m object) {
			f["added_tokens"] = append(f["added_tokens"].([]any), object{"id": len(vocab(m)), "content": "ab"})
		}},
		{"added far away", "leaves a hole", func(f, _ object) { first(f)["id"] = 2000000 }},
		{"added id fraction", "want an id", func(f, _ object) { first(f)["id"] = 1.5 }},
		{"added nothing", "want an id", func(f, _ object) { f["added_tokens"] = []any{nil} }},
		{"hole", "there are 268 tokens", func(_, m object) { vocab(m)["ab"] = 5000 }},
		{"hole filled by added", "no token has id", func(f, m object) {
			f["added_tokens"] = append(f["added_tokens"].([]any), object{"id": len(vocab(m)) + 1, "content": "<new>"})
		}},
		{"same id", "given to both", func(_, m object) { vocab(m)["ab"] = 5 }},
		{"negative id", "whole number", func(_, m object) { vocab(m)["ab"] = -5 }},
		{"huge id", "out of range", func(_, m object) { vocab(m)["ab"] = 12345678901234567 }},
		{"large id", "at most", func(_, m object) { vocab(m)["ab"] = 5000000 }},
		{"fraction id", "whole number", func(_, m object) { vocab(m)["ab"] = 5.5 }},
		{"text id", "whole number", func(_, m object) { vocab(m)["ab"] = "5" }},
		{"empty piece", "empty", func(_, m object) { vocab(m)[""] = len(vocab(m)) }},
		{"byte missing", "<0x41> is missing", func(_, m object) { vocab(m)["x"] = vocab(m)["<0x41>"]; delete(vocab(m), "<0x41>") }},
		{"merge of strangers", `"q" is no token`, func(_, m object) { merge(m, "q a") }},
		{"merge right unknown", `"q" is no token`, func(_, m object) { merge(m, "a q") }},
		{"merge without product", "product", func(_, m object) { merge(m, "b a") }},
		{"merge twice", "listed twice", func(_, m object) { merge(m, "a b") }},
		{"merge of bytes", "byte token", func(_, m object) {
			vocab(m)["<0x41>b"] = len(vocab(m))
			merge(m, "<0x41> b")
		}},
		{"merge one part", "two parts", func(_, m object) { merge(m, "ab") }},
		{"merge empty", "two parts", func(_, m object) { merge(m, "") }},
		{"merge empty right", `"" is no token`, func(_, m object) { merge(m, "a ") }},
		{"merge list of three", "3 parts", func(_, m object) { merge(m, []any{"a", "b", "c"}) }},
		{"merge list of none", "0 parts", func(_, m object) { merge(m, []any{}) }},
		{"merge list with space", "space in it", func(_, m object) { merge(m, []any{"a b", "c"}) }},
		{"merge number", "found", func(_, m object) { merge(m, 5) }},
		{"vocab list", "found", func(_, m object) { m["vocab"] = []any{} }},
		{"vocab empty", "read", func(f, m object) { m["vocab"] = object{}; m["merges"] = []any{}; f["added_tokens"] = nil }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := load(smallFile(tt.change))
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q does not say %q", err, tt.want)
			}
		})
	}
}

func TestParseRefusesText(t *testing.T) {
	good := string(smallFile(nil))
	deep := strings.Repeat("[", 200) + strings.Repeat("]", 200)
	tests := []struct{ name, file, want string }{
		{"empty", "", "ends"},
		{"null", "null", "found"},
		{"invalid UTF-8", strings.Replace(good, `"1.0"`, "\"\xff\"", 1), "UTF-8"},
		{"trailing", good + "x", "after the end"},
		{"half a surrogate", strings.Replace(good, `"1.0"`, `"\ud800"`, 1), "surrogate"},
		{"wrong surrogate", strings.Replace(good, `"1.0"`, `"\ud800\u0041"`, 1), "surrogate"},
		{"bad escape", strings.Replace(good, `"1.0"`, `"\x"`, 1), "escape"},
		{"bad hex", strings.Replace(good, `"1.0"`, `"\u12g4"`, 1), "hexadecimal"},
		{"newline in string", strings.Replace(good, `"1.0"`, "\"\n\"", 1), "control character"},
		{"deep", strings.Replace(good, `"1.0"`, deep, 1), "nested"},
		{"bad number", strings.Replace(good, `"1.0"`, "01", 1), "want a value"},
		{"two models", strings.Replace(good, `"version"`, `"model":{"vocab":{},"merges":[],"byte_fallback":true},"version"`, 1), "twice"},
		{"token twice", strings.Replace(good, `"ab":`, `"ab":268,"ab":`, 1), "already token"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := load([]byte(tt.file))
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q does not say %q", err, tt.want)
			}
		})
	}
	for n := range len(good) {
		if _, err := load([]byte(good[:n])); err == nil {
			t.Fatalf("accepted the first %d bytes", n)
		}
	}
}

// TestParseMemory: what a file makes the parser allocate stays a small
// multiple of the file, whatever it is filled with.
func TestParseMemory(t *testing.T) {
	const n = 1 << 20
	for name, filler := range map[string]string{
		"objects": "{},", "vocab": `"a":0,`, "merges": `"",`, "lists": `[],`,
	} {
		t.Run(name, func(t *testing.T) {
			many := strings.TrimSuffix(strings.Repeat(filler, n/len(filler)), ",")
			for _, form := range []string{`{"x":[%s]}`, `{"normalizer":[%s,1]}`, `{"added_tokens":[%s]}`, `{"model":{"vocab":{%s}}}`, `{"model":{"merges":[%s]}}`} {
				file := fmt.Appendf(nil, form, many)
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				if _, err := load(file); err == nil {
					t.Fatal("accepted")
				}
				runtime.ReadMemStats(&after)
				if got := after.TotalAlloc - before.TotalAlloc; got > 16*uint64(len(file)) {
					t.Errorf("%s: %d bytes allocated for %d", form, got, len(file))
				}
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	base, err := ParseSpec(smallFile(nil))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, want string
		change     func(s *Spec)
	}{
		{"nothing", "empty", func(s *Spec) { *s = Spec{} }},
		{"invalid UTF-8", "UTF-8", func(s *Spec) { s.Tokens[9] = "\xff" }},
		{"empty text", "empty", func(s *Spec) { s.Tokens[9] = "" }},
		{"kinds short", "kinds for", func(s *Spec) { s.Kinds = s.Kinds[1:] }},
		{"kind unknown", "kind 9", func(s *Spec) { s.Kinds[0] = 9 }},
		{"kind zero", "kind 0", func(s *Spec) { s.Kinds[0] = 0 }},
		{"marked byte", "marked as a byte", func(s *Spec) { s.Kinds[0] = Byte }},
		{"special range", "special", func(s *Spec) { s.Special = []int32{int32(len(s.Tokens))} }},
		{"special negative", "special", func(s *Spec) { s.Special = []int32{-1} }},
		{"bos range", "bos id", func(s *Spec) { s.BOS = 1 << 20 }},
		{"pad below", "padding id", func(s *Spec) { s.Pad = -2 }},
		{"too many", "at most", func(s *Spec) { s.Tokens = make([]string, maxTokens+1) }},
		{"too many merges", "merges", func(s *Spec) { s.Merges = make([]string, maxMerges) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := base
			s.Tokens, s.Kinds = slices.Clone(base.Tokens), slices.Clone(base.Kinds)
			tt.change(&s)
			_, err := New(s)
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q does not say %q", err, tt.want)
			}
		})
	}
}

// TestJSONStrings compares the scanner with encoding/json.
func TestJSONStrings(t *testing.T) {
	for _, s := range []string{"", "a", "\"\\/\b\f\n\r\t", "日本\u2028\U0001F642<>&", "\u0000\u001f", strings.Repeat("\n", 40)} {
		file, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		sc := scanner{src: file}
		if got, err := sc.str(); err != nil || string(got) != s {
			t.Errorf("%s: got %q, %v", file, got, err)
		}
	}
	sc := scanner{src: []byte(`"\ud83d\ude42\/\u00e9"`)}
	if got, err := sc.str(); err != nil || string(got) != "🙂/é" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestJSONNumbers(t *testing.T) {
	for _, w := range []string{"0", "-0", "1", "10", "-1.5", "1e5", "1E+5", "0.1e-7", "1e999", "", "-", "01", "1.", ".5", "+1", "1e", "1e+", "0x1", "1_0", "Inf", "nan", "--1"} {
		if got, want := jsonNumber(w), json.Valid([]byte(w)); got != want {
			t.Errorf("%q: %v, want %v", w, got, want)
		}
	}
}

// keys is a GGUF file's metadata, as a reader would offer it.
type keys map[string]any

func (k keys) Uint(key string) (uint64, bool)      { v, ok := k[key].(uint64); return v, ok }
func (k keys) String(key string) (string, bool)    { v, ok := k[key].(string); return v, ok }
func (k keys) Strings(key string) ([]string, bool) { v, ok := k[key].([]string); return v, ok }
func (k keys) Ints(key string) ([]int64, bool)     { v, ok := k[key].([]int64); return v, ok }

func ggufKeys(s Spec) keys {
	types := make([]int64, len(s.Kinds))
	for i, k := range s.Kinds {
		types[i] = int64(k)
	}
	return keys{
		"tokenizer.ggml.model": "gemma4", "tokenizer.ggml.tokens": s.Tokens, "tokenizer.ggml.merges": s.Merges,
		"tokenizer.ggml.token_type": types, "tokenizer.ggml.bos_token_id": uint64(2), "tokenizer.ggml.eos_token_id": uint64(1),
		"tokenizer.ggml.unknown_token_id": uint64(3), "tokenizer.ggml.padding_token_id": uint64(0),
	}
}

// TestSourcesAgree: tokenizer.json, GGUF in both dialects, and a Spec written
// out again describe one tokenizer.
func TestSourcesAgree(t *testing.T) {
	for name, file := range map[string][]byte{"gemma": gemmaJSON(), "demo": demoJSON()} {
		t.Run(name, func(t *testing.T) {
			want, err := ParseSpec(file)
			if err != nil {
				t.Fatal(err)
			}
			tok, err := New(want)
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(want.Special)
			if n := tok.Merges(); n != len(want.Merges) {
				t.Errorf("%d merges, want %d", n, len(want.Merges))
			}
			if got := tok.Spec(); !reflect.DeepEqual(got, want) {
				t.Error("the spec changed on its way through the tokenizer")
			}
			llama := ggufKeys(want)
			ollama := maps.Clone(llama)
			ollama["tokenizer.ggml.model"], ollama["tokenizer.ggml.pre"] = "llama", "gemma4"
			types := slices.Clone(ollama["tokenizer.ggml.token_type"].([]int64))
			for i, k := range types { // bytes are normal tokens there, specials all control
				if k == int64(Byte) {
					types[i] = int64(Normal)
				}
				if k == int64(UserDefined) {
					types[i] = int64(Control)
				}
			}
			ollama["tokenizer.ggml.token_type"] = types
			for dialect, k := range map[string]keys{"llama.cpp": llama, "ollama": ollama} {
				spec, err := SpecFromKeys(k)
				if err != nil {
					t.Fatal(err)
				}
				other, err := New(spec)
				if err != nil {
					t.Fatal(err)
				}
				got := other.Spec()
				if dialect == "ollama" {
					for i, k := range got.Kinds {
						if k == Control && want.Kinds[i] == UserDefined {
							got.Kinds[i] = UserDefined
						}
					}
				}
				if !reflect.DeepEqual(got, want) {
					t.Errorf("%s: the tokenizers differ", dialect)
				}
			}
		})
	}
}

func TestSpecFromKeysRefuses(t *testing.T) {
	spec, err := ParseSpec(smallFile(nil))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, key string
		value     any
		want      string
	}{
		{"no model", "model", nil, "model is missing"},
		{"other model", "model", "gpt2", `"gpt2"`},
		{"llama", "model", "llama", "want gemma4"},
		{"no tokens", "tokens", nil, "tokens is missing"},
		{"no merges", "merges", nil, "merges is missing"},
		{"no types", "token_type", nil, "token_type is missing"},
		{"bad type", "token_type", []int64{7}, "type 7"},
		{"negative type", "token_type", []int64{-1}, "type -1"},
		{"bos range", "bos_token_id", uint64(1) << 40, "bos_token_id"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := ggufKeys(spec)
			k["tokenizer.ggml."+tt.key] = tt.value
			_, err := SpecFromKeys(k)
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q does not say %q", err, tt.want)
			}
		})
	}
}

func TestAccessors(t *testing.T) {
	tok := gemma()
	if tok.Len() != 262144 {
		t.Errorf("%d tokens", tok.Len())
	}
	for _, tt := range []struct {
		name string
		get  func() (int32, bool)
		want int32
	}{{"bos", tok.BOS, 2}, {"eos", tok.EOS, 1}, {"unknown", tok.Unknown, 3}, {"pad", tok.Pad, 0}} {
		if id, ok := tt.get(); !ok || id != tt.want {
			t.Errorf("%s: %d, %v", tt.name, id, ok)
		}
	}
	if _, ok := tok.ID("no such piece"); ok {
		t.Error("found a piece that is not there")
	}
	if !tok.IsSpecial(105) || tok.IsSpecial(9259) || tok.IsSpecial(-1) || tok.IsSpecial(1<<30) {
		t.Error("special flags are wrong")
	}
	if got := tok.Piece(236743); got != "▁" {
		t.Errorf("piece %q", got)
	}
}

// TestHammer encodes and decodes from many goroutines at once.
func TestHammer(t *testing.T) {
	tok := demo()
	all := readGoldens(t)
	want := make([][]int32, len(all))
	for i, g := range all {
		want[i] = tok.ref.encode(g.Text, true)
	}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for k := range 3 * len(all) {
				i := (k*7 + w*31) % len(all)
				if got := tok.Encode(nil, all[i].Text, true); !slices.Equal(got, want[i]) {
					t.Errorf("worker %d: %q gave %v, want %v", w, all[i].Text, got, want[i])
					return
				}
			}
		})
	}
	wg.Wait()
}

func FuzzParseSpec(f *testing.F) {
	f.Add(smallFile(nil))
	f.Add(smallFile(func(file, m object) {
		file["post_processor"] = object{"type": "TemplateProcessing", "x": []any{1, true}}
	}))
	f.Add([]byte(`{"model":{"vocab":{"a":0},"merges":["a b",["a","b"]]}}`))
	f.Add([]byte(`{"added_tokens":[{"id":1e300,"content":"\ud83d\ude42"}],"x":[[[{}]]]}`))
	f.Fuzz(func(t *testing.T, file []byte) {
		tok, err := load(file)
		if err != nil {
			return
		}
		if !json.Valid(file) {
			t.Fatal("accepted what is not JSON")
		}
		const text = "ab a\n\n日<bos>\xff"
		if got, want := tok.Decode(tok.Encode(nil, text, false)), "ab a\n\n日<bos>\uFFFD"; got != want {
			t.Fatalf("round trip gave %q, want %q", got, want)
		}
		again, err := New(tok.Spec())
		if err != nil {
			t.Fatalf("load the spec again: %v", err)
		}
		if !slices.Equal(tok.Encode(nil, text, true), again.Encode(nil, text, true)) {
			t.Fatal("the written spec encodes differently")
		}
	})
}
