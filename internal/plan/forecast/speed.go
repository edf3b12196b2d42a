package forecast

import (
	"fmt"
	"time"

	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/plan/flash"
	"github.com/plume-run/plume/internal/ple"
	"github.com/plume-run/plume/internal/quant"
)

// Model is what a forecast must know of a model: its weights as a plan has weighed them,
// the device that holds them, and what of them is read anew for each step.
type Model struct {
	Weights *gemma.Weights
	Sizer   backend.Sizer
	KVType  quant.Type

	Stored int64 // bytes in the file of all that a start reads: weights, and the table where Held
	Chunk  int   // prompt tokens of a step
	Packed bool  // what is read lies as the kernels want it

	Held    bool    // the per-layer table is in memory: its rows are not waited for
	RowHits float64 // share of rows that need not be read, being in the cache: 0 to 1

	// Streamed is the bytes of weights that a step over so many tokens reads from storage,
	// those that are known before and experts that a layer has just chosen; nil when all
	// weights are held.
	Streamed func(tokens int) (ahead, chosen int64)
}

// Time is what a step takes, by what it does.
type Time struct {
	Products, FFN, Head, Experts, Attention, Rows, Calls time.Duration
}

// Total is the sum.
func (t Time) Total() time.Duration {
	return t.Products + t.FFN + t.Head + t.Experts + t.Attention + t.Rows + t.Calls
}

func (t *Time) add(u Time) {
	t.Products, t.FFN, t.Head, t.Experts = t.Products+u.Products, t.FFN+u.FFN, t.Head+u.Head, t.Experts+u.Experts
	t.Attention, t.Rows, t.Calls = t.Attention+u.Attention, t.Rows+u.Rows, t.Calls+u.Calls
}

// Compute is what a step of the model takes on the machine while nothing is waited for.
func (m *Machine) Compute(mod *Model, work gemma.StepWork) Time {
	t := m.time(mod.Weights.Ops(mod.Sizer, work))
	t.Calls += m.layOut() + time.Duration(work.Sequences*work.Wanted)*(micros(m.Step)-m.layOut())
	return t
}

// Hide is how long a step computes before it needs its rows of the per-layer table.
func (m *Machine) Hide(mod *Model, work gemma.StepWork) time.Duration {
	return m.layOut() + m.time(mod.Weights.OpsBeforeRows(mod.Sizer, work)).Total()
}

// layOut is the part of Step that passes before a step's first operation: half of it. The other
// half is sampling, once for each row of logits.
func (m *Machine) layOut() time.Duration { return micros(m.Step) / 2 }

// time is what operations take.
func (m *Machine) time(ops []gemma.Op) (t Time) {
	for i := range ops {
		op := &ops[i]
		t.Calls += micros(op.Calls * m.Call)
		if op.Kind == gemma.OpAttention {
			macs := m.AttendMany
			if op.Rows == 1 {
				macs = m.AttendOne
			}
			t.Attention += max(seconds(float64(op.Bytes), m.Best().Stream), seconds(float64(op.MACs), rate(macs, AttentionKey(op.Type, op.Attention))))
			continue
		}
		switch need := m.product(op); op.Kind {
		case gemma.OpFFN:
			t.FFN += need
		case gemma.OpHead:
			t.Head += need
		case gemma.OpExperts:
			t.Experts += need
		default:
			t.Products += need
		}
		rows := m.Rows
		if op.Rows == 1 && m.RowsOne > 0 {
			rows = m.RowsOne
		}
		t.Rows += seconds(float64(op.Elems), rows)
	}
	return t
}

