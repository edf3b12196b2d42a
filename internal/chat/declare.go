package chat

import (
	"encoding/json"
	"fmt"
	"slices"
)

// Tool is a tool's declaration: OpenAI's JSON form
// {"type":"function","function":{"name":…,"description":…,"parameters":…}}.
// DecodeTools makes it.
type Tool struct {
	function value
}

// Name is the name the model calls the tool by.
func (t Tool) Name() string { return t.function.get("name").text }

// Parameters is the JSON schema of the tool's arguments, nil when it has none. It must
// not be changed.
func (t Tool) Parameters() json.RawMessage {
	if p := t.function.get("parameters"); p.truth() {
		return p.raw
	}
	return nil
}

// Strict reports whether the declaration asks that calls conform to Parameters without
// exception. The model is not told.
func (t Tool) Strict() bool { return t.function.get("strict").truth() }

// newTool checks what the declaration cannot be written without.
func newTool(v value) (Tool, error) {
	f := v.get("function")
	if f.kind != object {
		return Tool{}, fmt.Errorf("function: want an object, got %v", f.kind)
	}
	if name := f.get("name"); name.kind != text || name.text == "" {
		return Tool{}, fmt.Errorf("function: name is missing")
	}
	if err := checkParameters(f.get("parameters")); err != nil {
		return Tool{}, fmt.Errorf("function %s: parameters: %w", f.get("name").text, err)
	}
	return Tool{f}, nil
}

// checkParameters finds the places where a list or an object would be written
// out and something else stands. What the declaration drops may be anything.
func checkParameters(v value) error {
	if v.truth() && v.kind != object {
		return fmt.Errorf("want an object, got %v", v.kind)
	}
	if props := v.get("properties"); props.truth() && props.kind != object {
		return fmt.Errorf("properties: want an object, got %v", props.kind)
	}
	if err := checkRequired(v); err != nil {
		return err
	}
	return checkProperties(v)
}

func checkProperties(v value) error {
	for _, f := range v.get("properties").fields {
		if err := checkProperty(f.value); err != nil {
			return fmt.Errorf("%s: %w", f.key, err)
		}
	}
	return nil
}

func checkProperty(v value) error {
	switch pyUpper(v.get("type").str()) {
	case "OBJECT":
		if err := checkRequired(v); err != nil {
			return err
		}
		return checkProperties(v)
	case "ARRAY":
		if err := checkItems(v.get("items")); err != nil {
			return fmt.Errorf("items: %w", err)
		}
	}
	return nil
}

func checkItems(v value) error {
	if typ := v.get("type"); typ.kind == number || typ.kind == boolean {
		return fmt.Errorf("type: want a string or an array, got %v", typ.kind)
	}
	if err := checkRequired(v); err != nil {
		return err
	}
	return checkProperties(v)
}

func checkRequired(v value) error {
	if req := v.get("required"); req.truth() && req.kind != list {
		return fmt.Errorf("required: want an array, got %v", req.kind)
	}
	return nil
}

// declaration writes a function's declaration. Where a schema lacks its type the
// template leaves a brace open; that is kept, since prompts must be equal.
func (p *prompt) declaration(f value) {
	p.plain("declaration:" + f.get("name").str() + "{description:")
	p.quoted(f.get("description").str())
	if params := f.get("parameters"); params.truth() {
		p.plain(",parameters:{")
		if props := params.get("properties"); props.truth() {
			p.plain("properties:{")
			p.properties(props, false)
			p.plain("},")
		}
		if req := params.get("required"); req.truth() {
			p.required(req)
			p.plain(",")
		}
		if typ := params.get("type"); typ.truth() {
			p.typeName(typ)
			p.plain("}")
		}
	}
	if resp := f.get("response"); resp.kind != undefined {
		p.plain(",response:{")
		if d := resp.get("description"); d.truth() {
			p.plain("description:")
			p.quoted(d.str())
			p.plain(",")
		}
		if typ := resp.get("type"); pyUpper(typ.str()) == "OBJECT" {
			p.typeName(typ)
			p.plain("}")
		}
	}
	p.plain("}")
}

// schemaKeys are the keys of a property that are never sub-properties.
var schemaKeys = []string{"description", "type", "properties", "required", "nullable"}

// properties writes the fields of a schema's properties, without those named in
// schemaKeys when own is set: then props is a property that lists its
// sub-properties directly.
func (p *prompt) properties(props value, own bool) {
	comma := false
	for _, f := range props.sorted() {
		if own && slices.Contains(schemaKeys, f.key) {
			continue
		}
		if comma {
			p.plain(",")
		}
		comma = true
		p.plain(f.key + ":{")
		p.property(f.value)
		p.plain("}")
	}
}

// property writes the inside of one property: its fields in the fixed order.
func (p *prompt) property(v value) {
	typ := v.get("type")
	upper := pyUpper(typ.str())
	if d := v.get("description"); d.truth() {
		p.plain("description:")
		p.quoted(d.str())
		p.plain(",")
	}
	if enum := v.get("enum"); upper == "STRING" && enum.truth() {
		p.plain("enum:")
		p.argument(enum, true)
		p.plain(",")
	}
	if items := v.get("items"); upper == "ARRAY" && items.kind == object && items.truth() {
		p.plain("items:{")
		p.items(items)
		p.plain("},")
	}
	if v.get("nullable").truth() {
		p.plain("nullable:true,")
	}
	if upper == "OBJECT" {
		p.plain("properties:{")
		if props := v.get("properties"); props.kind == object {
			p.properties(props, false)
		} else {
			p.properties(v, true)
		}
		p.plain("},")
		if req := v.get("required"); req.truth() {
			p.required(req)
			p.plain(",")
		}
	}
	p.typeName(typ)
}

// items writes the schema of an array's elements: unlike a property it keeps
// every key, in sorted order.
func (p *prompt) items(items value) {
	comma := false
	for _, f := range items.sorted() {
		if f.kind == null {
			continue
		}
		if comma {
			p.plain(",")
		}
		comma = true
		switch f.key {
		case "properties":
			p.plain("properties:{")
			p.properties(f.value, false)
			p.plain("}")
		case "required":
			p.required(f.value)
		case "type":
			p.plain("type:")
			p.argument(upperTypes(f.value), true)
		default:
			p.plain(f.key + ":")
			p.argument(f.value, true)
		}
	}
}

// upperTypes is the type of an array's elements, a name or several, in upper
// case. (Of an object, the template takes the keys for the list.)
func upperTypes(v value) value {
	if v.kind == text {
		return value{kind: text, text: pyUpper(v.text)}
	}
	names := value{kind: list}
	for _, item := range v.list {
		names.list = append(names.list, value{kind: text, text: pyUpper(item.str())})
	}
	for _, f := range v.fields {
		names.list = append(names.list, value{kind: text, text: pyUpper(f.key)})
	}
	return names
}

// required writes the list of required names.
func (p *prompt) required(names value) {
	p.plain("required:[")
	for i, name := range names.list {
		if i > 0 {
			p.plain(",")
		}
		p.quoted(name.str())
	}
	p.plain("]")
}

// typeName writes a type in upper case. A list of types is printed as Python
// prints it, because the template does not look inside.
func (p *prompt) typeName(typ value) {
	p.plain("type:")
	p.quoted(pyUpper(typ.str()))
}
