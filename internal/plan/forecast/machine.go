package forecast

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/plume-run/plume/internal/backend"
	"github.com/plume-run/plume/internal/plan/flash"
	"github.com/plume-run/plume/internal/quant"
)

// Machine is what a forecast must know of a computer. Rates are 10⁹ per second: bytes for
// memory, multiply-adds for arithmetic.
type Machine struct {
	Name  string `json:"name"`
	About string `json:"about"`

	// Level is the instructions that kernels were measured with, RAMFrom who says RAM; "": not
	// known.
	Level   string `json:"level,omitempty"`
	RAMFrom string `json:"ram_from,omitempty"`

	RAM     int64  `json:"ram_bytes"` // what the process may take
	VRAM    int64  `json:"vram_bytes,omitempty"`
	Threads []Rate `json:"threads"` // ascending; the last is what answers are forecast for

	// Vector is the rate, in bytes of weights, of a product with one row; Matrix the rate of
	// one with ManyRows or more. Both by type of weight, and by MatrixKey where that was
	// measured; what is missing has the rate of its type, or of "other".
	Vector map[string]float64 `json:"vector_gbps"`
	Matrix map[string]float64 `json:"matrix_gmacs"`

	// Few is Vector for products with few rows, ascending; without it a product takes the
	// longer of the times that its bytes and its multiply-adds need.
	Few []FewRows `json:"few_gbps,omitempty"`

	// AttendOne is the rate of attention of single queries, AttendMany of a prompt's, by
	// AttentionKey; a shape that is missing has that of "other".
	AttendOne  map[string]float64 `json:"attend_one_gmacs"`
	AttendMany map[string]float64 `json:"attend_many_gmacs"`

	// Pack is the rate, in bytes as they are stored, at which one thread lays weights out for
	// the kernels, by type; nil: not counted, as if there were a packed copy of the file.
	Pack map[string]float64 `json:"pack_gbps,omitempty"`

	// Stream is what reading weights beside computing costs; nil: not known, as if reading took
	// nothing but the storage's time and Pack.
	Stream *Streaming `json:"stream,omitempty"`

	Rows float64 `json:"rows_gelems"` // activations through norms, GELU, residuals
	// RowsOne is Rows for steps of one row; 0: the same.
	RowsOne float64 `json:"rows_one_gelems,omitempty"`

	Call float64 `json:"call_us"` // handing out one operation
	Step float64 `json:"step_us"` // a step beside its operations: sampling, laying out

	// Low and High are the 10th and the 90th percentile of the measurements that Vector is the
	// middle of, as shares of it; 0: not known.
	Low  float64 `json:"rate_low,omitempty"`
	High float64 `json:"rate_high,omitempty"`

	// Storage is a built-in profile of package flash, a file with one, or nothing where
	// Measured has the points of a depth curve to fit one to.
	Storage  string        `json:"storage,omitempty"`
	Measured []flash.Point `json:"storage_points,omitempty"`
	ReadRate float64       `json:"read_gbps"` // sequential

	IdleWatts float64 `json:"idle_watts"`
	BusyWatts float64 `json:"busy_watts"`
	Price     float64 `json:"price"` // purchase, in the currency of all prices

	// Sources says for every figure above where it is from, by its JSON name; a name may
	// stand for several, joined by commas.
	Sources map[string]string `json:"sources"`
}

// AttentionKey names attention by what its rate depends on: "f16 8/1x512" is 8 query heads on
// one K/V head of 512 values.
func AttentionKey(t quant.Type, a backend.Attention) string {
	return fmt.Sprintf("%s %d/%dx%d", TypeKey(t), a.Heads, a.KVHeads, a.HeadDim)
}

// Streaming is how weights that do not stay in memory come, laid out for the kernels: in 10⁹
// bytes as stored per second while nothing computes and beside products, which take Slow
// times as long meanwhile. Packed says that they were read from a packed copy, where nothing
// needs laying out: it holds for models that have one, and else for those that do not.
type Streaming struct {
	Read   float64 `json:"read_gbps"`
	Beside float64 `json:"beside_gbps"`
	Slow   float64 `json:"slow"`
	Packed bool    `json:"packed"`
}

// step is how long a step takes that computes for so long and reads n bytes meanwhile: as
// long as it reads it computes Slow times as long, and then one of both goes on alone.
func (s *Streaming) step(compute time.Duration, n int64) time.Duration {
	slowed := float64(compute) * s.Slow
	if beside := s.Beside * slowed; float64(n) > beside {
		return time.Duration(slowed + (float64(n)-beside)/s.Read)
	}
	reading := float64(n) / s.Beside
	return compute + time.Duration(reading*(1-1/s.Slow))
}

// FewRows is the rate of products with so many rows.
type FewRows struct {
	Rows int                `json:"rows"`
	Rate map[string]float64 `json:"gbps"` // as Vector
}

// ManyRows is from how many rows on a product's time grows with its multiply-adds alone.
const ManyRows = 128

// MostOut is up to how many outputs a matrix's rate may depend on them.
const MostOut = 16384

// MatrixKey names a matrix in Vector, Matrix and Few: "q4_0 6144x1536" has 6144 outputs.
func MatrixKey(m backend.MatrixSpec) string {
	return fmt.Sprintf("%s %dx%d", TypeKey(m.Type), min(m.Out, MostOut), m.In)
}

// TypeKey names a weight type in Vector and Matrix.
func TypeKey(t quant.Type) string { return strings.ToLower(t.String()) }

