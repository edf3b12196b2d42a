package grammar

import (
	"fmt"
	"strings"
)

// annotations are keywords that put no condition on values, or none that has to
// be met: the last line is about what a string contains, and OpenAPI's.
var annotations = wordSet(`$schema $id $defs $anchor $comment $vocabulary definitions
	title description default example examples deprecated readOnly writeOnly
	contentEncoding contentMediaType contentSchema discriminator externalDocs xml`)

// refused are conditions that cannot be enforced token by token.
var refused = wordSet(`maxContains unevaluatedItems unevaluatedProperties $dynamicRef $recursiveRef`)

func wordSet(list string) map[string]bool {
	set := map[string]bool{}
	for w := range strings.FieldsSeq(list) {
		set[w] = true
	}
	return set
}

// keyword reads one member of schema s, whose text is whole.
func (r *reader) keyword(s *schema, key string, v, whole *value) error {
	ptr := pointer(s.ptr, key)
	if annotations[key] || strings.HasPrefix(key, "x-") {
		return nil
	}
	for _, read := range []func(*reader, *schema, string, string, *value, *value) (bool, error){
		(*reader).logic, (*reader).scalars, (*reader).arrays, (*reader).objects, (*reader).dependent,
	} {
		if known, err := read(r, s, key, ptr, v, whole); known {
			return err
		}
	}
	if harmless(key, v) {
		return nil
	}
	if refused[key] {
		return at(ptr, unsupported("%s cannot be enforced", key))
	}
	return at(ptr, unsupported("the keyword %s is unknown", clip(key)))
}

// harmless reports whether a condition that is not supported says nothing.
func harmless(key string, v *value) bool {
	switch key {
	case "unevaluatedItems", "unevaluatedProperties":
		return v.kind == kindTrue
	}
	return false
}

// logic reads the keywords for values of all kinds.
func (r *reader) logic(s *schema, key, ptr string, v, whole *value) (known bool, err error) {
	switch key {
	case "type":
		err = s.readKinds(ptr, v)
		if n := whole.get("nullable"); n != nil && n.kind == kindTrue {
			s.kinds |= kindNull
		}
	case "nullable": // read with type
	case "enum":
		if v.kind != kindArray {
			return true, at(ptr, fmt.Errorf("must be an array"))
		}
		s.values = bothOf(s.values, append([]*value{}, v.items...))
	case "const":
		s.values = bothOf(s.values, []*value{v})
	case "$ref":
		if v.kind != kindString {
			return true, at(ptr, fmt.Errorf("must be a string"))
		}
		s.ref, err = r.refer(v.text, ptr)
	case "allOf":
		s.all, err = r.list(v, ptr)
	case "anyOf", "oneOf":
		g := &group{ptr: ptr, one: key == "oneOf"}
		g.branches, err = r.list(v, ptr)
		s.groups = append(s.groups, g)
	default:
		return false, nil
	}
	return true, err
}

var kindNames = map[string]kind{
	"null": kindNull, "boolean": kindBoolean, "integer": kindInteger, "number": kindNumber,
	"string": kindString, "array": kindArray, "object": kindObject,
}

// readKinds reads type.
func (s *schema) readKinds(ptr string, v *value) error {
	names := []*value{v}
	if v.kind == kindArray {
		names = v.items
	}
	s.kinds = 0
	for _, n := range names {
		k, ok := kindNames[n.text]
		if n.kind != kindString || !ok {
			return at(ptr, fmt.Errorf("must name JSON types"))
		}
		s.kinds |= k
	}
	return nil
}

// scalars reads the keywords for strings and numbers.
func (r *reader) scalars(s *schema, key, ptr string, v, _ *value) (known bool, err error) {
	switch key {
	case "minLength":
		s.minLen, err = natural(ptr, v)
	case "maxLength":
		s.maxLen, err = natural(ptr, v)
	case "pattern":
		if v.kind != kindString {
			return true, at(ptr, fmt.Errorf("must be a string"))
		}
		_, err = r.c.pattern(v.text)
		s.patterns, err = append(s.patterns, v.text), at(ptr, err)
	case "format":
		if v.kind != kindString {
			return true, at(ptr, fmt.Errorf("must be a string"))
		}
		s.format = v.text
	case "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf":
		err = r.number(s, key, ptr, v)
	default:
		return false, nil
	}
	return true, err
}

