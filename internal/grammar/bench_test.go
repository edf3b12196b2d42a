package grammar

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// benchSchemas are the kinds of schemas whose masks differ in cost.
var benchSchemas = []struct{ name, schema string }{
	{"json", `true`},
	{"object", `{"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer","minimum":0,"maximum":150},"email":{"type":"string","format":"email"},
		"tags":{"type":"array","items":{"enum":["red","green","blue"]}},"score":{"type":"number","minimum":0,"maximum":1}},"required":["name","age","email","tags","score"],"additionalProperties":false}`},
	{"lengths", `{"type":"array","minItems":3,"items":{"type":"string","minLength":10,"maxLength":60}}`},
	{"pattern", `{"type":"array","minItems":3,"items":{"type":"string","pattern":"^[A-Za-z ]{1,200}$"}}`},
	{"recursive", `{"$defs":{"n":{"type":"object","properties":{"text":{"type":"string"},"kids":{"type":"array","items":{"$ref":"#/$defs/n"}}},"required":["text","kids"],"additionalProperties":false}},"$ref":"#/$defs/n"}`},
	{"optionals", `{"type":"object","properties":{` + optionals(100) + `}}`},
	{"union", `{"type":"array","minItems":4,"items":{"anyOf":[` + unions(20) + `]}}`},
	{"enum5000", `{"type":"array","minItems":4,"items":{"enum":[` + enums(5000) + `]}}`},
}

func optionals(n int) string {
	return joined(n, func(i int) string { return fmt.Sprintf(`"field_%d":{"type":"string"}`, i) })
}

func unions(n int) string {
	return joined(n, func(i int) string {
		return fmt.Sprintf(`{"type":"object","properties":{"kind":{"const":"kind %d"},"v%d":{"type":"string"}},"required":["kind","v%d"],"additionalProperties":false}`, i, i%3, i%3)
	})
}

func enums(n int) string {
	return joined(n, func(i int) string { return fmt.Sprintf(`"item %d"`, i*7919%100_003) })
}

func joined(n int, f func(int) string) string {
	parts := make([]string, n)
	for i := range parts {
		parts[i] = f(i)
	}
	return strings.Join(parts, ",")
}

var benchTools = []Tool{
	{Name: "get_weather", Parameters: []byte(`{"type":"object","properties":{"city":{"type":"string"},"days":{"type":"integer","minimum":1,"maximum":14},"unit":{"enum":["C","F"]}},"required":["city"]}`)},
	{Name: "search", Parameters: []byte(`{"type":"object","properties":{"query":{"type":"string","maxLength":80},"limit":{"type":"integer"},"filters":{"type":"object"}},"required":["query"]}`)},
}

// BenchmarkMask walks through answers and reports how long the masks took, with
// Gemma's own vocabulary.
func BenchmarkMask(b *testing.B) {
	run := func(name string, v *Vocab, compile func() (*Grammar, error)) {
		b.Run(name, func(b *testing.B) {
			g, err := compile()
			if err != nil {
				b.Fatal(err)
			}
			g.Prepare(v)
			rng := rand.New(rand.NewPCG(1, 2))
			mask := make([]uint64, v.words)
			var took, accept []time.Duration
			m := g.NewMatcher(v)
			for b.Loop() {
				if m.MustEnd() || len(took)%300 == 299 {
					m.Reset()
				}
				start := time.Now()
				m.Mask(mask)
				mid := time.Now()
				id := likely(m, mask, rng)
				begin := time.Now()
				if err := m.Accept(id); err != nil {
					b.Fatal(err)
				}
				took = append(took, mid.Sub(start))
				accept = append(accept, time.Since(begin))
			}
			slices.Sort(took)
			slices.Sort(accept)
			report := func(d []time.Duration, q float64, unit string) {
				b.ReportMetric(float64(d[int(q*float64(len(d)-1))].Nanoseconds())/1000, unit)
			}
			report(took, 0.5, "p50-µs")
			report(took, 0.99, "p99-µs")
			report(took, 1, "max-µs")
			report(accept, 0.99, "accept-p99-µs")
			b.ReportMetric(0, "ns/op")
		})
	}
	v := gemmaVocab()
	for _, s := range benchSchemas {
		run(s.name, v, func() (*Grammar, error) { return FromSchema([]byte(s.schema), Options{}) })
	}
	small := NewVocab(v.tok) // the least that a tight memory budget leaves for masks
	small.Limit(8 << 20)
	for _, s := range benchSchemas {
		run("8MiB/"+s.name, small, func() (*Grammar, error) { return FromSchema([]byte(s.schema), Options{}) })
	}
	run("regex", v, func() (*Grammar, error) { return FromRegex(`(?:[A-Z][a-z]+ ){3,40}(?:yes|no)\.`, Options{}) })
	run("calls", v, func() (*Grammar, error) { return Calls(benchTools, Options{}) })
}

