package plume

import (
	"fmt"
	"time"

	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/plan/flash"
)

// StorageOptions say how rows of a per-layer table are looked up on paper.
type StorageOptions struct {
	Storage []string      // profiles; nil: all built-in ones
	Users   []int         // sequences that need a row in the same step; nil: 1, 16, 256, 4096
	Compute time.Duration // what a step computes; 0: 25 ms
	Hide    time.Duration // of that, what passes before rows are used; 0: a 35th
	Steps   int           // steps looked at; 0: enough for a hundred, or 20,000 rows
	IDs     []int32       // tokens of a real text, taken in turn; nil: ids that do not repeat
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
	if o.Hide == 0 {
		o.Hide = o.Compute / 35
	}
	return o
}

// StorageOutcome is what looking rows up costs on one storage, in one way, for so many
// users.
type StorageOutcome struct {
	Storage string `json:"storage"`
	Users   int    `json:"users"`
	flash.Outcome
	Rate float64 `json:"rows_per_second"` // that the storage could keep up
}

// storageModes are the ways that make sense for a per-layer table: every user needs a row
// of their own, so there is nothing to sum.
var storageModes = []flash.Mode{flash.Host, flash.GatherStored, flash.GatherDecoded}

// ForecastStorage replays look-ups of a model's table on simulated storage: by the host,
// and by a device that gathers rows itself.
func ForecastStorage(spec ModelSpec, o StorageOptions) ([]StorageOutcome, error) {
	o = o.withDefaults()
	cat, cfg, err := spec.open()
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
	replay := flash.Replay{
		Table: flash.Table{Rows: cfg.PLEVocabSize, RowBytes: int(table.Bytes / int64(cfg.PLEVocabSize)), Values: cfg.RowValues()},
		Every: o.Compute, Hide: o.Hide, Depth: 32,
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
	n := o.Steps
	if n == 0 {
		n = max(3, min(100, 20000/users))
	}
	steps := o.steps(r.Table.Rows, users, n)
	var out []StorageOutcome
	for _, mode := range storageModes {
		r.Mode = mode
		x, err := r.Run(p, steps)
		if err != nil {
			return nil, err
		}
		out = append(out, StorageOutcome{p.Name, users, x, float64(users) / x.Mean * 1e6})
	}
	return out, nil
}

// steps are the ids of n steps.
func (o *StorageOptions) steps(rows, users, n int) []flash.Step {
	if o.IDs == nil {
		return flash.Distinct(rows, users, n)
	}
	steps, at := make([]flash.Step, n), 0
	for i := range steps {
		for range users {
			steps[i] = append(steps[i], o.IDs[at%len(o.IDs)])
			at++
		}
	}
	return steps
}
