package plume

import (
	"bytes"
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/plume-run/plume/internal/engine"
	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/ple"
)

// PLEStats say what the per-layer embedding table cost: how many rows were needed,
// where they came from, and what was waited for. All zero for a model without a table.
// Those of an answer are its own rows only, beside whatever else is computed; a read that
// brings rows of several is counted by one of them, and not what lies between them.
type PLEStats struct {
	Rows        int64         // rows needed, one per token computed
	CacheHits   int64         // rows found in memory
	RowsRead    int64         // rows that came from the table's place
	Reads       int64         // reads of the device that brought them; neighbours share one
	ReadBytes   int64         // bytes of those
	DeviceBytes int64         // the same, widened to the blocks that the device reads
	Errors      int64         // rows that could not be read
	Wait        time.Duration // time the computation stood still for rows
	WaitP50     time.Duration // of a step's wait: the median, zero where nothing was missing
	WaitP99     time.Duration // 99 of 100 steps waited no longer
	Overlap     float64       // part of the reads' time that was computed through, 0 to 1

	raw ple.Stats
}

// MarshalJSON writes durations as seconds.
func (p PLEStats) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Rows        int64   `json:"rows"`
		Hits        int64   `json:"cache_hits"`
		RowsRead    int64   `json:"rows_read"`
		Reads       int64   `json:"reads"`
		Bytes       int64   `json:"read_bytes"`
		DeviceBytes int64   `json:"device_bytes"`
		Errors      int64   `json:"errors"`
		Wait        float64 `json:"wait_seconds"`
		WaitP50     float64 `json:"wait_p50_seconds"`
		WaitP99     float64 `json:"wait_p99_seconds"`
		Overlap     float64 `json:"overlap"`
	}{p.Rows, p.CacheHits, p.RowsRead, p.Reads, p.ReadBytes, p.DeviceBytes, p.Errors,
		p.Wait.Seconds(), p.WaitP50.Seconds(), p.WaitP99.Seconds(), p.Overlap})
}

func pleStats(s ple.Stats) PLEStats {
	return PLEStats{
		Rows: s.Rows, RowsRead: s.RowsRead, Reads: s.Reads, ReadBytes: s.BytesRead, DeviceBytes: s.DeviceBytes,
		// A row that occurs twice in a prompt is looked up once; the second is
		// found as surely as one from the cache.
		CacheHits: s.CacheHits + s.Shared + s.Rows - s.Distinct,
		Errors:    s.Errors,
		Wait:      s.Wait, WaitP50: s.WaitTimes.Quantile(0.5), WaitP99: s.WaitTimes.Quantile(0.99),
		Overlap: s.Overlap(), raw: s,
	}
}

// answerPLE says what one answer has taken from the table. Time that a step has waited is
// that of every answer in it.
func answerPLE(r *engine.Result) PLEStats {
	c := r.PLE
	return PLEStats{
		Rows: c.Rows, CacheHits: c.Hits + c.Shared, RowsRead: c.Read, Reads: c.Reads, ReadBytes: c.Bytes, DeviceBytes: c.Device,
		Wait: c.Wait, WaitP50: r.PLEWaits.Quantile(0.5), WaitP99: r.PLEWaits.Quantile(0.99), Overlap: c.Overlap(),
	}
}

// minus returns what was counted since q.
func (p PLEStats) minus(q PLEStats) PLEStats { return pleStats(p.raw.Sub(q.raw)) }

// answerWeights says what reading weights has cost while an answer was computed.
func answerWeights(r *engine.Result) WeightStats {
	w := weightStats(r.Weights)
	if r.Generated > 1 {
		w.TokenBytes = r.Decoded / int64(r.Generated-1)
	}
	return w
}

func weightStats(w gemma.WeightStats) WeightStats {
	return WeightStats{
		ReadBytes: w.ReadBytes, Wait: w.Wait, Overlap: w.Overlap(), ExpertHits: w.ExpertHits, ExpertMisses: w.ExpertMisses,
	}
}

// WeightStats say what reading the weights has cost: once where they stay, for every
// token where they are streamed. Weights are read for all answers of a step together, so
// those of an answer are of the time it was computed in, whoever else was.
type WeightStats struct {
	ReadBytes    int64         // as stored
	TokenBytes   int64         // of an answer: those for each token behind the first
	Wait         time.Duration // time the computation stood still for weights
	Overlap      float64       // part of the reading that was computed through, 0 to 1
	ExpertHits   int64         // experts that a step needed and found in memory, where not all stay
	ExpertMisses int64         // and those that it had to wait for
}

// MarshalJSON writes Wait as seconds.
func (w WeightStats) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Bytes   int64   `json:"read_bytes"`
		Token   int64   `json:"bytes_per_token,omitempty"`
		Wait    float64 `json:"wait_seconds"`
		Overlap float64 `json:"overlap"`
		Hits    int64   `json:"expert_hits"`
		Misses  int64   `json:"expert_misses"`
	}{w.ReadBytes, w.TokenBytes, w.Wait.Seconds(), w.Overlap, w.ExpertHits, w.ExpertMisses})
}

// Stats is a live report of an open model.
type Stats struct {
	Memory  MemoryStats `json:"memory"`
	Place   string      `json:"ple_place,omitempty"` // see Model.PLEPlace
	PLE     PLEStats    `json:"ple"`                 // since Open
	Weights WeightStats `json:"weights"`             // since Open, the first reading included
	From    string      `json:"weights_from"`        // see Model.WeightsPlace
}

// MemoryStats say what memory is taken for.
type MemoryStats struct {
	Budget int64       `json:"budget"` // 0: nobody set one
	Used   int64       `json:"used"`   // accounted: the model and what is open on it now
	Left   int64       `json:"left"`   // of the budget, for more sessions; 0 without one
	Roles  []MemoryUse `json:"roles"`  // what Used is made of
	// What the system says of the whole process, 0 where it does not: memory now,
	// and the most so far. Page cache is not in them.
	Process     int64 `json:"process"`
	ProcessPeak int64 `json:"process_peak"`
}

// MemoryUse is the memory that one purpose takes.
type MemoryUse struct {
	Role  string `json:"role"`
	Bytes int64  `json:"bytes"`
}

// Stats reports what the model holds now and what its table has cost so far. It may
// be called at any time, also while sessions compute.
func (m *Model) Stats() Stats {
	return Stats{Memory: m.memoryStats(), Place: m.place, From: m.WeightsPlace(), PLE: m.PLEStats(), Weights: weightStats(m.gm.WeightStats())}
}

// processMemory returns what the system says the process holds and has held; zeros
// where it says nothing.
func processMemory() (now, peak int64) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, 0
	}
	return statusBytes(status, "VmRSS:"), statusBytes(status, "VmHWM:")
}

// statusBytes returns a size from /proc/self/status.
func statusBytes(status []byte, key string) int64 {
	for line := range bytes.Lines(status) {
		if f := strings.Fields(string(line)); len(f) == 3 && f[0] == key && f[2] == "kB" {
			if n, err := strconv.ParseInt(f[1], 10, 64); err == nil {
				return n << 10
			}
		}
	}
	return 0
}
