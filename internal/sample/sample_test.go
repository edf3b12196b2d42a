package sample

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

var (
	nan    = float32(math.NaN())
	inf    = float32(math.Inf(1))
	negInf = float32(math.Inf(-1))
)

func mustNew(t testing.TB, p Params) *Sampler {
	t.Helper()
	s, err := New(p)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// randomLogits is a row like a model's: a broad hump with ties.
func randomLogits(seed uint64, n int) []float32 {
	r := rand.New(rand.NewPCG(seed, 1))
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(math.Round(r.NormFloat64()*300) / 100)
	}
	return out
}

func TestGreedy(t *testing.T) {
	for _, c := range []struct {
		name    string
		logits  []float32
		history []int32
		p       Params
		want    int32
	}{
		{"highest", []float32{0, 3, 2}, nil, Params{}, 1},
		{"tie goes to the lowest id", []float32{0, 3, 3}, nil, Params{}, 1},
		{"filters are ignored", []float32{1, 2}, nil, Params{TopK: 5, TopP: 0.1, MinP: 1}, 1},
		{"vocabulary of one", []float32{-7}, nil, Params{}, 0},
		{"no logits", nil, nil, Params{}, -1},
		{"all masked", []float32{negInf, negInf}, nil, Params{}, -1},
		{"nan is masked", []float32{nan, -5, nan}, nil, Params{}, 1},
		{"all nan", []float32{nan}, nil, Params{}, -1},
		{"infinity", []float32{1, inf, inf}, nil, Params{}, 1},
		{"lowest finite", []float32{negInf, -math.MaxFloat32}, nil, Params{}, 1},
		{"repetition divides positives", []float32{3, 2}, []int32{0}, Params{RepetitionPenalty: 2}, 1},
		{"repetition multiplies negatives", []float32{-1, -1.5}, []int32{0}, Params{RepetitionPenalty: 2}, 1},
		{"repetition once per token", []float32{3, 1}, []int32{0, 0, 0}, Params{RepetitionPenalty: 2}, 0},
		{"repetition 1 is off", []float32{3, 2}, []int32{0}, Params{RepetitionPenalty: 1}, 0},
		{"presence once", []float32{3, 1.5}, []int32{0, 0}, Params{PresencePenalty: 1}, 0},
		{"frequency per occurrence", []float32{3, 1.5}, []int32{0, 0}, Params{FrequencyPenalty: 1}, 1},
		{"negative presence favours", []float32{3, 2.5}, []int32{1}, Params{PresencePenalty: -1}, 1},
		{"window forgets", []float32{3, 2}, []int32{0, 1, 1}, Params{RepetitionPenalty: 3, PenaltyWindow: 2}, 0},
		{"window sees", []float32{3, 2}, []int32{0, 1, 1}, Params{RepetitionPenalty: 3, PenaltyWindow: 3}, 0},
		{"foreign history ids", []float32{3, 2}, []int32{-1, 9, math.MaxInt32}, Params{RepetitionPenalty: 3}, 0},
	} {
		before := slices.Clone(c.logits)
		if got := mustNew(t, c.p).Sample(c.logits, c.history); got != c.want {
			t.Errorf("%s: id %d, want %d", c.name, got, c.want)
		}
		for i := range before {
			if math.Float32bits(before[i]) != math.Float32bits(c.logits[i]) {
				t.Errorf("%s: logits were modified", c.name)
			}
		}
	}
}

func TestPenaltyScratchIsCleanBetweenCalls(t *testing.T) {
	s := mustNew(t, Params{FrequencyPenalty: 1})
	logits := []float32{3, 2}
	for range 5 {
		if got := s.Sample(logits, []int32{0}); got != 0 {
			t.Fatalf("id %d, want 0: counts of earlier calls are still there", got)
		}
	}
}

func TestStrangeLogits(t *testing.T) {
	for _, p := range []Params{
		{Temperature: 1}, {Temperature: 1, TopK: 2}, {Temperature: 1, TopP: 0.9},
		{Temperature: 1, MinP: 0.1}, {Temperature: 1e-30}, {Temperature: 1e30, TopK: 3},
	} {
		s := mustNew(t, p)
		for range 50 {
			if got := s.Sample([]float32{nan, negInf, 2, nan}, nil); got != 2 {
				t.Fatalf("%+v: only one choice: id %d, want 2", p, got)
			}
			if got := s.Sample([]float32{negInf, nan}, nil); got != -1 {
				t.Fatalf("%+v: nothing to choose: id %d, want -1", p, got)
			}
			if got := s.Sample([]float32{5, inf, 7, inf}, nil); got != 1 && got != 3 {
				t.Fatalf("%+v: id %d beat an infinity", p, got)
			}
			if got := s.Sample([]float32{4}, nil); got != 0 {
				t.Fatalf("%+v: vocabulary of one: id %d", p, got)
			}
			if got := s.Sample([]float32{-math.MaxFloat32, math.MaxFloat32}, nil); p.Temperature < 2 && got != 1 {
				t.Fatalf("%+v: extremes: id %d, want 1", p, got)
			}
		}
	}
}