// product is what products of one shape take: for a number of rows between those that were
// measured what lies between in time as well, from ManyRows on by their multiply-adds, and
// the longer of both where few rows were not measured.
func (m *Machine) product(op *gemma.Op) time.Duration {
	keys := []string{MatrixKey(backend.MatrixSpec{Type: op.Type, Out: op.Out, In: op.In}), TypeKey(op.Type)}
	bytes, macs := float64(op.Bytes), float64(op.MACs)
	one, all := seconds(bytes, rate(m.Vector, keys...)), seconds(macs, rate(m.Matrix, keys...))
	if op.Rows == 1 {
		return one
	}
	if op.Rows >= ManyRows || len(m.Few) == 0 {
		return max(one, all)
	}
	low, lowTime := 1, one
	high, highTime := ManyRows, max(one, all*ManyRows/time.Duration(op.Rows))
	for _, f := range m.Few {
		need := seconds(bytes, rate(f.Rate, keys...))
		if f.Rows <= op.Rows {
			low, lowTime = f.Rows, need
		} else if f.Rows < high {
			high, highTime = f.Rows, need
		}
	}
	return lowTime + (highTime-lowTime)*time.Duration(op.Rows-low)/time.Duration(high-low)
}

// seconds is how long n take at giga·10⁹ per second.
func seconds(n, giga float64) time.Duration { return time.Duration(n / giga) }

func micros(us float64) time.Duration { return time.Duration(us * 1000) }

// Speed is a forecast of one kind of step.
type Speed struct {
	Compute Time          `json:"-"`
	Stream  time.Duration `json:"-"` // reading weights from storage, per step
	Wait    time.Duration `json:"-"` // standing still for rows of the table, per step
	Step    time.Duration `json:"-"`
	Rate    float64       `json:"tokens_per_second"`
	Rows    flash.Outcome `json:"table"`

	// Low and High bound Rate while the machine's rates are between their 10th and their 90th
	// percentile; both are Rate where those are not known.
	Low  float64 `json:"tokens_per_second_low"`
	High float64 `json:"tokens_per_second_high"`
}

// manyTokens is from how many tokens on a layer's experts are computed while others of them
// are still being read.
const manyTokens = 16

// tableSteps is how many decode steps are simulated to see how long they wait.
const tableSteps = 200

// rowPart is how much of a row a step reads on average: all of it for tokens whose logits are
// wanted, the beginning for the others.
func rowPart(w *gemma.Weights, work gemma.StepWork) int {
	whole := float64(work.Wanted) / float64(work.Rows)
	return int(whole*float64(w.PLERow) + (1-whole)*float64(w.PLEPart))
}

// misses names the rows of a step that are not in the cache, where the share of those that are
// is hits: every so many-th row of all steps one after the other. nil: all of them.
func misses(hits float64) func([]int32) ([]int32, error) {
	if hits == 0 {
		return nil
	}
	due := 0.5
	return func(rows []int32) ([]int32, error) {
		var out []int32
		for _, id := range rows {
			if due += 1 - hits; due >= 1 {
				due--
				out = append(out, id)
			}
		}
		return out, nil
	}
}

// Decode forecasts one token for each of so many sequences, after position others.
// Rows of the table are those of tokens that do not repeat, the worst case, but for the
// model's RowHits.
func (m *Machine) Decode(mod *Model, store *flash.Profile, sequences, position int) (Speed, error) {
	return m.between(func(m *Machine) (Speed, error) {
		return m.step(mod, store, gemma.StepWork{Sequences: sequences, Rows: 1, Wanted: 1, Position: position, KVType: mod.KVType}, tableSteps)
	})
}

// between is a forecast on m, with those of m at its slowest and at its fastest as bounds.
func (m *Machine) between(forecast func(*Machine) (Speed, error)) (Speed, error) {
	s, err := forecast(m)
	s.Low, s.High = s.Rate, s.Rate
	for _, b := range []struct {
		share float64
		dst   *float64
	}{{m.Low, &s.Low}, {m.High, &s.High}} {
		if b.share == 0 || err != nil {
			continue
		}
		var bound Speed
		bound, err = forecast(m.scaled(b.share))
		*b.dst = bound.Rate
	}
	return s, err
}

