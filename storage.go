package plume

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/plan/flash"
	"github.com/plume-run/plume/internal/ple"
	"github.com/plume-run/plume/internal/quant"
)

// StorageOptions say how rows of a per-layer table are looked up on paper.
type StorageOptions struct {
	Storage []string      // profiles; nil: all built-in ones
	Users   []int         // sequences that need a row in the same step; nil: 1, 16, 256, 4096
	Compute time.Duration // what a step computes; 0: 25 ms
	Hide    time.Duration // of that, what passes before rows are used; 0: its share of the weights' bytes
	Depth   int           // most reads that the host keeps under way; 0: as many as the storage takes
	Steps   int           // steps looked at; 0: those of IDs, else enough for a hundred, or 20,000 rows

	// IDs are the tokens of a real text. Every user goes on from a place of their own in it,
	// all as far from each other as can be; nil: ids that do not repeat.
	IDs []int32
	// Cache is the bytes of rows that the host keeps, by the same policy as [Open]'s row
	// cache, empty at first; 0: 2 MiB, negative: none.
	Cache int64
}

func (o StorageOptions) withDefaults() StorageOptions {
	if o.Storage == nil {
		o.Storage = flash.Names()
	}
	if o.Users == nil {
		o.Users = []int{1, 16, 256, 4096}
	}
	if o.Compute == 0 {
		o.Compute = 25 * time.Millisecond
	}
	if o.Cache == 0 {
		o.Cache = pleCacheBytes
	}
	return o
}

// hideShare is the part of a decode step that passes before rows of the table are used, by the
// bytes of the weights that it reads: a step with one row takes as long as these.
func hideShare(cat *checkpoint.Catalog, cfg *gemma.Config) (float64, error) {
	sizer := newSizer(Options{Threads: 1})
	w, err := gemma.Weigh(cat, cfg, sizer)
	if err != nil {
		return 0, markUnsupported(err)
	}
	step := gemma.StepWork{Sequences: 1, Rows: 1, Wanted: 1, KVType: quant.F16}
	bytes := func(ops []gemma.Op) (sum float64) {
		for i := range ops {
			sum += float64(ops[i].Bytes)
		}
		return sum
	}
	return bytes(w.OpsBeforeRows(sizer, step)) / bytes(w.Ops(sizer, step)), nil
}

// StorageOutcome is what looking rows up costs on one storage, in one way, for so many
// users.
type StorageOutcome struct {
	Storage string `json:"storage"`
	Users   int    `json:"users"`
	flash.Outcome
	Hide float64 `json:"hidden_us"`       // of a step's time for its rows, at most
	Rate float64 `json:"rows_per_second"` // tokens' worth that the storage could keep up; 0: it is asked for nothing
	// WaitsFrom is how many tokens per second all users together must compute for their steps
	// to wait, steps of more users being longer in proportion: rows come at Rate, and what is
	// computed meanwhile is as much as before their first use of a step.
	WaitsFrom float64 `json:"waits_from_tokens_per_second"`
}

// The ways of looking up rows, as StorageOutcome.Mode has them.
var (
	ModeHost   = flash.Host.String()
	ModeGather = flash.GatherStored.String()  // by the device, as they are stored
	ModeDecode = flash.GatherDecoded.String() // by the device, as 16-bit floats
)

// storageModes are the ways that make sense for a per-layer table: every user needs a row
// of their own, so there is nothing to sum.
var storageModes = []flash.Mode{flash.Host, flash.GatherStored, flash.GatherDecoded}

