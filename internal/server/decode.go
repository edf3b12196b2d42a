package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// ignored is the type of fields that clients send and that change nothing
// here: bookkeeping of the original services, and hints.
type ignored struct{}

// UnmarshalJSON takes any value.
func (*ignored) UnmarshalJSON([]byte) error { return nil }

// decode reads data, the JSON object at path, into a T. Fields that T does not
// have are refused by name; null counts as absent.
func decode[T any](path string, data []byte) (*T, *apiError) {
	v := new(T)
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return nil, decodeError(path, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, refuse(path, "want one JSON object and nothing behind it")
	}
	return v, nil
}

// decodeError puts an error of encoding/json into words that name the field.
func decodeError(path string, err error) *apiError {
	var typ *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &typ):
		return refuse(join(path, typ.Field), "want %s, got %s", typeName(typ.Type.String()), clip(typ.Value, maxQuoted))
	case errors.As(err, &syntax):
		return refuse(path, "not JSON: %v, at byte %d", syntax, syntax.Offset)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return refuse(path, "not JSON: it ends early")
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		name = strings.Trim(name, `"`)
		e := refuse(join(path, name), "unknown field")
		e.code = "unknown_parameter"
		return e
	}
	return refuse(path, "%v", err)
}

// join appends a field to a path.
func join(path, field string) string {
	if path == "" || field == "" {
		return path + field
	}
	return path + "." + field
}

// index appends a position to a path.
func index(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

// typeName turns the name of a Go type into that of a JSON type.
func typeName(t string) string {
	t = strings.TrimLeft(t, "*")
	switch {
	case strings.HasPrefix(t, "[]"):
		return "an array"
	case t == "string":
		return "a string"
	case t == "bool":
		return "a boolean"
	case strings.HasPrefix(t, "int"), strings.HasPrefix(t, "uint"):
		return "an integer"
	case strings.HasPrefix(t, "float"):
		return "a number"
	}
	return "an object"
}

// present reports whether a raw value was given and is not null.
func present(raw json.RawMessage) bool {
	return len(raw) > 0 && !bytes.Equal(raw, []byte("null"))
}

// isKind reports what a raw value is by its first byte: '"', '{', '[', 't', '0'.
func isKind(raw json.RawMessage, first byte) bool { return len(raw) > 0 && raw[0] == first }

// asString reads a raw value that must be a string.
func asString(path string, raw json.RawMessage) (string, *apiError) {
	var s string
	if !isKind(raw, '"') || json.Unmarshal(raw, &s) != nil {
		return "", refuse(path, "want a string")
	}
	return s, nil
}

// asList reads a raw value that must be an array.
func asList(path string, raw json.RawMessage) ([]json.RawMessage, *apiError) {
	var list []json.RawMessage
	if !isKind(raw, '[') || json.Unmarshal(raw, &list) != nil {
		return nil, refuse(path, "want an array")
	}
	return list, nil
}

// stringOrList reads what may be one string or several.
func stringOrList(path string, raw json.RawMessage) ([]string, *apiError) {
	if !present(raw) {
		return nil, nil
	}
	if isKind(raw, '"') {
		s, err := asString(path, raw)
		return []string{s}, err
	}
	var list []string
	if json.Unmarshal(raw, &list) != nil {
		return nil, refuse(path, "want a string or an array of strings")
	}
	return list, nil
}

// oneOf refuses a word that is not among those listed; "" is always allowed.
func oneOf(path, got string, want ...string) *apiError {
	if got == "" {
		return nil
	}
	for _, w := range want {
		if got == w {
			return nil
		}
	}
	return refuse(path, "%s, want one of %s", quote(got), strings.Join(want, ", "))
}

// within refuses a number outside lo … hi; nil is allowed.
func within[N int | int64 | float64](path string, v *N, lo, hi N) *apiError {
	if v != nil && !(*v >= lo && *v <= hi) {
		return refuse(path, "%v, want %v to %v", *v, lo, hi)
	}
	return nil
}

// first returns the first error that is one.
func first(errs ...*apiError) *apiError {
	for _, e := range errs {
		if e != nil {
			return e
		}
	}
	return nil
}