// BenchmarkMaskTogether is BenchmarkMask for two answers of different grammars at once, with
// the least memory for masks that a budget leaves and with the most.
func BenchmarkMaskTogether(b *testing.B) {
	object := benchSchemas[1].schema
	other := `{"type":"object","properties":{"from":{"type":"string","format":"email"},"text":{"type":"string","maxLength":300},"when":{"type":"string","format":"date-time"}},"required":["from","text","when"]}`
	pattern := benchSchemas[3].schema
	shorter := `{"type":"array","minItems":3,"items":{"type":"string","pattern":"^[A-Za-z ,.]{1,150}$"}}`
	host := `{"type":"array","minItems":3,"items":{"type":"string","format":"hostname"}}`
	for _, limit := range []int{8 << 20, 64 << 20} {
		for _, c := range []struct{ name, one, two string }{
			{"two-objects-with-email", object, other}, {"object-and-pattern", object, pattern},
			{"two-patterns", pattern, shorter}, {"object-and-hostname", object, host},
		} {
			b.Run(fmt.Sprintf("%dMiB/%s", limit>>20, c.name), func(b *testing.B) {
				v := NewVocab(gemmaVocab().tok)
				v.Limit(limit)
				rng := rand.New(rand.NewPCG(1, 2))
				mask := make([]uint64, v.words)
				var took []time.Duration
				var both [2]*Matcher
				for i, schema := range []string{c.one, c.two} {
					both[i] = compiled(b, schema).NewMatcher(v)
				}
				for n := 0; b.Loop(); n++ {
					for _, m := range both {
						if m.MustEnd() || n%300 == 299 {
							m.Reset()
						}
						start := time.Now()
						m.Mask(mask)
						took = append(took, time.Since(start))
						if err := m.Accept(likely(m, mask, rng)); err != nil {
							b.Fatal(err)
						}
					}
				}
				slices.Sort(took)
				for _, q := range []struct {
					part float64
					unit string
				}{{0.5, "p50-µs"}, {0.99, "p99-µs"}, {1, "max-µs"}} {
					b.ReportMetric(float64(took[int(q.part*float64(len(took)-1))].Nanoseconds())/1000, q.unit)
				}
				b.ReportMetric(float64(v.cache.used)/(1<<20), "kept-MiB")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// likely chooses an allowed token: a random one, but rather one that begins like
// a word than another, so that strings are texts and not only escapes.
func likely(m *Matcher, mask []uint64, rng *rand.Rand) int32 {
	n := len(mask) * 64
	for try := 0; ; try++ {
		id := rng.IntN(n)
		if try >= 200 { // few are allowed: the next one
			for i := range n {
				if j := (id + i) % n; mask[j>>6]>>(j&63)&1 != 0 {
					return int32(j)
				}
			}
			panic("nothing is allowed")
		}
		if mask[id>>6]>>(id&63)&1 != 0 {
			return int32(id)
		}
	}
}

// BenchmarkCompile reports what comes before the first token: the grammar, and
// then what its masks need with a vocabulary that has seen none.
func BenchmarkCompile(b *testing.B) {
	tok := gemmaVocab().tok
	for _, s := range benchSchemas {
		b.Run(s.name, func(b *testing.B) {
			var compile, prepare time.Duration
			n := 0
			for b.Loop() {
				b.StopTimer()
				v := NewVocab(tok)
				b.StartTimer()
				start := time.Now()
				g, err := FromSchema([]byte(s.schema), Options{})
				if err != nil {
					b.Fatal(err)
				}
				mid := time.Now()
				g.Prepare(v)
				compile += mid.Sub(start)
				prepare += time.Since(mid)
				n++
			}
			b.ReportMetric(float64(compile.Microseconds())/1000/float64(n), "compile-ms")
			b.ReportMetric(float64(prepare.Microseconds())/1000/float64(n), "prepare-ms")
			b.ReportMetric(0, "ns/op")
		})
	}
	b.Run("vocab", func(b *testing.B) {
		for b.Loop() {
			NewVocab(tok)
		}
	})
}