// Rate is what so many threads do together.
type Rate struct {
	Threads int     `json:"threads"`
	Stream  float64 `json:"stream_gbps"` // plain reading of memory
	Int8    float64 `json:"int8_gmacs"`  // on registers alone
	F32     float64 `json:"f32_gmacs"`
}

//go:embed machines/*.json
var machineFiles embed.FS

// Names lists the built-in machines.
func Names() []string { return flash.ProfileNames(machineFiles, "machines") }

// Load returns the built-in machine of that name, or reads the file of that name.
func Load(nameOrFile string) (*Machine, error) {
	data, err := flash.ReadProfile(machineFiles, "machines", nameOrFile)
	if err != nil {
		return nil, fmt.Errorf("hardware profile: %w", err)
	}
	m, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("read hardware profile %s: %w", nameOrFile, err)
	}
	return m, nil
}

// Parse reads a machine from JSON and checks it.
func Parse(data []byte) (*Machine, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	m := &Machine{}
	if err := dec.Decode(m); err != nil {
		return nil, err
	}
	return m, m.Validate()
}

// rateMaps are all rates by name.
func (m *Machine) rateMaps() map[string]map[string]float64 {
	all := map[string]map[string]float64{
		"vector_gbps": m.Vector, "matrix_gmacs": m.Matrix, "attend_one_gmacs": m.AttendOne, "attend_many_gmacs": m.AttendMany,
	}
	if m.Pack != nil {
		all["pack_gbps"] = m.Pack
	}
	for i := range m.Few {
		all[fmt.Sprintf("few_gbps[%d]", i)] = m.Few[i].Rate
	}
	return all
}

// Validate refuses figures that no machine can have.
func (m *Machine) Validate() error {
	if len(m.Threads) == 0 || len(m.Threads) > 1024 {
		return fmt.Errorf("threads has %d entries, want 1 to 1024", len(m.Threads))
	}
	for i, r := range m.Threads {
		if r.Threads < 1 || r.Threads > 1<<16 || i > 0 && r.Threads <= m.Threads[i-1].Threads {
			return fmt.Errorf("threads[%d] has %d threads, want more than the entry before", i, r.Threads)
		}
		if err := positive("stream_gbps", r.Stream); err != nil {
			return fmt.Errorf("threads[%d]: %w", i, err)
		}
	}
	if m.RAM < 0 || m.VRAM < 0 {
		return fmt.Errorf("ram_bytes %d, vram_bytes %d, want 0 or more", m.RAM, m.VRAM)
	}
	if err := m.validateRates(); err != nil {
		return err
	}
	for _, c := range []struct {
		name string
		x    float64
	}{{"rows_one_gelems", m.RowsOne}, {"call_us", m.Call}, {"step_us", m.Step}, {"rate_low", m.Low}, {"rate_high", m.High}, {"idle_watts", m.IdleWatts}, {"busy_watts", m.BusyWatts}, {"price", m.Price}} {
		if !(c.x >= 0 && c.x <= 1e9) {
			return fmt.Errorf("%s is %g, want 0 to 1e9", c.name, c.x)
		}
	}
	return nil
}

// validateRates refuses rates that none can be.
func (m *Machine) validateRates() error {
	for i, f := range m.Few {
		if f.Rows < 2 || f.Rows >= ManyRows || i > 0 && f.Rows <= m.Few[i-1].Rows {
			return fmt.Errorf("few_gbps[%d] is of %d rows, want 2 to %d, more than the entry before", i, f.Rows, ManyRows-1)
		}
	}
	for name, rates := range m.rateMaps() {
		if _, ok := rates["other"]; !ok {
			return fmt.Errorf("%s has no entry \"other\"", name)
		}
		for typ, x := range rates {
			if err := positive(name+"."+typ, x); err != nil {
				return err
			}
		}
	}
	if s := m.Stream; s != nil {
		if err := errors.Join(positive("stream.read_gbps", s.Read), positive("stream.beside_gbps", s.Beside)); err != nil {
			return err
		}
		if !(s.Slow >= 1 && s.Slow <= 1e6) {
			return fmt.Errorf("stream.slow is %g, want 1 to 1e6", s.Slow)
		}
	}
	if err := positive("rows_gelems", m.Rows); err != nil {
		return err
	}
	return positive("read_gbps", m.ReadRate)
}

func positive(name string, x float64) error {
	if !(x >= 1e-6 && x <= 1e9) { // NaN too
		return fmt.Errorf("%s is %g, want 1e-6 to 1e9", name, x)
	}
	return nil
}

// Unsourced lists the figures that Sources says nothing about.
func (m *Machine) Unsourced() []string { return flash.Unsourced(m, m.Sources) }

// Best is the rate of the most threads.
func (m *Machine) Best() Rate { return m.Threads[len(m.Threads)-1] }

// rate is that of the first key that there is, or of "other".
func rate(rates map[string]float64, keys ...string) float64 {
	for _, key := range keys {
		if x, ok := rates[key]; ok {
			return x
		}
	}
	return rates["other"]
}

// Device is the model of the machine's storage.
func (m *Machine) Device() (*flash.Profile, error) {
	if len(m.Measured) > 0 {
		base, err := flash.Load("nvme")
		if err != nil {
			return nil, err
		}
		p, _, err := flash.Calibrate(base, m.Measured)
		return p, err
	}
	if m.Storage == "" {
		return nil, fmt.Errorf("forecast storage of %s: its profile names none", m.Name)
	}
	return flash.Load(m.Storage)
}