// expected is the distribution the documented order of filters gives, computed
// the slow way: sort everything, then apply each filter to a full table.
func expected(logits []float32, p Params) []float64 {
	ids := make([]int, len(logits))
	for i := range ids {
		ids[i] = i
	}
	slices.SortStableFunc(ids, func(a, b int) int { return cmp.Compare(logits[b], logits[a]) })
	if p.TopK > 0 && p.TopK < len(ids) {
		ids = ids[:p.TopK]
	}
	normal := func() []float64 {
		prob, sum := make([]float64, len(ids)), 0.0
		for i, id := range ids {
			prob[i] = math.Exp(float64(logits[id]-logits[ids[0]]) / float64(p.Temperature))
			sum += prob[i]
		}
		for i := range prob {
			prob[i] /= sum
		}
		return prob
	}
	if prob := normal(); p.TopP > 0 && p.TopP < 1 {
		cum, n := 0.0, 0
		for cum < float64(p.TopP) && n < len(ids) {
			cum += prob[n]
			n++
		}
		ids = ids[:n]
	}
	if prob := normal(); p.MinP > 0 {
		n := 0
		for n < len(ids) && prob[n] >= float64(p.MinP)*prob[0] {
			n++
		}
		ids = ids[:n]
	}
	out := make([]float64, len(logits))
	for i, q := range normal() {
		out[ids[i]] = q
	}
	return out
}

// TestDistribution draws many times and compares with the expected table by
// the chi-squared statistic; dropped tokens must never appear.
func TestDistribution(t *testing.T) {
	logits := []float32{2, -1, 0.5, 0.5, 3, negInf, 1.7, -4, 2.4, 0}
	for _, p := range []Params{
		{Temperature: 1}, {Temperature: 0.7}, {Temperature: 2.5},
		{Temperature: 1, TopK: 4}, {Temperature: 1, TopK: 6},
		{Temperature: 1, TopP: 0.8}, {Temperature: 1.5, TopP: 0.95},
		{Temperature: 1, MinP: 0.1}, {Temperature: 2, MinP: 0.3},
		{Temperature: 1.2, TopK: 6, TopP: 0.9, MinP: 0.2},
	} {
		p.Seed = 42
		s, want := mustNew(t, p), expected(logits, p)
		const draws = 40000
		got := make([]float64, len(logits))
		for range draws {
			got[s.Sample(logits, nil)]++
		}
		chi, degrees := 0.0, -1
		for id, q := range want {
			if q == 0 {
				if got[id] != 0 {
					t.Errorf("%+v: dropped token %d drawn %v times", p, id, got[id])
				}
				continue
			}
			degrees++
			d := got[id] - q*draws
			chi += d * d / (q * draws)
		}
		// Mean degrees, deviation √(2·degrees); five deviations never by chance.
		if limit := float64(degrees) + 5*math.Sqrt(2*float64(degrees)) + 1; chi > limit {
			t.Errorf("%+v: chi-squared %.1f over %.1f", p, chi, limit)
		}
	}
}

// TestFiltersOnARealRow compares which tokens survive on a full vocabulary.
func TestFiltersOnARealRow(t *testing.T) {
	logits := randomLogits(3, 20000)
	for _, p := range []Params{
		{Temperature: 1, TopK: 64, TopP: 0.95}, {Temperature: 1, TopP: 0.05},
		{Temperature: 1, TopP: 0.9}, {Temperature: 0.2, TopP: 0.5},
	} {
		s, want := mustNew(t, p), expected(logits, p)
		for range 300 {
			if id := s.Sample(logits, nil); want[id] == 0 {
				t.Fatalf("%+v: dropped token %d was drawn", p, id)
			}
		}
	}
}

