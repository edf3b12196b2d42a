package tokenizer

import "fmt"

// The checks below accept the settings of Gemma's tokenizer.json and their
// equivalents, and name whatever else they find.

// steps turns one step or a Sequence of steps into a list; null is none.
func steps(v any, list string) ([]map[string]any, error) {
	if v == nil {
		return nil, nil
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("want an object")
	}
	if m["type"] != "Sequence" {
		return []map[string]any{m}, nil
	}
	parts, _ := m[list].([]any)
	var out []map[string]any
	for _, part := range parts {
		step, ok := part.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("want a list of objects in %q", list)
		}
		out = append(out, step)
	}
	return out, nil
}

// replaces reports whether step is Replace of exactly from by to.
func replaces(step map[string]any, from, to string) bool {
	pattern, _ := step["pattern"].(map[string]any)
	return step["type"] == "Replace" && len(pattern) == 1 && pattern["String"] == from && step["content"] == to
}

func checkNormalizer(v any) error {
	list, err := steps(v, "normalizers")
	if err != nil {
		return err
	}
	if len(list) == 1 && replaces(list[0], " ", metaSpace) {
		return nil
	}
	for _, step := range list {
		if !replaces(step, " ", metaSpace) {
			return fmt.Errorf("%v is not supported, want only Replace of space by %q", step["type"], metaSpace)
		}
	}
	return fmt.Errorf("want Replace of space by %q", metaSpace)
}

// checkPreTokenizer accepts a split at spaces: the normalizer leaves none.
func checkPreTokenizer(v any) error {
	list, err := steps(v, "pretokenizers")
	if err != nil {
		return err
	}
	for _, step := range list {
		pattern, _ := step["pattern"].(map[string]any)
		if step["type"] != "Split" || len(pattern) != 1 || pattern["String"] != " " || step["invert"] == true {
			return fmt.Errorf("%v is not supported, want none or a split at spaces", step["type"])
		}
	}
	return nil
}

func checkDecoder(v any) error {
	list, err := steps(v, "decoders")
	if err != nil {
		return err
	}
	for i, step := range list {
		switch {
		case i == 0 && replaces(step, metaSpace, " "), i == 1 && step["type"] == "ByteFallback", i == 2 && step["type"] == "Fuse":
		default:
			return fmt.Errorf("step %d: %v is not supported here, want Replace of %q by space, ByteFallback, Fuse", i, step["type"], metaSpace)
		}
	}
	if len(list) != 3 {
		return fmt.Errorf("%d steps, want Replace of %q by space, ByteFallback, Fuse", len(list), metaSpace)
	}
	return nil
}

// checkPostProcessor accepts what adds special tokens around the ids: Encode
// never adds any, and a prompt's BOS is the caller's business.
func checkPostProcessor(v any) error {
	list, err := steps(v, "processors")
	if err != nil {
		return err
	}
	for _, step := range list {
		if step["type"] != "TemplateProcessing" {
			return fmt.Errorf("%v is not supported, want none or TemplateProcessing", step["type"])
		}
	}
	return nil
}

func checkModel(m map[string]any) error {
	if t := m["type"]; t != "BPE" && t != nil {
		return fmt.Errorf("type %v is not supported, want BPE", t)
	}
	if m["byte_fallback"] != true {
		return fmt.Errorf("byte_fallback is off, want it on")
	}
	if m["ignore_merges"] == true {
		return fmt.Errorf("ignore_merges is not supported")
	}
	if d := m["dropout"]; d != nil && d != 0.0 {
		return fmt.Errorf("dropout %v is not supported", d)
	}
	for _, key := range []string{"continuing_subword_prefix", "end_of_word_suffix"} {
		if v := m[key]; v != nil && v != "" {
			return fmt.Errorf("%s %v is not supported", key, v)
		}
	}
	return nil
}