// step forecasts steps of some work: what they compute, and the storage's part, weights
// that are streamed meanwhile and rows that are not there in time.
func (m *Machine) step(mod *Model, store *flash.Profile, work gemma.StepWork, steps int) (Speed, error) {
	s := Speed{Compute: m.Compute(mod, work)}
	tokens, compute := work.Sequences*work.Rows, s.Compute.Total()
	s.Step = compute
	if mod.Streamed != nil {
		ahead, chosen := mod.Streamed(tokens)
		if tokens >= manyTokens { // other experts are computed meanwhile
			ahead, chosen = ahead+chosen, 0
		}
		s.Stream = seconds(float64(ahead+chosen), m.ReadRate)
		s.Step = m.beside(mod, compute, ahead) + m.beside(mod, 0, chosen)
	}
	if n := mod.Weights.PLERows; n > 0 && store != nil && !mod.Held {
		r := flash.Replay{
			Table: flash.Table{Rows: n, RowBytes: int(mod.Weights.PLERow), Values: mod.Weights.PLEValues(), Part: rowPart(mod.Weights, work)},
			Every: s.Step, Hide: m.Hide(mod, work), Depth: ple.Depth, Miss: misses(mod.RowHits),
		}
		out, err := r.Run(store, flash.Distinct(n, tokens, steps))
		if err != nil {
			return s, fmt.Errorf("forecast the table's rows: %w", err)
		}
		s.Rows, s.Wait = out, micros(out.Wait)
		s.Step += s.Wait
	}
	s.Rate = float64(tokens) / s.Step.Seconds()
	return s, nil
}

// beside is how long it takes to compute something and to read n bytes of weights meanwhile.
func (m *Machine) beside(mod *Model, compute time.Duration, n int64) time.Duration {
	if m.Stream != nil && m.Stream.Packed == mod.Packed {
		return m.Stream.step(compute, n)
	}
	return max(compute+m.packing(mod, n), seconds(float64(n), m.ReadRate))
}

// packing is how long all threads take to lay out n bytes of stored weights, which have types
// in the shares that a step computes with.
func (m *Machine) packing(mod *Model, n int64) time.Duration {
	if m.Pack == nil || mod.Packed || n == 0 {
		return 0
	}
	var bytes, ns float64
	ops := mod.Weights.Ops(mod.Sizer, gemma.StepWork{Sequences: 1, Rows: 1, Wanted: 1, KVType: mod.KVType})
	for i := range ops {
		if op := &ops[i]; op.Kind != gemma.OpAttention {
			bytes, ns = bytes+float64(op.Bytes), ns+float64(op.Bytes)/rate(m.Pack, TypeKey(op.Type))
		}
	}
	return time.Duration(float64(n) * ns / bytes / float64(m.Best().Threads))
}

// Prefill forecasts a prompt of so many tokens from an empty cache up to the logits of its
// last one.
func (m *Machine) Prefill(mod *Model, store *flash.Profile, tokens int) (Speed, error) {
	if tokens < 1 {
		return Speed{}, fmt.Errorf("forecast prefill: %d tokens", tokens)
	}
	return m.between(func(m *Machine) (Speed, error) { return m.prefill(mod, store, tokens) })
}

func (m *Machine) prefill(mod *Model, store *flash.Profile, tokens int) (Speed, error) {
	var all Speed
	for at := 0; at < tokens; at += mod.Chunk {
		n := min(mod.Chunk, tokens-at)
		wanted := 0
		if at+n == tokens {
			wanted = 1
		}
		s, err := m.step(mod, store, gemma.StepWork{Sequences: 1, Rows: n, Wanted: wanted, Position: at, KVType: mod.KVType}, 1)
		if err != nil {
			return Speed{}, err
		}
		all.Compute.add(s.Compute)
		all.Stream, all.Wait, all.Step = all.Stream+s.Stream, all.Wait+s.Wait, all.Step+s.Step
		all.Rows = s.Rows
	}
	all.Rate = float64(tokens) / all.Step.Seconds()
	return all, nil
}

// FirstToken is the time to the first token of a prompt: warm with the weights in
// memory, cold with all of them on storage, from where they arrive in order of use while
// the prompt is computed.
func (m *Machine) FirstToken(mod *Model, store *flash.Profile, tokens int) (warm, cold time.Duration, err error) {
	s, err := m.Prefill(mod, store, tokens)
	if err != nil {
		return 0, 0, err
	}
	load, busy := seconds(float64(mod.Stored), m.ReadRate), s.Step+m.packing(mod, mod.Stored)
	return s.Step, max(busy, load) + min(busy, load)/time.Duration(mod.Weights.Layers()), nil
}
