package grammar

import (
	"math"
	"slices"
)

// program is what a grammar compiles to: nodes that each say what may come at
// that place, and rules, which are programs for values and may call each other.
// A rule reads at least one symbol before it calls any rule or returns.
type program struct {
	nodes   []node
	rules   []int32 // first node of each rule
	start   int32
	lexemes []*lexeme
	height  []int32 // per node: least number of calls it takes to return, one within the other
	depth   int32   // most calls one within the other
}

type op uint8

const (
	opText   op = iota // read text, then go to next
	opToken            // read one symbol that is a token, then go to next
	opLexeme           // read one word of lex, then go to next
	opChoice           // go to one of to
	opCall             // run rule, then go to next
	opReturn           // the rule, or the answer, is complete
)

// node is one step of a program.
type node struct {
	op    op
	token symbol
	text  string
	lex   *lexeme
	rule  int32
	next  int32
	to    []int32
}

// lexeme is an automaton as a part of a program. counted says that the words are
// those of a free string with min to max code points (max < 0: no bound); the
// automaton is then freeJSON or freeRaw, whose state 0 is left and come back to
// for each code point.
type lexeme struct {
	dfa      *dfa
	counted  bool
	min, max int32
}

const unbounded = math.MaxInt32

// builder collects a program. Nodes are built from the end: each is given the
// node that follows it.
type builder struct {
	program
	made   map[string]*lexeme // by what they stand for
	states int
	err    error // the first one; what is built afterwards is of no use
}

func newBuilder() *builder { return &builder{made: map[string]*lexeme{}} }

func (b *builder) fail(err error) {
	if b.err == nil && err != nil {
		b.err = err
	}
}

func (b *builder) add(n node) int32 {
	if len(b.nodes) >= maxNodes {
		b.fail(tooComplex("the grammar needs more than %d steps", maxNodes))
		return 0
	}
	b.nodes = append(b.nodes, n)
	return int32(len(b.nodes) - 1)
}

func (b *builder) text(s string, next int32) int32 {
	if s == "" {
		return next
	}
	return b.add(node{op: opText, text: s, next: next})
}

func (b *builder) token(t symbol, next int32) int32 {
	return b.add(node{op: opToken, token: t, next: next})
}

func (b *builder) call(rule, next int32) int32 {
	return b.add(node{op: opCall, rule: rule, next: next})
}

func (b *builder) ret() int32 { return b.add(node{op: opReturn}) }

// choice of nothing is a dead end.
func (b *builder) choice(to ...int32) int32 {
	slices.Sort(to)
	to = slices.Compact(to)
	if len(to) == 1 {
		return to[0]
	}
	return b.add(node{op: opChoice, to: to})
}

// lexeme adds a step that reads a word of l. An empty set of words is a dead end.
func (b *builder) lexeme(l *lexeme, next int32) int32 {
	if l == nil || l.dfa.empty() || l.counted && l.max >= 0 && l.max < l.min {
		return b.choice()
	}
	return b.add(node{op: opLexeme, lex: l, next: next})
}

// lexemeFor makes the lexeme with this key, once.
func (b *builder) lexemeFor(key string, build func() (*lexeme, error)) (*lexeme, error) {
	if l, ok := b.made[key]; ok {
		return l, nil
	}
	l, err := build()
	if err != nil {
		return nil, err
	}
	if b.states += l.dfa.len(); b.states > maxByteStates {
		return nil, tooComplex("the patterns and enums need more than %d states", maxByteStates)
	}
	if len(b.lexemes) >= maxLexemes {
		return nil, tooComplex("more than %d different patterns, ranges and enums", maxLexemes)
	}
	b.made[key] = l
	b.lexemes = append(b.lexemes, l)
	return l, nil
}

// newRule reserves a rule, whose first node is set later.
func (b *builder) newRule() int32 {
	b.rules = append(b.rules, -1)
	return int32(len(b.rules) - 1)
}

// finish checks that some answer exists within the depth and returns the program.
func (b *builder) finish(start int32, depth int) (*program, error) {
	if b.err != nil {
		return nil, b.err
	}
	p := b.program
	p.start, p.depth = start, int32(depth)
	p.measure()
	if h := p.height[start]; h == unbounded {
		return nil, unsupported("no value satisfies the schema")
	} else if h > p.depth {
		return nil, unsupported("values nest at least %d deep, at most %d is allowed", h, p.depth)
	}
	return &p, nil
}

// measure computes height: the least fixed point, found by passing on what has
// become lower to those who lead there.
func (p *program) measure() {
	n := len(p.nodes)
	p.height = make([]int32, n)
	users := make([][]int32, n)
	for i, nd := range p.nodes {
		p.height[i] = unbounded
		switch nd.op {
		case opReturn:
		case opChoice:
			for _, to := range nd.to {
				users[to] = append(users[to], int32(i))
			}
		case opCall:
			users[p.rules[nd.rule]] = append(users[p.rules[nd.rule]], int32(i))
			users[nd.next] = append(users[nd.next], int32(i))
		default:
			users[nd.next] = append(users[nd.next], int32(i))
		}
	}
	var work []int32
	for i, nd := range p.nodes {
		if nd.op == opReturn {
			work = append(work, int32(i))
		}
	}
	for len(work) > 0 {
		i := work[0]
		work = work[1:]
		if h := p.heightOf(i); h < p.height[i] {
			p.height[i] = h
			work = append(work, users[i]...)
		}
	}
}

// heightOf is a node's height by those of the nodes it leads to.
func (p *program) heightOf(i int32) int32 {
	switch nd := &p.nodes[i]; nd.op {
	case opReturn:
		return 0
	case opChoice:
		h := int32(unbounded)
		for _, to := range nd.to {
			h = min(h, p.height[to])
		}
		return h
	case opCall:
		h := p.height[p.rules[nd.rule]]
		if h < unbounded {
			h++
		}
		return max(h, p.height[nd.next])
	default:
		return p.height[nd.next]
	}
}
