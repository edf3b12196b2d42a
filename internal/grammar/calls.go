package grammar

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// Tool is a function the model may call.
type Tool struct {
	Name string
	// Parameters is the JSON Schema of the arguments, an object. Empty: there are
	// none.
	Parameters []byte
	// Loose makes any object do where Parameters cannot be enforced.
	Loose bool
}

// Calls compiles calls of one of tools in Gemma's own syntax,
//
//	<|tool_call>call:NAME{key:value,…}<tool_call|>
//
// where strings stand between quote tokens as they are, keys are bare, and
// arguments come sorted by name regardless of case, as the chat template writes
// them. The arguments conform to the tool's schema, unless it is Loose and cannot be
// enforced. Errors name the tool.
func Calls(tools []Tool, o Options) (*Grammar, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if len(tools) == 0 {
		return nil, errors.New("compile calls: there are no tools")
	}
	if len(tools) > maxTools {
		return nil, tooComplex("compile calls: %d tools, at most %d are supported", len(tools), maxTools)
	}
	c := newCompiler(callStyle{})
	arguments := make([]int32, len(tools))
	seen := map[string]bool{}
	for i, t := range tools {
		if err := checkName(t.Name); err != nil {
			return nil, err
		}
		if seen[t.Name] {
			return nil, fmt.Errorf("compile calls: tool %q is listed twice", t.Name)
		}
		seen[t.Name] = true
		if arguments[i], err = c.arguments(t, o); err != nil && t.Loose {
			arguments[i], err = c.arguments(Tool{Parameters: []byte(`{"type":"object"}`)}, o)
		}
		if err != nil {
			return nil, fmt.Errorf("compile calls: tool %q: %w", t.Name, err)
		}
	}
	next := c.ret()
	n := 1
	if o.ParallelCalls {
		n = maxCalls
	}
	var start int32
	for i := range n {
		end := c.token(callClose, next)
		var to []int32
		for j, t := range tools {
			to = append(to, c.text(t.Name, c.call(arguments[j], end)))
		}
		start = c.token(callOpen, c.text("call:", c.choice(to...)))
		if i+1 < n {
			next = c.choice(start, c.ret())
		}
	}
	g, err := c.grammar(start, o)
	if err != nil {
		return nil, fmt.Errorf("compile calls: %w", err)
	}
	return g, nil
}

// arguments is the rule for the arguments of t.
func (c *compiler) arguments(t Tool, o Options) (int32, error) {
	text := t.Parameters
	if len(text) == 0 {
		text = []byte(`{"properties":{}}`)
	}
	// A tool that no arguments satisfy would otherwise only make a hole.
	alone := newCompiler(callStyle{})
	own, err := alone.readSchema(text)
	if err == nil {
		_, err = alone.grammar(alone.call(alone.rule([]*schema{own, alone.object}), alone.ret()), o)
	}
	if err != nil {
		return 0, err
	}
	s, err := c.readSchema(text)
	if err != nil {
		return 0, err
	}
	return c.rule([]*schema{s, c.object}), nil
}

// checkName refuses names that could not be read back from a call.
func checkName(name string) error {
	switch {
	case name == "" || len(name) > 256:
		return fmt.Errorf("compile calls: tool name of %d bytes, want 1 to 256", len(name))
	case strings.ContainsRune(name, '{') || strings.ContainsFunc(name, unicode.IsControl) || strings.TrimSpace(name) != name:
		return fmt.Errorf("compile calls: tool name %q has a brace, a control character, or a space at an end", name)
	}
	return nil
}