func TestSelectTop(t *testing.T) {
	for n := 1; n < 70; n++ {
		logits := randomLogits(uint64(n), n)
		for i := range logits {
			switch i % 11 {
			case 3:
				logits[i] = negInf
			case 7:
				logits[i] = nan
			case 8:
				logits[i] = logits[0]
			}
		}
		var want []candidate
		for i, v := range logits {
			if v > negInf {
				want = append(want, candidate{v, int32(i)})
			}
		}
		slices.SortStableFunc(want, func(a, b candidate) int { return cmp.Compare(b.logit, a.logit) })
		for k := 1; k <= n; k++ {
			if got := selectTop(nil, logits, k); !slices.Equal(got, want[:min(k, len(want))]) {
				t.Fatalf("n %d k %d: %v, want %v", n, k, got, want[:min(k, len(want))])
			}
		}
	}
}

// TestPinnedStream fixes the generator, the exponential and the order of sums:
// these ids must come out on every platform.
func TestPinnedStream(t *testing.T) {
	logits := randomLogits(9, 1000)
	for _, c := range []struct {
		p    Params
		want []int32
	}{
		{Params{Temperature: 1, Seed: 1}, []int32{811, 768, 811, 811, 768, 373, 827, 768, 796, 373, 373, 811}},
		{Params{Temperature: 1, TopK: 64, TopP: 0.95, Seed: 7}, []int32{811, 373, 785, 768, 796, 374, 768, 134, 747, 134, 270, 373}},
		{Params{Temperature: 0.8, TopP: 0.9, MinP: 0.01, RepetitionPenalty: 1.1, Seed: 0}, []int32{134, 270, 129, 811, 785, 373, 374, 785, 785, 768, 785, 811}},
	} {
		s := mustNew(t, c.p)
		var got []int32
		for range 12 {
			got = append(got, s.Sample(logits, got))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%+v: %v, want %v", c.p, got, c.want)
		}
	}
}

func TestCloneContinuesAlike(t *testing.T) {
	logits := randomLogits(5, 500)
	a := mustNew(t, Params{Temperature: 1, TopK: 40, Seed: 3})
	a.Sample(logits, nil)
	b := a.Clone()
	for i := range 20 {
		x, y := a.Sample(logits, nil), b.Sample(logits, nil)
		if x != y {
			t.Fatalf("draw %d: %d and %d", i, x, y)
		}
	}
	a.Sample(logits, nil) // must not move b
	c := b.Clone()
	if x, y := b.Sample(logits, nil), c.Sample(logits, nil); x != y {
		t.Fatalf("after a moved alone: %d and %d", x, y)
	}
}

