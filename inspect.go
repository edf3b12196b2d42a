package plume

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/gemma"
)

// Inspection says what a model file holds and where plume would keep it.
type Inspection struct {
	Path     string `json:"path"`
	Format   string `json:"format"` // "gguf" or "safetensors"
	Name     string `json:"name"`   // of the model's shape, "" when it is none of the published ones
	Layers   int    `json:"layers"`
	Hidden   int    `json:"hidden_size"`
	Vocab    int    `json:"vocab_size"`
	Context  int    `json:"max_context"`
	Window   int    `json:"sliding_window"`
	Template string `json:"chat_template"`    // "small" or "large"; "" without a vocabulary
	Tokens   int    `json:"tokenizer_tokens"` // 0 without a vocabulary

	Tensors    int   `json:"tensors"`
	Parameters int64 `json:"parameters"`
	Bytes      int64 `json:"bytes"` // of all tensors

	Roles []RoleUse  `json:"roles"` // what the tensors are for
	Types []TypeUse  `json:"types"` // how they are stored, most bytes first
	Tiers []TierUse  `json:"tiers"` // where their bytes will be
	PLE   *PLELayout `json:"ple,omitempty"`

	// Packed is the model's packed copy in the cache folder, if there is one.
	Packed *PackedCopy `json:"packed,omitempty"`

	Notes []string `json:"notes,omitempty"`
}

// Tier is a place where the bytes of a tensor end up.
type Tier string

// The tiers.
const (
	TierResident Tier = "resident" // loaded into memory
	TierDisk     Tier = "disk"     // stays in the file and is read row by row
	TierUnused   Tier = "unused"   // neither loaded nor read
)

// RoleUse sums the tensors of one role.
type RoleUse struct {
	Role       string `json:"role"`
	Tier       Tier   `json:"tier"`
	Tensors    int    `json:"tensors"`
	Parameters int64  `json:"parameters"`
	Bytes      int64  `json:"bytes"`
}

// TypeUse sums the tensors of one storage format.
type TypeUse struct {
	Type       string `json:"type"`
	Tensors    int    `json:"tensors"`
	Parameters int64  `json:"parameters"`
	Bytes      int64  `json:"bytes"`
}

// TierUse sums the tensors of one tier.
type TierUse struct {
	Tier  Tier  `json:"tier"`
	Bytes int64 `json:"bytes"`
}

// PLELayout describes the per-layer embedding table.
type PLELayout struct {
	Rows     int    `json:"rows"`
	Values   int    `json:"values_per_row"`
	RowBytes int64  `json:"row_bytes"` // what a token costs to look up
	Type     string `json:"type"`
}

// Inspect reads the headers of a model, and no weights.
func Inspect(path string) (*Inspection, error) {
	cat, err := openModel(path, 0)
	if err != nil {
		return nil, markUnsupported(err)
	}
	defer cat.Close()
	cfg, err := gemma.ReadConfig(cat)
	if err != nil {
		return nil, markConfig(err)
	}
	in := &Inspection{
		Path: path, Format: cat.Format(), Name: cfg.Name,
		Layers: cfg.NumLayers, Hidden: cfg.HiddenSize, Vocab: cfg.VocabSize,
		Context: cfg.MaxPositions, Window: cfg.SlidingWindow,
	}
	in.text(cat, cfg)
	in.tensors(cat, cfg)
	in.table(cat, cfg)
	in.Packed, err = FindPacked(path, "")
	if err != nil {
		in.Notes = append(in.Notes, err.Error())
	}
	if len(cfg.Unknown) > 0 {
		in.Notes = append(in.Notes, "unknown config keys: "+strings.Join(cfg.Unknown, ", "))
	}
	return in, nil
}

// text fills in the vocabulary; a broken one is a note, not a failure.
func (in *Inspection) text(cat *checkpoint.Catalog, cfg *gemma.Config) {
	text, err := readTokenizer(cat, cfg)
	if err != nil {
		in.Notes = append(in.Notes, err.Error())
		return
	}
	in.Tokens, in.Template = text.Len(), text.Template()
}