// ForecastStorage replays look-ups of a model's table on simulated storage: by the host,
// and by a device that gathers rows itself.
func ForecastStorage(spec ModelSpec, o StorageOptions) ([]StorageOutcome, error) {
	o = o.withDefaults()
	if o.Depth < 0 || o.Hide < 0 || o.Compute < 0 {
		return nil, requestError{fmt.Errorf("forecast storage: depth %d, steps of %v that hide %v, want 0 or more", o.Depth, o.Compute, o.Hide)}
	}
	cat, cfg, err := spec.open(0)
	if err != nil {
		return nil, err
	}
	defer cat.Close()
	if cfg.PLESize == 0 {
		return nil, requestError{fmt.Errorf("forecast storage: %s has no per-layer table", cat.Path())}
	}
	table := gemma.Find(cat, cfg.Spec(gemma.KeyPLETable, -1))
	if table == nil {
		return nil, requestError{fmt.Errorf("forecast storage: %s: no per-layer table found", cat.Path())}
	}
	if o.Hide == 0 {
		share, err := hideShare(cat, cfg)
		if err != nil {
			return nil, err
		}
		o.Hide = time.Duration(share * float64(o.Compute))
	}
	replay := flash.Replay{
		Table: flash.Table{Rows: cfg.PLEVocabSize, RowBytes: int(table.Bytes / int64(cfg.PLEVocabSize)), Values: cfg.RowValues()},
		Every: o.Compute, Hide: o.Hide, Depth: o.Depth,
	}
	var out []StorageOutcome
	for _, name := range o.Storage {
		p, err := flash.Load(name)
		if err != nil {
			return nil, requestError{err}
		}
		for _, users := range o.Users {
			if users < 1 || users > 1<<16 {
				return nil, requestError{fmt.Errorf("forecast storage: %d users, want 1 to %d", users, 1<<16)}
			}
			list, err := o.replay(p, replay, users)
			if err != nil {
				return nil, requestError{fmt.Errorf("forecast storage %s: %w", p.Name, err)}
			}
			out = append(out, list...)
		}
	}
	return out, nil
}

// replay runs one number of users in every mode.
func (o *StorageOptions) replay(p *flash.Profile, r flash.Replay, users int) ([]StorageOutcome, error) {
	steps := o.steps(r.Table.Rows, users)
	var out []StorageOutcome
	for _, mode := range storageModes {
		front, err := openFront(r.Table, o.Cache)
		if err != nil {
			return nil, err
		}
		r.Mode, r.Miss = mode, front.miss
		x, err := r.Run(p, steps)
		if err = errors.Join(err, front.table.Close()); err != nil {
			return nil, err
		}
		one := StorageOutcome{Storage: p.Name, Users: users, Outcome: x, Hide: float64(r.Hide.Nanoseconds()) / 1000}
		if x.Mean > 0 {
			one.Rate = float64(users) / x.Mean * 1e6
			one.WaitsFrom = one.Rate * r.Hide.Seconds() / r.Every.Seconds()
		}
		out = append(out, one)
	}
	return out, nil
}

// front is the row cache that a table has in front of its storage, with rows of a few bytes in
// place of the real ones: the same code decides what stays.
type front struct {
	table *ple.Table
	read  tally
}

// frontRow is the bytes of a stand-in for a row.
const frontRow = 8

func openFront(t flash.Table, cacheBytes int64) (*front, error) {
	kept := int64(-1)
	if rows := cacheBytes / int64(t.RowBytes); rows > 0 {
		kept = rows * frontRow
	}
	f := &front{}
	var err error
	f.table, err = ple.Open(&f.read, t.Rows, frontRow, ple.Options{CacheBytes: kept, Workers: 1, MaxReadBytes: -1})
	return f, err
}

// miss implements flash.Replay.Miss.
func (f *front) miss(rows []int32) ([]int32, error) {
	f.read.rows = nil
	fetch := f.table.Fetch(rows)
	defer fetch.Release()
	if err := fetch.Wait(context.Background()); err != nil {
		return nil, err
	}
	return f.read.rows, nil
}

// tally notes which rows are read. Its table reads in one goroutine, and waits.
type tally struct{ rows []int32 }

// ReadAt implements io.ReaderAt.
func (t *tally) ReadAt(p []byte, off int64) (int, error) {
	t.rows = append(t.rows, int32(off/frontRow))
	return len(p), nil
}

// Steps that are looked at unless the options say.
const (
	fewestSteps = 3
	mostSteps   = 100     // with ids that do not repeat
	mostRows    = 20_000  // in these
	mostTextIDs = 400_000 // of a text
)

// steps are the ids of all steps.
func (o *StorageOptions) steps(rows, users int) []flash.Step {
	n := o.Steps
	if o.IDs == nil {
		if n == 0 {
			n = max(fewestSteps, min(mostSteps, mostRows/users))
		}
		return flash.Distinct(rows, users, n)
	}
	if n == 0 {
		n = max(fewestSteps, min(len(o.IDs), mostTextIDs)/users)
	}
	steps := make([]flash.Step, n)
	for i := range steps {
		for u := range users {
			at := u*len(o.IDs)/users + i
			steps[i] = append(steps[i], o.IDs[at%len(o.IDs)])
		}
	}
	return steps
}