func TestOneNumberPerDraw(t *testing.T) {
	// Different filters on the way, same stream afterwards.
	a := mustNew(t, Params{Temperature: 1, Seed: 5})
	b := a.Clone()
	a.Sample(randomLogits(1, 100), nil)
	b.Sample([]float32{1}, nil)
	logits := randomLogits(2, 100)
	if x, y := a.Sample(logits, nil), b.Sample(logits, nil); x != y {
		t.Fatalf("streams diverged: %d and %d", x, y)
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		p    Params
		want string // part of the message, "" for valid
	}{
		{Params{}, ""},
		{Params{Temperature: 1, TopK: 64, TopP: 0.95, MinP: 0.1, RepetitionPenalty: 1.1, PresencePenalty: -2, FrequencyPenalty: 2, PenaltyWindow: 64}, ""},
		{Params{Temperature: 1, TopP: 1}, ""},
		{Params{Temperature: -0.1}, "temperature -0.1"},
		{Params{Temperature: nan}, "temperature NaN"},
		{Params{Temperature: inf}, "temperature +Inf"},
		{Params{TopP: 1.01}, "top-p 1.01"},
		{Params{TopP: -0.5}, "top-p -0.5"},
		{Params{TopP: nan}, "top-p NaN"},
		{Params{MinP: 1.5}, "min-p 1.5"},
		{Params{TopK: -1}, "top-k -1"},
		{Params{RepetitionPenalty: -1}, "repetition penalty -1"},
		{Params{PresencePenalty: nan}, "presence penalty NaN"},
		{Params{FrequencyPenalty: inf}, "frequency penalty +Inf"},
		{Params{PenaltyWindow: -1}, "penalty window -1"},
	} {
		_, err := New(c.p)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: error %v, want %q", c.p, err, c.want)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	logits := randomLogits(1, 30000)
	history := []int32{1, 2, 3, 2}
	for _, p := range []Params{
		{}, {Temperature: 1}, {Temperature: 1, TopK: 64, TopP: 0.95},
		{Temperature: 1, TopP: 0.9}, {Temperature: 1, MinP: 0.1},
		{Temperature: 1, TopK: 64, RepetitionPenalty: 1.1, FrequencyPenalty: 0.5},
	} {
		s := mustNew(t, p)
		if n := testing.AllocsPerRun(5, func() { s.Sample(logits, history) }); n != 0 {
			t.Errorf("%+v: %v allocations", p, n)
		}
	}
}

func TestExp(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 200000 {
		x := -math.Pow(10, r.Float64()*6-3.2)
		got, want := exp(x), math.Exp(x)
		if x < -700 {
			want = 0
		}
		if math.Abs(got-want) > want*0x1p-51 {
			t.Fatalf("exp(%v) = %v, want %v", x, got, want)
		}
	}
	if exp(0) != 1 || exp(math.Inf(-1)) != 0 || exp(math.NaN()) != 0 || exp(-700) == 0 {
		t.Fatal("exp at its ends")
	}
}

func TestLogProb(t *testing.T) {
	logits := randomLogits(4, 3000)
	all := LogSoftmax(nil, logits)
	sum := 0.0
	for id, lp := range all {
		sum += math.Exp(lp)
		if lp != LogProb(logits, int32(id)) {
			t.Fatalf("id %d: %v and %v", id, lp, LogProb(logits, int32(id)))
		}
	}
	if math.Abs(sum-1) > 1e-12 {
		t.Errorf("probabilities sum to %v", sum)
	}
	if got, want := LogProb([]float32{1, 2, 3}, 1), 2-math.Log(math.E+math.Exp(2)+math.Exp(3)); math.Abs(got-want) > 1e-14 {
		t.Errorf("log-probability %v, want %v", got, want)
	}
	for _, c := range []struct {
		name   string
		logits []float32
		id     int32
		want   float64
	}{
		{"outside", []float32{1}, 1, math.Inf(-1)},
		{"negative id", []float32{1}, -1, math.Inf(-1)},
		{"masked", []float32{1, negInf}, 1, math.Inf(-1)},
		{"beside a mask", []float32{1, negInf}, 0, 0},
		{"nan", []float32{1, nan}, 1, math.Inf(-1)},
		{"all masked", []float32{negInf, negInf}, 0, math.Inf(-1)},
		{"two infinities", []float32{inf, 0, inf}, 2, -math.Ln2},
		{"finite beside infinity", []float32{inf, 0}, 1, math.Inf(-1)},
	} {
		if got := LogProb(c.logits, c.id); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	dst := make([]float64, 0, 5000)
	if n := testing.AllocsPerRun(3, func() { dst = LogSoftmax(dst, logits) }); n != 0 {
		t.Errorf("LogSoftmax allocates %v times with a large dst", n)
	}
}

func FuzzSample(f *testing.F) {
	f.Add(uint64(1), float32(1), 3, float32(0.9), float32(0), float32(1.1), []byte{1, 2, 255, 0})
	f.Fuzz(func(t *testing.T, seed uint64, temp float32, k int, topP, minP, rep float32, raw []byte) {
		s, err := New(Params{Temperature: temp, TopK: k, TopP: topP, MinP: minP, RepetitionPenalty: rep, Seed: seed})
		if err != nil {
			return
		}
		logits, history := make([]float32, len(raw)), make([]int32, 0, len(raw))
		for i, b := range raw {
			logits[i] = []float32{nan, inf, negInf, float32(b) - 128, float32(b) * 1e36}[min(int(b), 4)]
			history = append(history, int32(b))
		}
		id := s.Sample(logits, history)
		if id < -1 || int(id) >= len(logits) {
			t.Fatalf("id %d of %d", id, len(logits))
		}
		if id >= 0 && rep == 0 && !(logits[id] > negInf) {
			t.Fatalf("masked token %d chosen", id)
		}
		if id < 0 && rep == 0 && slices.ContainsFunc(logits, func(v float32) bool { return v > negInf }) {
			t.Fatal("nothing chosen though something could be")
		}
	})
}

func BenchmarkSample(b *testing.B) {
	logits := randomLogits(1, 262144)
	for _, c := range []struct {
		name string
		p    Params
	}{
		{"greedy", Params{}},
		{"default", Params{Temperature: 1, TopK: 64, TopP: 0.95}},
		{"penalties", Params{Temperature: 1, TopK: 64, TopP: 0.95, RepetitionPenalty: 1.1, PenaltyWindow: 64}},
		{"plain", Params{Temperature: 1}},
		{"top-p", Params{Temperature: 0.3, TopP: 0.95}},
	} {
		s := mustNew(b, c.p)
		history := make([]int32, 64)
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(4 * len(logits)))
			for b.Loop() {
				s.Sample(logits, history)
			}
		})
	}
}