// tensors sums the file's tensors by role, type and tier.
func (in *Inspection) tensors(cat *checkpoint.Catalog, cfg *gemma.Config) {
	type key struct {
		role gemma.Role
		tier Tier
	}
	roles := map[key]*RoleUse{}
	types := map[string]*TypeUse{}
	tiers := map[Tier]int64{}
	used := usedTensors(cat, cfg)
	tensors := cat.Tensors()
	if o := cat.Outside(); o != nil {
		tensors = append(tensors, cat.Lookup(o.Name))
		in.Notes = append(in.Notes, "the per-layer embedding table is not here: running the model takes --ple URL")
	}
	for _, t := range tensors {
		role := gemma.Classify(t.Name)
		tier := TierUnused
		switch {
		case used[t] && role == gemma.RolePLETable:
			tier = TierDisk
		case used[t]:
			tier = TierResident
		}
		r := entry(roles, key{role, tier}, func() *RoleUse { return &RoleUse{Role: string(role), Tier: tier} })
		y := entry(types, t.TypeName, func() *TypeUse { return &TypeUse{Type: t.TypeName} })
		n := t.Values()
		r.Tensors, r.Parameters, r.Bytes = r.Tensors+1, r.Parameters+n, r.Bytes+t.Bytes
		y.Tensors, y.Parameters, y.Bytes = y.Tensors+1, y.Parameters+n, y.Bytes+t.Bytes
		tiers[tier] += t.Bytes
		in.Tensors, in.Parameters, in.Bytes = in.Tensors+1, in.Parameters+n, in.Bytes+t.Bytes
	}
	for _, role := range gemma.Roles() {
		for _, tier := range []Tier{TierResident, TierDisk, TierUnused} {
			if r := roles[key{role, tier}]; r != nil {
				in.Roles = append(in.Roles, *r)
			}
		}
	}
	for _, y := range slices.SortedFunc(maps.Values(types), func(a, b *TypeUse) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Type, b.Type))
	}) {
		in.Types = append(in.Types, *y)
	}
	for _, tier := range []Tier{TierResident, TierDisk, TierUnused} {
		in.Tiers = append(in.Tiers, TierUse{tier, tiers[tier]})
	}
}

// entry returns m[k], made by fresh when it is missing.
func entry[K comparable, V any](m map[K]*V, k K, fresh func() *V) *V {
	if m[k] == nil {
		m[k] = fresh()
	}
	return m[k]
}

// usedTensors lists the tensors that Open would load or read rows from. The
// keys and values of layers that share are not among them, nor is a copy of
// the tied output matrix.
func usedTensors(cat *checkpoint.Catalog, cfg *gemma.Config) map[*checkpoint.Tensor]bool {
	used := map[*checkpoint.Tensor]bool{}
	experts := false
	for _, spec := range cfg.Tensors() {
		if spec.Optional {
			continue
		}
		if t := gemma.Find(cat, spec); t != nil {
			used[t] = true
		} else if spec.Role == gemma.RoleExperts {
			experts = true // stored in parts
		}
	}
	if experts {
		for _, t := range cat.Tensors() {
			if gemma.Classify(t.Name) == gemma.RoleExperts {
				used[t] = true
			}
		}
	}
	return used
}

// table describes the per-layer embedding table, if there is one.
func (in *Inspection) table(cat *checkpoint.Catalog, cfg *gemma.Config) {
	if cfg.PLESize == 0 {
		return
	}
	t := gemma.Find(cat, cfg.Spec(gemma.KeyPLETable, -1))
	if t == nil {
		in.Notes = append(in.Notes, "the per-layer embedding table is missing")
		return
	}
	in.PLE = &PLELayout{
		Rows: cfg.PLEVocabSize, Values: cfg.RowValues(),
		RowBytes: t.Bytes / int64(max(cfg.PLEVocabSize, 1)), Type: t.TypeName,
	}
}

// TierBytes returns the bytes of one tier.
func (in *Inspection) TierBytes(tier Tier) int64 {
	for _, t := range in.Tiers {
		if t.Tier == tier {
			return t.Bytes
		}
	}
	return 0
}