func (r *reader) number(s *schema, key, ptr string, v *value) error {
	if v.kind&kindNumber == 0 {
		return at(ptr, fmt.Errorf("must be a number"))
	}
	x := v.rat()
	switch key {
	case "minimum":
		s.num.atLeast(x, false)
	case "exclusiveMinimum":
		s.num.atLeast(x, true)
	case "maximum":
		s.num.atMost(x, false)
	case "exclusiveMaximum":
		s.num.atMost(x, true)
	case "multipleOf":
		if x.Sign() <= 0 {
			return at(ptr, fmt.Errorf("must be above 0"))
		}
		s.num.multiples = append(s.num.multiples, x)
	}
	return nil
}

// natural reads a count. Numbers beyond any use become a large one.
func natural(ptr string, v *value) (int, error) {
	if v.kind != kindInteger || v.rat().Sign() < 0 {
		return 0, at(ptr, fmt.Errorf("must be an integer, not negative"))
	}
	n := v.rat().Num()
	if !n.IsInt64() || n.Int64() > 1<<30 {
		return 1 << 30, nil
	}
	return int(n.Int64()), nil
}

// arrays reads the keywords for arrays, those of older drafts included.
func (r *reader) arrays(s *schema, key, ptr string, v, whole *value) (known bool, err error) {
	switch key {
	case "prefixItems":
		s.prefix, err = r.list(v, ptr)
	case "items":
		if v.kind == kindArray {
			s.prefix, err = r.list(v, ptr)
		} else {
			s.items, err = r.read(v, ptr)
		}
	case "additionalItems":
		if items := whole.get("items"); items != nil && items.kind == kindArray {
			s.items, err = r.read(v, ptr)
		}
	case "minItems":
		s.minItems, err = natural(ptr, v)
		if err == nil && s.minItems > maxItems {
			err = at(ptr, tooComplex("at least %d items, at most %d are supported", s.minItems, maxItems))
		}
	case "contains":
		if s.contains, err = r.read(v, ptr); err == nil && s.minContains == 0 && whole.get("minContains") == nil {
			s.minContains = 1
		}
	case "minContains":
		s.minContains, err = natural(ptr, v)
	case "uniqueItems":
		if s.unique = v.kind == kindTrue; v.kind&kindBoolean == 0 {
			err = at(ptr, fmt.Errorf("must be true or false"))
		}
	case "maxItems":
		s.maxItems, err = natural(ptr, v)
		s.maxItems = min(s.maxItems, maxItems)
	default:
		return false, nil
	}
	return true, err
}

// objects reads the keywords for objects.
func (r *reader) objects(s *schema, key, ptr string, v, _ *value) (known bool, err error) {
	switch key {
	case "properties":
		s.hasProps = true
		s.props, err = r.table(v, ptr)
		s.byName = map[string]*schema{}
		for _, p := range s.props {
			s.byName[p.name] = p.schema
		}
	case "required":
		if v.kind != kindArray {
			return true, at(ptr, fmt.Errorf("must be an array of strings"))
		}
		for _, name := range v.items {
			if name.kind != kindString {
				return true, at(ptr, fmt.Errorf("must be an array of strings"))
			}
			s.required = append(s.required, name.text)
		}
	case "patternProperties":
		s.patternProps, err = r.table(v, ptr)
		for _, p := range s.patternProps {
			if _, e := r.c.pattern(p.name); e != nil && err == nil {
				err = at(pointer(ptr, p.name), e)
			}
		}
	case "additionalProperties":
		s.additional, err = r.read(v, ptr)
	case "propertyNames":
		s.names, err = r.read(v, ptr)
	case "minProperties":
		s.minProps, err = natural(ptr, v)
	case "maxProperties":
		s.maxProps, err = natural(ptr, v)
	default:
		return false, nil
	}
	return true, err
}
