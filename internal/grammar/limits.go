package grammar

import (
	"errors"
	"fmt"
)

var (
	// ErrUnsupported marks a schema or an expression that this package cannot
	// enforce, or that no value satisfies.
	ErrUnsupported = errors.New("unsupported")
	// ErrTooComplex marks one that would take too much time or memory.
	ErrTooComplex = errors.New("too complex")
)

// What a grammar may cost. Each bound is far above what schemas in use need and
// low enough that reaching all of them takes seconds and some 100 MB.
const (
	maxSchemaBytes  = 8 << 20   // of a schema's text
	maxSchemaDepth  = 256       // nesting of a schema's text
	maxSchemas      = 20_000    // subschemas that are reached
	maxRules        = 20_000    // distinct combinations of them that hold at once
	maxAlternatives = 1_000     // of one value, with anyOf and allOf multiplied out
	maxWork         = 3_000_000 // schemas looked at while they are multiplied out
	maxNodes        = 400_000   // of a program
	maxItems        = 4_096     // of an array; a greater maxItems is lowered to it
	maxCount        = 256       // of an object's properties; a greater maxProperties is lowered
	maxPatterns     = 6         // patternProperties of one object

	maxExprBytes  = 16 << 10  // of a regular expression
	maxExprSize   = 40_000    // instructions, with repetitions written out
	maxStates     = 20_000    // of an automaton over code points
	maxRuneStates = 200_000   // of all automata for patterns of one schema
	maxEdges      = 500_000   // of an automaton
	maxSteps      = 2_000_000 // instructions looked at while one is built
	maxByteStates = 3_000_000 // of all automata over bytes of one grammar
	maxLexemes    = 512       // distinct automata of one grammar

	maxConfigs     = 4_096 // places of one state
	defaultDepth   = 64    // arrays and objects around a value
	maxIntDigits   = 18    // of a number without bounds; always fits an int64
	maxFracDigits  = 15
	maxBoundDigits = 100    // of a number in a schema, written out
	maxDivisor     = 10_000 // of multipleOf, as an integer
	maxCalls       = 16     // in one answer
	maxTools       = 1_024
)

// Whitespace says what may stand between the parts of JSON.
type Whitespace uint8

const (
	// Spaced allows one space after ':' and ','.
	Spaced Whitespace = iota
	// Compact allows none.
	Compact
	// Indented allows, beside what Spaced does, a newline with at most 32 spaces
	// or 8 tabs behind '{', '[' and ',' and before '}' and ']'.
	Indented
)

// Options are what schemas do not say. The zero value is good.
type Options struct {
	Whitespace Whitespace // between the parts of JSON; calls have none
	MaxDepth   int        // arrays and objects around a value, at most; 0: 64. Up to 90
	// ParallelCalls lets up to 16 calls follow each other; otherwise Calls gives
	// exactly one.
	ParallelCalls bool
}

func (o Options) withDefaults() (Options, error) {
	if o.MaxDepth == 0 {
		o.MaxDepth = defaultDepth
	}
	if o.MaxDepth < 0 || o.MaxDepth > 90 {
		return o, fmt.Errorf("check options: depth %d, want 1 to 90", o.MaxDepth)
	}
	if o.Whitespace > Indented {
		return o, fmt.Errorf("check options: whitespace %d is unknown", o.Whitespace)
	}
	return o, nil
}

// at gives err the place in the schema it is about.
func at(ptr string, err error) error {
	if err == nil {
		return nil
	}
	if ptr == "" {
		ptr = "the top"
	}
	return fmt.Errorf("at %s: %w", ptr, err)
}

func unsupported(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrUnsupported}, args...)...)
}

func tooComplex(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrTooComplex}, args...)...)
}
