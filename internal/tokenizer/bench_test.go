package tokenizer

import (
	"runtime"
	"strings"
	"testing"
)

func BenchmarkEncode(b *testing.B) {
	prose := string(unpack("prose.txt.gz"))
	var mixed strings.Builder
	for _, g := range readGoldens(b) {
		mixed.WriteString(g.Text)
	}
	for _, bb := range []struct{ name, text string }{
		{"prose", prose},
		{"goldens", mixed.String()},
		{"short", "Tell me a story about a fox."},
		{"oneLetter", strings.Repeat("a", 1<<20)},
	} {
		b.Run(bb.name, func(b *testing.B) {
			tok := gemma()
			b.SetBytes(int64(len(bb.text)))
			b.ReportAllocs()
			var ids []int32
			for b.Loop() {
				ids = tok.Encode(ids[:0], bb.text, true)
			}
		})
	}
	// Every piece is new to the cache at first: a new tokenizer's first text.
	b.Run("proseCold", func(b *testing.B) {
		tok := gemma()
		b.SetBytes(int64(len(prose)))
		var ids []int32
		for b.Loop() {
			s := new(scratch)
			ids = tok.encodePlain(s, ids[:0], prose)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	tok := gemma()
	text := string(unpack("prose.txt.gz"))
	ids := tok.Encode(nil, text, false)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	d := tok.NewDecoder()
	for b.Loop() {
		for _, id := range ids {
			d.Push(id)
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	file := gemmaJSON()
	spec, err := ParseSpec(file)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("parse", func(b *testing.B) {
		b.SetBytes(int64(len(file)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := ParseSpec(file); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("new", func(b *testing.B) {
		b.ReportAllocs()
		var tok *Tokenizer
		for b.Loop() {
			if tok, err = New(spec); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(tableMB(tok), "table-MB")
	})
}

// tableMB is what a tokenizer keeps, measured on the heap.
func tableMB(tok *Tokenizer) float64 {
	var with, without runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&with)
	runtime.KeepAlive(tok)
	tok = nil
	runtime.GC()
	runtime.ReadMemStats(&without)
	return float64(with.HeapAlloc-without.HeapAlloc) / 1e6
}
