package plume

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/plume-run/plume/internal/backend/cpu"
	"github.com/plume-run/plume/internal/sample"
)

// Backends are the names that Options.Backend takes.
func Backends() []string { return []string{"cpu", "ref"} }

// KVTypes are the names that Options.KVType takes.
func KVTypes() []string { return []string{"f16", "f32", "int8", "auto"} }

// Options say how a model is opened. The zero value asks for the defaults.
type Options struct {
	// Backend does the arithmetic: "cpu" (the default: threads, weights used in
	// their quantised form) or "ref" (plain float32, slow, the measure of right).
	Backend string
	// Threads of the cpu backend; 0: one for each physical core that the process
	// may use. The number never changes a result.
	Threads int
	// KVType is the number format of the KV cache: "f16" (the default), "f32", or
	// "int8" with a scale per head and position. "auto" is f16, or int8 where the
	// memory budget asks for it. The ref backend keeps float32.
	KVType string
	// PLE is where the rows of the per-layer table come from: "disk" (reads through
	// the page cache), "direct" (reads past it), "mmap", "ram" (the whole table, read
	// once), or the http or https URL of a copy of the model's file, which is asked for
	// ranges of bytes: samples are compared with the table here, or, of a model whose table
	// was split off and is not here, with what its file tells of it; then the URL is that of
	// the part with the table. "auto", the default, measures the storage for a moment and
	// chooses; Model.PLEPlace tells what and why. Results are the same everywhere.
	PLE string
	// PLEHeader goes with every request to a URL in PLE: the place for Authorization.
	PLEHeader map[string][]string
	// PLEETag, when set, is the version (its ETag) that the server at a URL in PLE must have.
	// Without it the version found first must stay.
	PLEETag string
	// PLETimeout is how long one read of the table may take before its rows, and the answers
	// that need them, fail, and how long nothing at all may arrive of weights; 0: 30 s, enough
	// for a disk that must spin up.
	PLETimeout time.Duration
	// PLEEmulate, when set, makes reads of the table take as long as on the storage of that
	// profile: one of StorageNames, or a file. Results are the same.
	PLEEmulate string
	// PLEWorkers is how many reads of the per-layer table are under way at once; 0: 32
	// where they need no thread each (direct reads with io_uring, HTTP), else 16.
	PLEWorkers int
	// PLECacheBytes bounds the memory for rows that may be needed again; 0: a
	// small default; negative: none.
	PLECacheBytes int64

	// RAM is the memory in bytes that the whole process may take. Open plans for it
	// before it loads anything: what the other options leave to a default (Chunk,
	// PLECacheBytes, KVType "auto", Context) shrinks in this order until it fits, or
	// Open fails with ErrMemory, naming the smallest budget that works. 0: PLUME_RAM
	// from the environment, else the memory cgroup's limit or the free memory, less a
	// margin; negative: no budget.
	RAM int64
	// Context is how many tokens of a session to plan for, and what SessionOptions.Context
	// means by 0. 0: the model's limit, at most 4096, and less where memory is short.
	Context int
	// Chunk is how many prompt tokens a step takes, and what SessionOptions.Chunk means
	// by 0. 0: 256, and less where memory is short. It never changes a result.
	Chunk int
	// Formats plans for requests with a Format or Tools: 22 MiB with Gemma's vocabulary, 12
	// for that, prepared, 8 for masks and 2 for grammars. Without it the first such request
	// takes what the budget has left, where weights are streamed: nothing. It comes before
	// the sizes that shrink to fit, but has no effect where it would leave a context of less
	// than 2048 tokens, or of nothing: see MemoryPlan.NoFormats.
	Formats bool
	// Stream says which weights do not stay in memory but are read from the file for every
	// token, with the same results. nil: all stay where the budget has room for
	// them beside 2048 tokens of context, and otherwise as many as there is room for.
	Stream *Stream
	// Background lets Open return before the weights have been read: they arrive in
	// order of use while the first prompt is computed already, which waits for what it
	// needs. An error of reading is then one of the first answer, and of Model.Ready.
	Background bool
	// LimitGo sets the memory limit of Go's runtime (debug.SetMemoryLimit) to the
	// plan's share, for programs that do nothing else; a budget is kept only with it,
	// or with a limit of the caller's own that is no larger than MemoryPlan.GoHeap.
	LimitGo bool

	// Packed is where a packed copy of the weights is, see Pack: PackedAuto (the default:
	// PackedPath, if there is one), PackedOff, or a file. A copy that is damaged, or of
	// another model, or older than the model, is not used, and Note is told so. Results
	// are the same.
	Packed string

	// Note, when set, is told in a sentence what a user should know and what is no error.
	// It may be called by any goroutine until Close has returned.
	Note func(text string)

	// Progress, when set, is told how many bytes of the weights have been loaded,
	// one call at a time, from several goroutines.
	Progress func(done, total int64)
}

