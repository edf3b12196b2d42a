package grammar

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// schema is one schema, its keywords read and its references resolved. A missing
// condition is the zero value, except where a comment says otherwise.
type schema struct {
	id    int // distinct, in the order they were met
	ptr   string
	never bool // false as a schema
	kinds kind // kindAny: no condition

	partly bool // this is less than the opposite it was made as

	values  []*value // enum or const; nil: no condition
	exclude []*value // none of these
	ref     *schema
	all     []*schema
	groups  []*group

	minLen, maxLen int // maxLen −1: no bound
	patterns       []string
	unlike         []string // patterns that do not match
	format         string

	num numberSet

	prefix             []*schema
	items              *schema // nil: any
	minItems, maxItems int     // maxItems −1: no bound
	contains           *schema // of at least minContains items; nil: no condition
	minContains        int
	unique             bool

	props              []prop
	hasProps           bool // even if there are none
	byName             map[string]*schema
	required           []string
	patternProps       []prop
	additional         *schema // nil: not mentioned
	names              *schema
	minProps, maxProps int // maxProps −1: no bound
}

type prop struct {
	name string
	*schema
}

// group is an anyOf or oneOf.
type group struct {
	ptr      string
	one      bool
	checked  bool // the branches of a oneOf are known to exclude each other
	open     bool // more branches are to come, see opposite
	branches []*schema
	written  []*schema // those of a oneOf as they are written, see setApart
}

// newSchema is a schema without conditions.
func (c *compiler) newSchema(ptr string) *schema {
	s := &schema{id: c.nSchemas, ptr: ptr, kinds: kindAny, maxLen: -1, maxItems: -1, maxProps: -1}
	c.nSchemas++
	return s
}

// reader reads the schemas of one document.
type reader struct {
	c       *compiler
	root    *value
	made    map[*value]*schema
	waiting []opposite
	// anchors are the objects with an $anchor; nil until one is looked for.
	anchors map[string]*value
}

// read makes the schema v says, and all it refers to. Each place in the document
// is one schema, however often it is referred to.
func (r *reader) read(v *value, ptr string) (*schema, error) {
	if s, ok := r.made[v]; ok {
		return s, nil
	}
	if r.c.nSchemas >= maxSchemas {
		return nil, at(ptr, tooComplex("more than %d schemas", maxSchemas))
	}
	s := r.c.newSchema(ptr)
	r.made[v] = s
	switch v.kind {
	case kindTrue:
	case kindFalse:
		s.never = true
	case kindObject:
		for i, key := range v.keys {
			if err := r.keyword(s, key, v.items[i], v); err != nil {
				return nil, err
			}
		}
	default:
		return nil, at(ptr, fmt.Errorf("a schema must be an object or a boolean"))
	}
	return s, nil
}

func pointer(ptr, key string) string {
	return ptr + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
}

// list reads an array of schemas.
func (r *reader) list(v *value, ptr string) ([]*schema, error) {
	if v.kind != kindArray {
		return nil, at(ptr, fmt.Errorf("must be an array of schemas"))
	}
	out := make([]*schema, 0, len(v.items))
	for i, item := range v.items {
		s, err := r.read(item, pointer(ptr, strconv.Itoa(i)))
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// table reads an object of schemas.
func (r *reader) table(v *value, ptr string) ([]prop, error) {
	if v.kind != kindObject {
		return nil, at(ptr, fmt.Errorf("must be an object of schemas"))
	}
	out := make([]prop, 0, len(v.items))
	for i, item := range v.items {
		s, err := r.read(item, pointer(ptr, v.keys[i]))
		if err != nil {
			return nil, err
		}
		out = append(out, prop{v.keys[i], s})
	}
	return out, nil
}

// refer finds what a $ref means, within the document.
func (r *reader) refer(ref, ptr string) (*schema, error) {
	if id := r.root.get("$id"); id != nil && id.kind == kindString && id.text != "" {
		ref = strings.TrimPrefix(ref, strings.TrimSuffix(id.text, "#"))
	}
	fragment, ok := strings.CutPrefix(ref, "#")
	if !ok && ref != "" {
		return nil, at(ptr, unsupported("$ref %s, only places in the same document can be referred to", clip(ref)))
	}
	fragment, err := url.PathUnescape(fragment)
	if err != nil {
		return nil, at(ptr, fmt.Errorf("$ref %s: %w", clip(ref), err))
	}
	v := r.root
	if fragment != "" && fragment[0] != '/' {
		if r.anchors == nil {
			r.anchors = map[string]*value{}
			r.findAnchors(r.root)
		}
		v = r.anchors[fragment]
	} else if fragment != "" {
		for part := range strings.SplitSeq(fragment[1:], "/") {
			part = strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
			if v.kind == kindArray {
				i, err := strconv.Atoi(part)
				if err != nil || i < 0 || i >= len(v.items) {
					v = nil
					break
				}
				v = v.items[i]
			} else {
				v = v.get(part)
			}
			if v == nil {
				break
			}
		}
	}
	if v == nil {
		return nil, at(ptr, fmt.Errorf("$ref %s leads nowhere", clip(ref)))
	}
	return r.read(v, fragment)
}

// findAnchors fills anchors.
func (r *reader) findAnchors(v *value) {
	if a := v.get("$anchor"); a != nil && a.kind == kindString {
		r.anchors[a.text] = v
	}
	for _, item := range v.items {
		r.findAnchors(item)
	}
}

// checkLoops refuses schemas that refer to themselves without reading anything
// in between, as validators do.
func checkLoops(s *schema, state map[*schema]int) error {
	const open, done = 1, 2
	switch state[s] {
	case open:
		return at(s.ptr, unsupported("the schema refers to itself without an object or array in between"))
	case done:
		return nil
	}
	state[s] = open
	next := s.all
	if s.ref != nil {
		next = append([]*schema{s.ref}, next...)
	}
	for _, g := range s.groups {
		next = append(next[:len(next):len(next)], g.branches...)
	}
	for _, n := range next {
		if err := checkLoops(n, state); err != nil {
			return err
		}
	}
	state[s] = done
	return nil
}
