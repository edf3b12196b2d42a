package grammar

import (
	"errors"
	"fmt"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// parsePattern builds the set of texts that expr matches: somewhere in them, as
// a schema's pattern does, or as a whole.
//
// The syntax is RE2's, plus \/ and \uXXXX as ECMA-262 writes them. Anchors are
// taken at the ends of the text only; word boundaries, back references and
// look-around are not supported.
func parsePattern(expr string, whole bool) (*automaton, error) {
	if len(expr) > maxExprBytes {
		return nil, tooComplex("an expression of %d bytes, at most %d are supported", len(expr), maxExprBytes)
	}
	if !utf8.ValidString(expr) {
		return nil, unsupported("read expression: not valid UTF-8")
	}
	re, err := syntax.Parse(fromECMA(expr), syntax.Perl)
	if err != nil {
		var se *syntax.Error
		if errors.As(err, &se) && (se.Code == syntax.ErrInvalidRepeatSize || se.Code == syntax.ErrLarge || se.Code == syntax.ErrNestingDepth) {
			return nil, tooComplex("read expression: %s: %s", se.Code, clip(se.Expr))
		}
		if errors.As(err, &se) {
			return nil, unsupported("read expression: %s: %s", se.Code, clip(se.Expr))
		}
		return nil, fmt.Errorf("read expression: %w", err)
	}
	if n := exprSize(re); n > maxExprSize {
		return nil, tooComplex("the expression has %d parts with its repetitions written out, at most %d are supported", n, maxExprSize)
	}
	prog, err := syntax.Compile(re.Simplify())
	if err != nil {
		return nil, unsupported("read expression: %v", err)
	}
	return newProgReader(prog, whole).build()
}

func clip(s string) string {
	if len(s) > 40 {
		s = s[:40] + "…"
	}
	return strconv.Quote(s)
}

// fromECMA rewrites what ECMA-262 spells in another way.
func fromECMA(expr string) string {
	var b strings.Builder
	for i := 0; i < len(expr); i++ {
		switch rest := expr[i:]; {
		case strings.HasPrefix(rest, `\/`):
			b.WriteByte('/')
			i++
		case strings.HasPrefix(rest, `\u`) && len(rest) >= 6 && isHex(rest[2:6]):
			b.WriteString(`\x{` + rest[2:6] + `}`)
			i += 5
		case rest[0] == '\\' && len(rest) > 1:
			b.WriteString(rest[:2])
			i++
		default:
			b.WriteByte(rest[0])
		}
	}
	return b.String()
}

func isHex(s string) bool {
	return strings.Trim(s, "0123456789abcdefABCDEF") == ""
}

// exprSize bounds the number of instructions re compiles to.
func exprSize(re *syntax.Regexp) int {
	n := 1
	switch re.Op {
	case syntax.OpLiteral:
		n = len(re.Rune)
	case syntax.OpCharClass:
		n = 1
	}
	for _, sub := range re.Sub {
		n = min(n+exprSize(sub), 1<<30)
	}
	if re.Op == syntax.OpRepeat {
		n = min(n*max(re.Max, re.Min, 1), 1<<30)
	}
	return n
}

// progReader runs the subset construction on the instructions of a compiled
// expression. Beside them it has three states of its own: before, in which an
// unanchored search waits; after, in which the rest of the text is passed over;
// and begin, which only marks the beginning of the text, because the same
// instructions elsewhere mean something else if there are assertions among them.
type progReader struct {
	prog          *syntax.Prog
	whole         bool
	before, after int32
	begin         int32
	atStart       bool // the closure is that of the text's beginning
	atEnd         bool // … of its end
	bad           error
}

func newProgReader(prog *syntax.Prog, whole bool) *progReader {
	n := int32(len(prog.Inst))
	return &progReader{prog: prog, whole: whole, before: n, after: n + 1, begin: n + 2}
}

func (r *progReader) build() (*automaton, error) {
	d := subsets{step: r.closure, name: map[string]int32{}, closed: make([]uint32, len(r.prog.Inst)+3)}
	start := []int32{r.begin, int32(r.prog.Start)}
	if !r.whole {
		start = append(start, r.before)
	}
	// The first closure, and only that, stands at the beginning of the text.
	r.atStart = true
	edges := func(q int32) []runeEdge {
		r.atStart = false
		return r.edges(q)
	}
	a, err := d.run(start, edges, func(set []int32) bool { return r.accepts(&d, set) })
	if r.bad != nil {
		return nil, r.bad
	}
	return a, err
}

// closure appends q and what follows it without reading.
func (r *progReader) closure(d *subsets, set []int32, q int32) []int32 {
	work := []int32{q}
	for len(work) > 0 {
		q := work[len(work)-1]
		work = work[:len(work)-1]
		if !d.enter(q) {
			continue
		}
		if q == r.before {
			set = append(set, q)
			if !r.atStart {
				work = append(work, int32(r.prog.Start))
			}
			continue
		}
		if q == r.after || q == r.begin {
			set = append(set, q)
			continue
		}
		in := &r.prog.Inst[q]
		switch in.Op {
		case syntax.InstAlt, syntax.InstAltMatch:
			work = append(work, int32(in.Out), int32(in.Arg))
		case syntax.InstCapture, syntax.InstNop:
			work = append(work, int32(in.Out))
		case syntax.InstEmptyWidth:
			if r.passes(syntax.EmptyOp(in.Arg)) {
				work = append(work, int32(in.Out))
			}
			set = append(set, q) // the end of the text may be here
		case syntax.InstMatch:
			set = append(set, q)
			if !r.whole {
				work = append(work, r.after)
			}
		case syntax.InstFail:
		default:
			set = append(set, q)
		}
	}
	return set
}

// passes reports whether an assertion holds here.
func (r *progReader) passes(op syntax.EmptyOp) bool {
	if op&^(syntax.EmptyBeginText|syntax.EmptyEndText) != 0 {
		r.bad = unsupported("read expression: word boundaries and multi-line anchors")
		return false
	}
	return (op&syntax.EmptyBeginText == 0 || r.atStart) && (op&syntax.EmptyEndText == 0 || r.atEnd)
}

// accepts reports whether the text may end in set. The first set is asked about
// while it is still known to stand at the beginning.
func (r *progReader) accepts(d *subsets, set []int32) bool {
	r.atEnd = true
	defer func() { r.atEnd = false }()
	d.round++
	var at []int32
	for _, q := range set {
		at = r.closure(d, at, q)
	}
	return slices.ContainsFunc(at, func(q int32) bool {
		return q == r.after || q < r.before && r.prog.Inst[q].Op == syntax.InstMatch
	})
}

// edges are the transitions of one instruction.
func (r *progReader) edges(q int32) []runeEdge {
	switch q {
	case r.begin:
		return nil
	case r.before, r.after:
		return []runeEdge{{0, utf8.MaxRune, q}}
	}
	in := &r.prog.Inst[q]
	to := int32(in.Out)
	switch in.Op {
	case syntax.InstRuneAny:
		return []runeEdge{{0, utf8.MaxRune, to}}
	case syntax.InstRuneAnyNotNL:
		return []runeEdge{{0, '\n' - 1, to}, {'\n' + 1, utf8.MaxRune, to}}
	case syntax.InstRune, syntax.InstRune1:
		return classEdges(in, to)
	}
	return nil
}

func classEdges(in *syntax.Inst, to int32) []runeEdge {
	if len(in.Rune) == 1 {
		r := in.Rune[0]
		out := []runeEdge{{r, r, to}}
		if syntax.Flags(in.Arg)&syntax.FoldCase != 0 {
			for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
				out = append(out, runeEdge{f, f, to})
			}
		}
		return out
	}
	out := make([]runeEdge, 0, len(in.Rune)/2)
	for i := 0; i+1 < len(in.Rune); i += 2 {
		out = append(out, runeEdge{in.Rune[i], in.Rune[i+1], to})
	}
	return out
}