// Stream says how much of the weights is read for every token. The zero value: nothing.
type Stream struct {
	Bytes   int64 // of the weights in memory, experts aside; more than there are: all
	Experts int   // of a mixture model, hold only so many experts at once; 0: all of them
}

func (o Options) withDefaults() Options {
	if o.Backend == "" {
		o.Backend = "cpu"
	}
	if o.Threads == 0 {
		o.Threads = cpu.DefaultThreads()
	}
	if o.PLE == "" {
		o.PLE = "auto"
	}
	if o.KVType == "" {
		o.KVType = "f16"
	}
	if o.Packed == "" {
		o.Packed = PackedAuto
	}
	return o
}

func (o Options) validate() error {
	if !slices.Contains(Backends(), o.Backend) {
		return requestError{fmt.Errorf("backend %q, want %s", o.Backend, strings.Join(Backends(), " or "))}
	}
	if !slices.Contains(KVTypes(), o.KVType) {
		return requestError{fmt.Errorf("kv type %q, want %s", o.KVType, strings.Join(KVTypes(), ", "))}
	}
	if o.Threads < 1 || o.Threads > 1024 {
		return requestError{fmt.Errorf("threads %d, want 1 to 1024", o.Threads)}
	}
	if err := o.validatePLE(); err != nil {
		return err
	}
	if o.PLEWorkers < 0 || o.PLEWorkers > 1024 {
		return requestError{fmt.Errorf("ple workers %d, want 0 to 1024", o.PLEWorkers)}
	}
	if s := o.Stream; s != nil && (s.Bytes < 0 || s.Experts < 0) {
		return requestError{fmt.Errorf("stream %d bytes, hold %d experts, want 0 or more", s.Bytes, s.Experts)}
	}
	if o.Context < 0 || o.Chunk < 0 {
		return requestError{fmt.Errorf("context %d, chunk %d, want 0 or more", o.Context, o.Chunk)}
	}
	return nil
}

// String prints the options in one line.
func (o Options) String() string {
	return fmt.Sprintf("backend=%s threads=%d kv=%s ple=%s ple-workers=%d ple-cache=%d context=%d chunk=%d",
		o.Backend, o.Threads, o.KVType, publicPlace(o.PLE), o.PLEWorkers, o.PLECacheBytes, o.Context, o.Chunk)
}

// SessionOptions size a session. The zero value asks for the defaults.
type SessionOptions struct {
	Context int // most tokens of prompts and answers together; 0: what Open has planned for
	Chunk   int // prompt tokens per step; 0: what Open has planned for. It never changes a result

	// NoDraft turns off guessing: where the last tokens have stood in the text
	// before, those that followed there are evaluated together with the next one,
	// which costs little more than one token alone, and kept if the model agrees.
	// Guessing never changes a result; it stops by itself where it does not pay.
	NoDraft bool
}

// Sampling says how a token is drawn from the model's distribution. Start from
// [Model.Sampling], the model's own settings, or [Greedy], and change what
// matters: the zero value of a field means what it says, not "default".
type Sampling struct {
	Temperature       float32 // 0: always the most likely token
	TopK              int     // keep this many; 0: all
	TopP              float32 // keep the most likely up to this probability; 0 or 1: all
	MinP              float32 // keep those at least this likely, relative to the most likely; 0: all
	RepetitionPenalty float32 // divide (or multiply) the logits of seen tokens; 0 or 1: off
	PresencePenalty   float32 // subtracted once from tokens seen
	FrequencyPenalty  float32 // subtracted for every time a token was seen
	PenaltyWindow     int     // tokens the penalties look back on; 0: all
	Seed              uint64  // 0: chosen at random and told in the Result
}

// Greedy always takes the most likely token.
func Greedy() Sampling { return Sampling{} }

// String prints the settings that differ from plain greedy.
func (s Sampling) String() string {
	if s == (Sampling{Seed: s.Seed}) {
		return "greedy"
	}
	return fmt.Sprintf("temperature=%g top-k=%d top-p=%g min-p=%g repetition=%g presence=%g frequency=%g window=%d seed=%d",
		s.Temperature, s.TopK, s.TopP, s.MinP, s.RepetitionPenalty, s.PresencePenalty, s.FrequencyPenalty, s.PenaltyWindow, s.Seed)
}

// sampler builds the sampler and returns the seed in force.
func (s Sampling) sampler() (*sample.Sampler, uint64, error) {
	for s.Seed == 0 {
		s.Seed = rand.Uint64() >> 11 // 53 bits: survives a trip through JSON numbers
	}
	sm, err := sample.New(sample.Params{
		Temperature:       s.Temperature,
		TopK:              s.TopK,
		TopP:              s.TopP,
		MinP:              s.MinP,
		RepetitionPenalty: s.RepetitionPenalty,
		PresencePenalty:   s.PresencePenalty,
		FrequencyPenalty:  s.FrequencyPenalty,
		PenaltyWindow:     s.PenaltyWindow,
		Seed:              s.Seed,
	})
	if err != nil {
		return nil, 0, requestError{err}
	}
	return sm, s.Seed, nil
}
