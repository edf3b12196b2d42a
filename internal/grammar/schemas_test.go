package grammar

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// validator compiles a schema with a library that shares nothing with us.
func validator(t testing.TB, schema string) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(schema))
	if err != nil {
		t.Fatalf("schema %s: %v", schema, err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	c.UseRegexpEngine(ecmaRegexp)
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatalf("schema %s: %v", schema, err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatalf("schema %s: %v", schema, err)
	}
	return s
}

// ecmaRegexp is Go's engine, taught the two spellings it does not know.
func ecmaRegexp(expr string) (jsonschema.Regexp, error) {
	expr = regexp.MustCompile(`\\u([0-9a-f]{4})`).ReplaceAllString(expr, `\x{$1}`)
	re, err := regexp.Compile(strings.ReplaceAll(expr, `\/`, `/`))
	return (*goRegexp)(re), err
}

type goRegexp regexp.Regexp

func (re *goRegexp) MatchString(s string) bool { return (*regexp.Regexp)(re).MatchString(s) }
func (re *goRegexp) String() string            { return (*regexp.Regexp)(re).String() }

func validate(s *jsonschema.Schema, instance string) error {
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(instance))
	if err != nil {
		return err
	}
	return s.Validate(v)
}

// cases are schemas with answers that must and must not be possible.
var cases = []struct {
	name, schema string
	yes, no      []string
}{
	{"any", `true`, []string{`1`, `-0.5e+3`, `"x"`, `{}`, `[[[]]]`, `{"a":{"b":[null,true]}}`, `"\ud83d\ude00\/"`}, []string{`nul`, `01`, `"\ud83d"`, `[1,]`, `{"a"}`, `"a` + "\n" + `"`, ` 1`}},
	{"empty", `{}`, []string{`1`, `[]`}, []string{``}},
	{"null", `{"type":"null"}`, []string{`null`}, []string{`0`, `nulll`}},
	{"boolean", `{"type":"boolean"}`, []string{`true`, `false`}, []string{`null`}},
	{"types", `{"type":["string","null"]}`, []string{`null`, `"a"`}, []string{`1`, `true`}},
	{"integer", `{"type":"integer"}`, []string{`0`, `-12`, `123456789012345678`}, []string{`1.0`, `1e3`, `-`, `01`, `1234567890123456789`}},
	{"number", `{"type":"number"}`, []string{`0`, `-1.25`, `1e10`, `0.1E-7`}, []string{`.5`, `1.`, `1e`, `1e100`, `+1`}},
	{"range", `{"type":"integer","minimum":-5,"maximum":120}`, []string{`-5`, `0`, `7`, `99`, `120`}, []string{`-6`, `121`, `200`, `-0`, `1000`}},
	{"exclusive", `{"type":"integer","exclusiveMinimum":9,"exclusiveMaximum":101}`, []string{`10`, `100`}, []string{`9`, `101`}},
	{"minOnly", `{"type":"integer","minimum":100}`, []string{`100`, `5000`}, []string{`99`, `-100`, `1`}},
	{"maxOnly", `{"type":"integer","maximum":-10}`, []string{`-10`, `-11`, `-100`}, []string{`-9`, `10`, `0`}},
	{"fractionBounds", `{"type":"integer","minimum":1.5,"maximum":3.5}`, []string{`2`, `3`}, []string{`1`, `4`}},
	{"numberRange", `{"type":"number","minimum":0,"maximum":1}`, []string{`0`, `0.0`, `0.999`, `1`, `1.0`}, []string{`1.01`, `-0.1`, `2`, `1e0`}},
	{"numberOpen", `{"type":"number","exclusiveMinimum":0.05,"exclusiveMaximum":0.1}`, []string{`0.051`, `0.0999`}, []string{`0.05`, `0.050`, `0.1`, `0.04`}},
	{"numberNegative", `{"type":"number","minimum":-2.5,"exclusiveMaximum":-0.5}`, []string{`-2.5`, `-2.50`, `-0.51`, `-1`}, []string{`-2.51`, `-0.5`, `0`, `-3`}},
	{"multiple", `{"type":"integer","multipleOf":7,"minimum":-20,"maximum":50}`, []string{`0`, `7`, `49`, `-14`}, []string{`1`, `56`, `-21`}},
	{"cents", `{"type":"number","multipleOf":0.01,"minimum":0}`, []string{`1`, `1.25`, `0.1`}, []string{`1.255`}},
	{"quarter", `{"type":"number","multipleOf":0.25}`, []string{`0.5`, `-1.75`, `3`}, []string{`0.3`, `1.255`}},
	{"string", `{"type":"string"}`, []string{`""`, `"日本 é😀"`, `"a\"b\\c\u00e9\n"`}, []string{`"`, `"a`, "\"\x01\""}},
	{"length", `{"type":"string","minLength":2,"maxLength":4}`, []string{`"ab"`, `"日本語é"`, `"\ud83d\ude00\n"`}, []string{`"a"`, `"abcde"`, `""`}},
	{"minLength", `{"type":"string","minLength":3}`, []string{`"abc"`, `"abcdefghijklmnopqrstuvwxyz"`}, []string{`"ab"`}},
	{"zeroLength", `{"type":"string","maxLength":0}`, []string{`""`}, []string{`"a"`}},
	{"pattern", `{"type":"string","pattern":"^[a-z]{2,3}-\\d+$"}`, []string{`"ab-1"`, `"abc-123"`}, []string{`"a-1"`, `"ab-"`}},
	{"search", `{"type":"string","pattern":"b+"}`, []string{`"b"`, `"xxbby"`, `"\"b\n"`}, []string{`"a"`, `""`}},
	{"patternAndLength", `{"type":"string","pattern":"^(ab)*$","minLength":1,"maxLength":5}`, []string{`"ab"`, `"abab"`}, []string{`""`, `"ababab"`, `"aba"`}},
	{"unicodeClass", `{"type":"string","pattern":"^\\p{L}+$"}`, []string{`"é"`, `"日本"`, `"abc"`}, []string{`"1"`, `"a b"`}},
	{"ecma", `{"type":"string","pattern":"^\\u00e9\\/x$"}`, []string{`"é/x"`}, []string{`"e/x"`}},
	{"escapes", `{"type":"string","pattern":"^[\"\\\\\\n\\x01]+$"}`, []string{`"\"\\\n"`, `"\u0001"`}, []string{`"\u000a"`, `"a"`}},
	{"alternation", `{"type":"string","pattern":"^(?:foo|bar)$|^x"}`, []string{`"foo"`, `"xyz"`}, []string{`"fooo"`, `"y"`}},
	{"date", `{"type":"string","format":"date"}`, []string{`"2024-02-29"`, `"2023-12-31"`}, []string{`"2023-02-29"`, `"1900-02-29"`, `"2023-13-01"`}},
	{"dateTime", `{"type":"string","format":"date-time"}`, []string{`"2023-01-02T03:04:05Z"`, `"2023-01-02T03:04:05.123+02:00"`}, []string{`"2023-01-02"`, `"2023-01-02T24:04:05Z"`}},
	{"time", `{"type":"string","format":"time"}`, []string{`"23:59:59Z"`}, []string{`"23:59"`}},
	{"uuid", `{"type":"string","format":"uuid"}`, []string{`"123e4567-e89b-12d3-a456-426614174000"`}, []string{`"123e4567"`}},
	{"ipv4", `{"type":"string","format":"ipv4"}`, []string{`"192.168.0.255"`}, []string{`"256.1.1.1"`, `"01.1.1.1"`}},
	{"ipv6", `{"type":"string","format":"ipv6"}`, []string{`"::1"`, `"1:2:3:4:5:6:7:8"`}, []string{`"1:2"`}},
	{"email", `{"type":"string","format":"email"}`, []string{`"a.b@c.de"`}, []string{`"a@"`, `".a@b"`}},
	{"hostname", `{"type":"string","format":"hostname"}`, []string{`"a-b.c"`}, []string{`"-a"`}},
	{"duration", `{"type":"string","format":"duration"}`, []string{`"P1Y2M3DT4H"`, `"PT5S"`, `"P2W"`}, []string{`"P"`, `"PT"`, `"P1S"`}},
	{"otherFormat", `{"type":"string","format":"color"}`, []string{`"red"`}, nil},
	{"enum", `{"enum":["a","ab",1,1.5,null,true,[1,"x"],{"k":[]}]}`, []string{`"a"`, `"ab"`, `1`, `1.5`, `null`, `[1,"x"]`, `{"k":[]}`}, []string{`"b"`, `false`, `15`, `"abc"`}},
	{"enumTyped", `{"type":"string","enum":["x",1,"long one"],"maxLength":3}`, []string{`"x"`}, []string{`1`, `"long one"`}},
	{"const", `{"const":"a\"b\n/é"}`, []string{`"a\"b\n/é"`}, []string{`"a"`}},
	{"constNumber", `{"const":1.50}`, []string{`1.50`}, []string{`1`}},
	{"array", `{"type":"array","items":{"type":"integer"}}`, []string{`[]`, `[1]`, `[1, 2,3]`}, []string{`[1,]`, `["a"]`, `[1  ,2]`}},
	{"arrayCounts", `{"type":"array","items":{"type":"boolean"},"minItems":2,"maxItems":3}`, []string{`[true,true]`, `[true,false,true]`}, []string{`[true]`, `[true,true,true,true]`, `[]`}},
	{"tuple", `{"type":"array","prefixItems":[{"type":"string"},{"type":"integer"}],"items":false}`, []string{`["a",1]`, `["a"]`, `[]`}, []string{`["a",1,2]`, `[1]`}},
	{"tupleRest", `{"type":"array","prefixItems":[{"type":"string"}],"items":{"type":"null"},"minItems":2}`, []string{`["a",null]`, `["a",null,null]`}, []string{`["a"]`, `["a",1]`}},
	{"object", `{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"string"}},"required":["a"],"additionalProperties":false}`, []string{`{"a":1}`, `{"a":1,"b":"x"}`, `{"a": 1, "b": ""}`}, []string{`{}`, `{"b":"x"}`, `{"b":"x","a":1}`, `{"a":1,"c":2}`}},
	{"objectClosed", `{"type":"object","properties":{"a":{}}}`, []string{`{}`, `{"a":[1]}`}, []string{`{"b":1}`}},
	{"objectOpen", `{"type":"object","properties":{"a":{"type":"integer"}},"additionalProperties":true}`, []string{`{"a":1,"b":"x"}`, `{"b":1}`, `{"aa":[]}`}, []string{`{"a":"x"}`, `{"b":1,"a":2}`}},
	{"map", `{"type":"object","additionalProperties":{"type":"integer"}}`, []string{`{}`, `{"x":1,"y":2}`}, []string{`{"x":"a"}`}},
	{"bareObject", `{"type":"object"}`, []string{`{}`, `{"x":{"y":null}}`}, []string{`[]`}},
	{"allOptional", `{"type":"object","properties":{"a":{"const":1},"b":{"const":2},"c":{"const":3}}}`, []string{`{}`, `{"b":2}`, `{"a":1,"c":3}`, `{"a":1,"b":2,"c":3}`}, []string{`{"c":3,"a":1}`, `{"a":1,}`}},
	{"requiredUnlisted", `{"type":"object","required":["z"]}`, []string{`{"z":1}`, `{"z":1,"y":2}`}, []string{`{}`, `{"y":2}`}},
	{"minProps", `{"type":"object","minProperties":1}`, []string{`{"a":1}`}, []string{`{}`}},
	{"countProps", `{"type":"object","properties":{"a":{"const":1},"b":{"const":1},"c":{"const":1}},"minProperties":2,"maxProperties":2,"additionalProperties":false}`, []string{`{"a":1,"c":1}`, `{"b":1,"c":1}`}, []string{`{"a":1}`, `{"a":1,"b":1,"c":1}`, `{}`}},
	{"maxProps", `{"type":"object","maxProperties":2,"additionalProperties":{"type":"null"}}`, []string{`{}`, `{"a":null,"b":null}`}, []string{`{"a":null,"b":null,"c":null}`}},
	{"patternProps", `{"type":"object","patternProperties":{"^x":{"type":"integer"},"y$":{"minimum":5}},"additionalProperties":false}`, []string{`{"x":1}`, `{"xy":7}`, `{"y":"s"}`}, []string{`{"x":"s"}`, `{"xy":3}`, `{"a":1}`}},
	{"propertyNames", `{"type":"object","propertyNames":{"pattern":"^[a-c]+$"},"additionalProperties":{"const":1}}`, []string{`{"abc":1}`}, []string{`{"d":1}`, `{"":1}`}},
	{"quotedNames", `{"type":"object","properties":{"a\"b\n":{"const":1},"":{"const":2}},"required":["a\"b\n",""]}`, []string{`{"a\"b\n":1,"":2}`}, nil},
	{"defs", `{"$defs":{"p":{"type":"integer","minimum":1,"maximum":9}},"type":"array","items":{"$ref":"#/$defs/p"}}`, []string{`[1,9]`}, []string{`[0]`}},
	{"refSiblings", `{"$defs":{"p":{"type":"integer","minimum":1}},"$ref":"#/$defs/p","maximum":3}`, []string{`3`}, []string{`4`, `0`}},
	{"anchor", `{"$defs":{"p":{"$anchor":"here","type":"null"}},"$ref":"#here"}`, []string{`null`}, []string{`1`}},
	{"recursive", `{"$defs":{"node":{"type":"object","properties":{"v":{"type":"integer"},"next":{"anyOf":[{"type":"null"},{"$ref":"#/$defs/node"}]}},"required":["v","next"],"additionalProperties":false}},"$ref":"#/$defs/node"}`,
		[]string{`{"v":1,"next":null}`, `{"v":1,"next":{"v":2,"next":null}}`}, []string{`{"v":1}`}},
	{"tree", `{"type":"object","properties":{"kids":{"type":"array","items":{"$ref":"#"}}},"required":["kids"],"additionalProperties":false}`, []string{`{"kids":[]}`, `{"kids":[{"kids":[]},{"kids":[{"kids":[]}]}]}`}, []string{`{"kids":[1]}`}},
	{"anyOf", `{"anyOf":[{"type":"string","maxLength":2},{"type":"integer"}]}`, []string{`"ab"`, `12`}, []string{`"abc"`, `1.5`}},
	{"anyOfShared", `{"type":"object","required":["k"],"anyOf":[{"properties":{"k":{"const":"a"},"x":{"type":"integer"}},"required":["x"]},{"properties":{"k":{"const":"b"},"y":{"type":"string"}},"required":["y"]}]}`,
		[]string{`{"k":"a","x":1}`, `{"k":"b","y":"s"}`}, []string{`{"k":"a","y":"s"}`}},
	{"oneOf", `{"oneOf":[{"type":"string"},{"type":"integer"},{"type":"null"}]}`, []string{`"a"`, `1`, `null`}, []string{`1.5`}},
	{"oneOfConst", `{"oneOf":[{"type":"object","properties":{"t":{"const":"a"},"v":{"type":"integer"}},"required":["t","v"]},{"type":"object","properties":{"t":{"const":"b"},"v":{"type":"string"}},"required":["t","v"]}]}`,
		[]string{`{"t":"a","v":1}`, `{"t":"b","v":"x"}`}, []string{`{"t":"a","v":"x"}`}},
	{"oneOfRanges", `{"oneOf":[{"type":"integer","maximum":4},{"type":"integer","minimum":5}]}`, []string{`4`, `5`, `-3`}, nil},
	{"oneOfPatterns", `{"oneOf":[{"type":"string","pattern":"^a"},{"type":"string","pattern":"^b"}]}`, []string{`"ax"`, `"b"`}, []string{`"c"`}},
	{"allOf", `{"allOf":[{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]},{"properties":{"b":{"type":"string"}},"required":["b"]}]}`, []string{`{"a":1,"b":"x"}`}, []string{`{"a":1}`, `{"b":"x"}`}},
	{"allOfNumbers", `{"allOf":[{"type":"number"},{"minimum":3},{"type":"integer","maximum":5}]}`, []string{`3`, `5`}, []string{`2`, `3.5`}},
	{"allOfAnyOf", `{"allOf":[{"anyOf":[{"type":"string"},{"type":"integer"}]},{"anyOf":[{"maxLength":1},{"minimum":10}]}]}`, []string{`"a"`, `12`}, nil},
	{"allOfProperty", `{"allOf":[{"type":"object","properties":{"a":{"type":"integer"}}},{"properties":{"a":{"minimum":5}}}],"required":["a"]}`, []string{`{"a":5}`}, []string{`{"a":4}`}},
	{"deadOption", `{"type":"object","properties":{"a":false,"b":{"type":"integer"}}}`, []string{`{"b":1}`, `{}`}, []string{`{"a":1}`}},
	{"notConst", `{"type":"string","not":{"const":"no"}}`, []string{`"yes"`, `"nope"`, `""`}, []string{`"no"`}},
	{"notEnum", `{"enum":["a","b",3,null],"not":{"enum":["b",3.0]}}`, []string{`"a"`, `null`}, []string{`"b"`, `3`}},
	{"notNumber", `{"type":"integer","minimum":0,"maximum":5,"not":{"enum":[2,4,"x"]}}`, []string{`0`, `3`, `5`}, []string{`2`, `4`}},
	{"notType", `{"not":{"type":["object","array","null"]}}`, []string{`"a"`, `1`, `true`}, []string{`null`, `{}`, `[]`}},
	{"notPattern", `{"type":"string","not":{"pattern":"^[0-9]"},"maxLength":5}`, []string{`"a1"`, `""`}, []string{`"1a"`, `"abcdef"`}},
	{"notRange", `{"type":"integer","not":{"minimum":3,"maximum":6}}`, []string{`2`, `7`, `-1`}, []string{`3`, `6`}},
	{"notLength", `{"type":"string","not":{"minLength":2,"maxLength":3}}`, []string{`"a"`, `"abcd"`}, []string{`"ab"`, `"abc"`}},
	{"notRequired", `{"type":"object","properties":{"a":{"const":1},"b":{"const":2}},"not":{"required":["a","b"]}}`, []string{`{"a":1}`, `{"b":2}`, `{}`}, []string{`{"a":1,"b":2}`}},
	{"notAnyOf", `{"type":"object","properties":{"a":{"const":1},"b":{"const":2},"c":{"const":3}},"not":{"anyOf":[{"required":["a"]},{"required":["b"]}]}}`, []string{`{"c":3}`, `{}`}, []string{`{"a":1}`, `{"b":2,"c":3}`}},
	{"notProperty", `{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"],"not":{"properties":{"a":{"const":5}}}}`, []string{`{"a":4}`}, []string{`{"a":5}`}},
	{"notNot", `{"not":{"not":{"type":"null"}}}`, []string{`null`}, []string{`1`}},
	{"notItems", `{"type":"array","items":{"const":1},"not":{"minItems":2}}`, []string{`[]`, `[1]`}, []string{`[1,1]`}},
	{"ifThenElse", `{"type":"object","properties":{"country":{"enum":["US","CA","FR"]},"zip":{"type":"string"}},"required":["country","zip"],"if":{"properties":{"country":{"const":"US"}}},"then":{"properties":{"zip":{"pattern":"^[0-9]{5}$"}}},"else":{"properties":{"zip":{"maxLength":3}}}}`,
		[]string{`{"country":"US","zip":"12345"}`, `{"country":"FR","zip":"abc"}`}, []string{`{"country":"US","zip":"abc"}`, `{"country":"CA","zip":"12345"}`}},
	{"ifThen", `{"type":"object","properties":{"kind":{"type":"string","maxLength":4},"size":{"type":"integer"}},"required":["kind"],"if":{"properties":{"kind":{"const":"box"}},"required":["kind"]},"then":{"required":["size"]}}`,
		[]string{`{"kind":"box","size":1}`, `{"kind":"bag"}`, `{"kind":"bag","size":2}`}, []string{`{"kind":"box"}`}},
	{"ifOptional", `{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"integer"}},"if":{"required":["a"]},"then":{"required":["b"]},"else":{"properties":{"b":{"const":7}}}}`,
		[]string{`{"a":1,"b":2}`, `{"b":7}`, `{}`}, []string{`{"a":1}`, `{"b":2}`}},
	{"ifChain", `{"type":"object","properties":{"t":{"enum":["a","b","c"]},"v":{}},"required":["t","v"],"allOf":[{"if":{"properties":{"t":{"const":"a"}}},"then":{"properties":{"v":{"type":"integer"}}}},{"if":{"properties":{"t":{"const":"b"}}},"then":{"properties":{"v":{"type":"null"}}}}]}`,
		[]string{`{"t":"a","v":1}`, `{"t":"b","v":null}`, `{"t":"c","v":"x"}`}, []string{`{"t":"a","v":null}`, `{"t":"b","v":1}`}},
	{"ifNested", `{"type":"integer","if":{"if":{"minimum":5},"then":{"maximum":7},"else":{"maximum":2}},"then":{"not":{"const":6}},"else":{"minimum":9}}`, []string{`5`, `7`, `1`, `9`}, []string{`6`, `3`, `8`}},
	{"ifAlone", `{"type":"integer","if":{"items":{}}}`, []string{`1`}, []string{`null`}},
	{"ifRef", `{"$defs":{"big":{"minimum":10}},"type":"integer","if":{"$ref":"#/$defs/big"},"then":{"multipleOf":5}}`, []string{`9`, `10`, `15`}, []string{`11`}},
	{"dependentRequired", `{"type":"object","properties":{"card":{"const":1},"address":{"const":2},"x":{"const":3}},"dependentRequired":{"card":["address"]}}`, []string{`{}`, `{"address":2}`, `{"card":1,"address":2}`, `{"x":3}`}, []string{`{"card":1}`, `{"card":1,"x":3}`}},
	{"dependentSchemas", `{"type":"object","properties":{"a":{"const":1},"b":{"type":"integer"}},"dependentSchemas":{"a":{"properties":{"b":{"minimum":5}}}}}`, []string{`{"b":1}`, `{"a":1,"b":5}`, `{"a":1}`}, []string{`{"a":1,"b":1}`}},
	{"dependencies", `{"$schema":"http://json-schema.org/draft-07/schema#","type":"object","properties":{"a":{"const":1},"b":{"const":2},"c":{"const":3}},"dependencies":{"a":["b"],"b":{"required":["c"]}}}`, []string{`{"c":3}`, `{"b":2,"c":3}`, `{"a":1,"b":2,"c":3}`}, []string{`{"a":1}`, `{"a":1,"b":2}`, `{"b":2}`}},
	{"contains", `{"type":"array","items":{"type":["integer","string"]},"contains":{"type":"integer","minimum":10}}`, []string{`[10]`, `["a",12,"b"]`, `[1,2,30]`}, []string{`[]`, `["a"]`, `[1,9]`}},
	{"containsTwo", `{"type":"array","items":{"enum":[1,2,3]},"contains":{"const":3},"minContains":2,"maxItems":3}`, []string{`[3,3]`, `[3,1,3]`, `[3,3,3]`}, []string{`[3]`, `[3,1,2]`, `[1,3,3,3]`}},
	{"containsNone", `{"type":"array","items":{"type":"null"},"contains":{"const":3},"minContains":0}`, []string{`[]`, `[null]`}, []string{`[3]`}},
	{"containsTuple", `{"type":"array","prefixItems":[{"type":"string"}],"items":{"type":"integer"},"contains":{"minimum":5,"type":"integer"},"maxItems":3}`, []string{`["a",5]`, `["a",1,9]`}, []string{`["a"]`, `["a",1,2]`, `[7]`}},
	{"unique", `{"type":"array","items":{"enum":["a","b",1]},"uniqueItems":true,"minItems":1}`, []string{`["a"]`, `["b","a"]`, `[1,"b","a"]`}, []string{`[]`, `["a","a"]`, `[1,1]`}},
	{"uniqueMany", `{"type":"array","items":{"enum":["a","b","c","d","e","f","g","h","i","j"]},"uniqueItems":true,"minItems":2,"maxItems":4}`, []string{`["a","j"]`, `["b","c","e","h"]`}, []string{`["a"]`, `["a","a"]`, `["a","b","c","d","e"]`}},
	{"uniqueAll", `{"type":"array","items":{"enum":["a","b","c","d","e","f","g","h"]},"uniqueItems":true,"minItems":8}`, []string{`["a","b","c","d","e","f","g","h"]`}, []string{`["a"]`}},
	{"uniqueBooleans", `{"type":"array","items":{"type":["boolean","null"]},"uniqueItems":true}`, []string{`[]`, `[true,null,false]`}, []string{`[null,null]`}},
	{"uniqueOne", `{"type":"array","items":{"type":"string"},"uniqueItems":true,"maxItems":1}`, []string{`[]`, `["a"]`}, []string{`["a","b"]`}},
	{"ifOrNull", `{"type":["object","null"],"properties":{"kind":{"enum":["a","b"]},"x":{"type":"integer"},"y":{"type":"integer"}},"required":["kind"],"allOf":[{"if":{"properties":{"kind":{"const":"a"}}},"then":{"required":["x"]}},{"if":{"properties":{"kind":{"const":"b"}}},"then":{"required":["y"]}}]}`,
		[]string{`null`, `{"kind":"a","x":1}`, `{"kind":"b","y":2}`}, []string{`{"kind":"a","y":1}`, `{"kind":"b"}`, `{}`}},
	{"notInteger", `{"type":"number","not":{"type":"integer"}}`,
		[]string{`0.5`, `-1.25`, `123456789012345678.999999999999999`}, []string{`1`, `1.0`, `0`, `-0.0`, `15e-1`, `1e3`}},
	{"notIntegerBounded", `{"type":"number","minimum":-1,"exclusiveMaximum":2.5,"not":{"type":"integer"}}`,
		[]string{`0.5`, `-0.25`, `2.49`}, []string{`-1`, `0`, `1.0`, `2.5`, `-1.5`}},
	{"notIntegerMultiple", `{"type":["number","null"],"multipleOf":0.5,"not":{"type":"integer"}}`,
		[]string{`0.5`, `-1.5`, `null`}, []string{`1`, `2.0`, `0.25`}},
	{"ifInteger", `{"type":"number","if":{"type":"integer"},"then":{"minimum":10},"else":{"maximum":1}}`,
		[]string{`0.5`, `10`, `-3.5`}, []string{`1`, `9`, `1.5`, `10.5`}},
	{"enumNotInteger", `{"enum":[1,1.5,"x"],"not":{"type":"integer"}}`,
		[]string{`1.5`, `"x"`}, []string{`1`}},
	{"oneOfNumbers", `{"oneOf":[{"type":"integer","minimum":3},{"type":"number","not":{"type":"integer"}}]}`,
		[]string{`3`, `1.5`}, []string{`2`, `4.0`}},
	{"oneOfShapes", `{"oneOf":[{"type":"object","properties":{"circle":{"type":"integer"}},"required":["circle"]},{"type":["object","null"],"properties":{"square":{"type":"integer"}},"required":["square"]},{"type":"object","properties":{"line":{"type":"integer"},"dots":{"type":"integer"}},"required":["line"]}]}`,
		[]string{`{"circle":1}`, `{"square":2}`, `{"line":3,"dots":4}`, `null`}, []string{`{"circle":1,"square":2}`, `{"line":1,"square":2}`, `{"dots":1}`}},
	{"oneOfShapesOpen", `{"additionalProperties":{"type":"integer"},"properties":{"size":{"const":1},"circle":{},"square":{}},"oneOf":[{"type":"object","properties":{"circle":{"type":"integer"}},"required":["circle"]},{"type":"object","properties":{"square":{"type":"integer"}},"required":["square"]}]}`,
		[]string{`{"circle":1}`, `{"size":1,"square":2,"x":3}`}, []string{`{"circle":1,"square":2}`, `{"size":1}`}},
	{"oneOfTagged", `{"oneOf":[{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"],"additionalProperties":false},{"type":"object","properties":{"b":{"type":"integer"}},"required":["b"]}]}`,
		[]string{`{"a":1}`, `{"b":1}`}, []string{`{"a":1,"b":1}`}},
	{"notOneOf", `{"type":"integer","not":{"oneOf":[{"minimum":5},{"maximum":1}]}}`,
		[]string{`2`, `4`}, []string{`1`, `5`}},
	{"notLongArray", `{"type":"array","items":{"const":1},"not":{"maxItems":2}}`,
		[]string{`[1,1,1]`}, []string{`[1,1]`}},
	{"draft7", `{"$schema":"http://json-schema.org/draft-07/schema#","type":"array","items":[{"type":"string"}],"additionalItems":{"type":"integer"}}`, []string{`["a",1]`}, []string{`[1]`}},
	{"annotations", `{"title":"t","description":"d","default":1,"examples":[1],"x-order":3,"type":"integer","$comment":"c"}`, []string{`1`}, nil},
}

// TestCases checks the answers of each case against our matcher, in every
// vocabulary, and the accepted ones against the validator.
func TestCases(t *testing.T) {
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			g, err := FromSchema([]byte(tc.schema), Options{})
			if err != nil {
				t.Fatal(err)
			}
			s := validator(t, tc.schema)
			for _, v := range []*Vocab{tinyVocab(), demoVocab()} {
				for _, yes := range tc.yes {
					if err := validate(s, yes); err != nil {
						t.Errorf("the case is wrong: %s: %v", yes, err)
					}
					m := g.NewMatcher(v)
					if err := accept(m, yes); err != nil || !m.CanEnd() {
						t.Errorf("%s is refused: %v", yes, err)
					}
				}
				for _, no := range tc.no {
					m := g.NewMatcher(v)
					if err := accept(m, no); err == nil && m.CanEnd() {
						t.Errorf("%s is accepted", no)
					}
				}
			}
		})
	}
}

// TestWalksValidate lets chance choose among the allowed tokens: whatever comes
// out must be valid, and the walk must never be stuck.
func TestWalksValidate(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	check := func(schema string, o Options, walks int) {
		t.Helper()
		g, err := FromSchema([]byte(schema), o)
		if err != nil {
			t.Fatalf("%s: %v", schema, err)
		}
		s := validator(t, schema)
		for i := range walks {
			m := g.NewMatcher([]*Vocab{tinyVocab(), demoVocab()}[i%2])
			text := m.v.tok.Decode(walk(t, m, rng))
			if err := validate(s, text); err != nil {
				t.Errorf("%s\nanswer %s: %v", schema, text, err)
			}
		}
	}
	for i, tc := range cases {
		check(tc.schema, Options{Whitespace: Whitespace(i % 3)}, 12)
	}
	for i := range 200 {
		r := randomSchema(rng)
		check(r, Options{Whitespace: Whitespace(i % 3)}, 4)
	}
}

// TestInstancesAccepted is the other direction: what an independent generator
// makes for a schema can be produced token by token.
func TestInstancesAccepted(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	n := 0
	for range 200 {
		schema := randomSchema(rng)
		g, err := FromSchema([]byte(schema), Options{})
		if err != nil {
			t.Fatalf("%s: %v", schema, err)
		}
		s := validator(t, schema)
		for i := range 6 {
			instance := randomInstance(rng, schema)
			if err := validate(s, instance); err != nil {
				t.Fatalf("the generator is wrong: %s\ninstance %s: %v", schema, instance, err)
			}
			m := g.NewMatcher([]*Vocab{tinyVocab(), demoVocab()}[i%2])
			if err := accept(m, instance); err != nil || !m.CanEnd() {
				t.Errorf("%s\ninstance %s is refused: %v", schema, instance, err)
			}
			n++
		}
	}
	if n < 1000 {
		t.Errorf("only %d instances", n)
	}
}

// TestMaskIsAccept compares each mask on a walk with trying every token.
func TestMaskIsAccept(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	v := tinyVocab()
	check := func(schema string, g *Grammar) {
		m := g.NewMatcher(v)
		for step := 0; step < 25 && !m.MustEnd(); step++ {
			may := ids(m, make([]uint64, v.words))
			for id := range int32(v.tok.Len()) {
				if err := m.Clone().Accept(id); (err == nil) != slices.Contains(may, id) {
					t.Fatalf("%s: id %d %q: accept says %v, the mask otherwise", schema, id, v.tok.Piece(id), err)
				}
			}
			again := ids(m.Clone(), make([]uint64, v.words))
			if !slices.Equal(may, again) {
				t.Fatalf("%s: the clone has another mask", schema)
			}
			if err := m.Accept(may[rng.IntN(len(may))]); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i, tc := range cases {
		g, err := FromSchema([]byte(tc.schema), Options{Whitespace: Whitespace(i % 3)})
		if err != nil {
			t.Fatal(err)
		}
		check(tc.schema, g)
	}
	for range 60 {
		schema := randomSchema(rng)
		g, err := FromSchema([]byte(schema), Options{})
		if err != nil {
			t.Fatal(err)
		}
		check(schema, g)
	}
	for _, expr := range []string{`a{2,30}b?`, `[a-c]{1,20}(\.[0-9]{2,5})*`, `.*`, `(ab|a)(c|bcd)*`} {
		g, err := FromRegex(expr, Options{})
		if err != nil {
			t.Fatal(err)
		}
		check(expr, g)
	}
}

// TestRefused lists what must be an error, of which kind, naming which place.
func TestRefused(t *testing.T) {
	for _, tc := range []struct {
		name, schema string
		kind         error
		says         string
	}{
		{"not", `{"type":"object","properties":{"a":{"type":"number","not":{"multipleOf":2}}}}`, ErrUnsupported, "/properties/a/not"},
		{"notAnything", `{"type":"object","properties":{"a":{"not":{}}},"required":["a"]}`, ErrUnsupported, "no value"},
		{"if", `{"if":{"additionalProperties":false},"then":{"required":["x"]}}`, ErrUnsupported, "/if"},
		{"notItself", `{"type":"array","items":{"not":{"$ref":"#"}}}`, ErrUnsupported, "/items/not"},
		{"dependent", `{"dependentRequired":{"a":"b"}}`, nil, "/dependentRequired/a"},
		{"containsTwice", `{"type":"array","allOf":[{"contains":{"const":1}},{"contains":{"const":2}}]}`, ErrUnsupported, "contains twice"},
		{"maxContains", `{"type":"array","contains":{"const":1},"maxContains":2}`, ErrUnsupported, "/maxContains"},
		{"containsMany", `{"type":"array","contains":{"const":1},"minContains":100}`, ErrTooComplex, "minContains"},
		{"uniqueTuple", `{"type":"array","prefixItems":[{"const":1}],"items":{"const":2},"uniqueItems":true}`, ErrUnsupported, "prefixItems"},
		{"overlapFraction", `{"oneOf":[{"type":"number"},{"type":["number","null"],"not":{"type":"integer"}}]}`, ErrUnsupported, "/oneOf"},
		{"overlapClosed", `{"oneOf":[{"type":"object","properties":{"a":{"type":"integer"}}},{"type":"object","properties":{"b":{"type":"integer"}},"required":["b"]}]}`, ErrUnsupported, "/oneOf"},
		{"overlapPart", `{"oneOf":[{"type":"object","properties":{"a":{}},"required":["a"]},{"type":"object","properties":{"a":{},"b":{}},"required":["a","b"]}]}`, ErrUnsupported, "/oneOf"},
		{"overlapThird", `{"oneOf":[{"type":"object","properties":{"d":{},"b":{}},"required":["d","b"]},{"type":"object","properties":{"a":{}},"required":["a"]},{"type":"object","properties":{"a":{},"d":{}},"required":["a","d"]}]}`, ErrUnsupported, "/oneOf"},
		{"overlapOpposite", `{"oneOf":[{"not":{"oneOf":[{"minimum":1},{"minimum":2}]}},{"type":"integer","minimum":2}]}`, ErrUnsupported, "opposite of oneOf"},
		{"notNotOneOf", `{"not":{"not":{"oneOf":[{"type":"integer"},{"type":"number"}]}}}`, ErrUnsupported, "oneOf"},
		{"notMaxItems", `{"type":"array","items":{"const":1},"not":{"maxItems":5000}}`, ErrUnsupported, "/not"},
		{"notArray", `{"type":["array","null"],"not":{"const":[]}}`, ErrUnsupported, "array or object"},
		{"notObject", `{"type":"object","properties":{"a":{"type":"object","not":{"const":{}}}},"required":["a"]}`, ErrUnsupported, "/properties/a"},
		{"noFraction", `{"type":"number","multipleOf":2,"not":{"type":"integer"}}`, ErrUnsupported, "no value"},
		{"unknown", `{"minimun":3}`, ErrUnsupported, "/minimun"},
		{"unique", `{"type":"array","uniqueItems":true}`, ErrUnsupported, "/uniqueItems"},
		{"overlap", `{"oneOf":[{"type":"integer"},{"type":"number"}]}`, ErrUnsupported, "/oneOf"},
		{"remote", `{"$ref":"https://example.com/x.json"}`, ErrUnsupported, "/$ref"},
		{"nowhere", `{"$ref":"#/$defs/x"}`, nil, "leads nowhere"},
		{"loop", `{"$ref":"#"}`, ErrUnsupported, "itself"},
		{"loop2", `{"$defs":{"a":{"anyOf":[{"$ref":"#/$defs/b"},{"type":"null"}]},"b":{"allOf":[{"$ref":"#/$defs/a"}]}},"$ref":"#/$defs/a"}`, ErrUnsupported, "itself"},
		{"endless", `{"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]}`, ErrUnsupported, "no value"},
		{"never", `false`, ErrUnsupported, "no value"},
		{"noInteger", `{"type":"integer","minimum":1.2,"maximum":1.8}`, ErrUnsupported, "no value"},
		{"noString", `{"type":"string","pattern":"^a$","minLength":2}`, ErrUnsupported, "no value"},
		{"empty", `{"enum":[]}`, ErrUnsupported, "no value"},
		{"lookahead", `{"type":"string","pattern":"(?=a)b"}`, ErrUnsupported, "/pattern"},
		{"boundary", `{"type":"string","pattern":"\\bfoo"}`, ErrUnsupported, "word boundaries"},
		{"minProps", `{"type":"object","minProperties":3}`, ErrUnsupported, "minProperties"},
		{"type", `{"type":"int"}`, nil, "/type"},
		{"syntax", `{"type":`, nil, "read schema"},
		{"behind", `{} {}`, nil, "behind it"},
		{"twice", `{"type":"null","type":"string"}`, nil, "twice"},
		{"noSchema", `{"items":3}`, nil, "/items"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := FromSchema([]byte(tc.schema), Options{})
			if err == nil || !strings.Contains(err.Error(), tc.says) || tc.kind != nil && !errors.Is(err, tc.kind) {
				t.Errorf("got %v, want one that says %q and is %v", err, tc.says, tc.kind)
			}
		})
	}
}

// TestLongChains: one condition for each of many kinds of a thing is common.
func TestLongChains(t *testing.T) {
	const kinds = 30
	var all, enum []string
	for i := range kinds {
		enum = append(enum, fmt.Sprintf(`"k%d"`, i))
		all = append(all, fmt.Sprintf(`{"if":{"properties":{"kind":{"const":"k%d"}},"required":["kind"]},"then":{"properties":{"v":{"const":%d}},"required":["v"]}}`, i, i))
	}
	schema := `{"type":"object","properties":{"kind":{"enum":[` + strings.Join(enum, ",") + `]},"v":{"type":"integer"}},"required":["kind"],"allOf":[` + strings.Join(all, ",") + `]}`
	g, err := FromSchema([]byte(schema), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{`{"kind":"k7","v":7}`: true, `{"kind":"k29","v":29}`: true, `{"kind":"k7","v":8}`: false, `{"kind":"k7"}`: false} {
		m := g.NewMatcher(tinyVocab())
		if may := accept(m, text) == nil && m.CanEnd(); may != want {
			t.Errorf("%s: %v", text, may)
		}
	}
}

// TestHostile gives schemas made to exhaust time or memory. Each must compile or
// be refused as too complex; the limits see to it that it is soon and takes little memory,
// all that is ever allocated counted.
func TestHostile(t *testing.T) {
	var doubling strings.Builder
	doubling.WriteString(`{"$defs":{"d0":{"type":"null"}`)
	for i := range 40 {
		fmt.Fprintf(&doubling, `,"d%d":{"anyOf":[{"$ref":"#/$defs/d%d"},{"$ref":"#/$defs/d%d"}]}`, i+1, i, i)
	}
	doubling.WriteString(`},"$ref":"#/$defs/d40"}`)
	many := func(n int, f func(i int) string) string {
		parts := make([]string, n)
		for i := range parts {
			parts[i] = f(i)
		}
		return strings.Join(parts, ",")
	}
	for _, tc := range []struct {
		name, schema string
		refused      bool
	}{
		{"depth", strings.Repeat(`{"items":`, 5000) + `{}` + strings.Repeat(`}`, 5000), true},
		{"doubling", doubling.String(), true},
		{"product", `{"allOf":[` + many(20, func(i int) string {
			return fmt.Sprintf(`{"anyOf":[{"minimum":%d},{"maxLength":%d},{"maxItems":%d}]}`, i, i, i)
		}) + `]}`, true},
		{"notDoubling", strings.Replace(doubling.String(), `"$ref":"#/$defs/d40"}`, `"not":{"$ref":"#/$defs/d40"}}`, 1), true},
		{"notWide", `{"$defs":{"a":{"allOf":[` + many(500, func(int) string { return `{"$ref":"#/$defs/b"}` }) + `]},"b":{"allOf":[` + many(500, func(int) string { return `{"$ref":"#/$defs/c"}` }) +
			`]},"c":{"allOf":[` + many(500, func(int) string { return `{}` }) + `]}},"not":{"$ref":"#/$defs/a"}}`, true},
		{"ifs", `{"type":"object","properties":{"a":{}},"allOf":[` + many(40, func(i int) string {
			return fmt.Sprintf(`{"if":{"required":["a%d"]},"then":{"required":["b%d"]}}`, i, i)
		}) + `]}`, true},
		{"dependent", `{"dependentRequired":{` + many(60, func(i int) string { return fmt.Sprintf(`"a%d":["b%d"]`, i, i) }) + `}}`, true},
		{"dependentMany", `{"dependentRequired":{` + many(20_000, func(i int) string { return fmt.Sprintf(`"a%d":[]`, i) }) + `}}`, true},
		{"notNumbers", `{"not":{"enum":[` + many(20_000, func(i int) string { return fmt.Sprint(i) }) + `]}}`, true},
		{"notStrings", `{"not":{"enum":[` + many(20_000, func(i int) string { return fmt.Sprintf(`"%d"`, i) }) + `]},"anyOf":[` + many(900, func(i int) string { return fmt.Sprintf(`{"minLength":%d}`, i) }) + `]}`, true},
		{"notManyRequired", `{"not":{"required":[` + many(20_000, func(i int) string { return fmt.Sprintf(`"%d"`, i) }) + `]}}`, true},
		{"impossibleValues", `{"$defs":{"e":{"enum":[` + many(20_000, func(i int) string { return fmt.Sprint(i) }) + `]}},"required":["a"],"anyOf":[{}],"allOf":[` +
			many(31, func(int) string { return `{"properties":{"a":{"$ref":"#/$defs/e"}}}` }) + `]}`, false},
		{"impossibleNames", `{"required":[` + many(20_000, func(i int) string { return fmt.Sprintf(`"%d"`, i) }) + `],"anyOf":[{}],"allOf":[` + many(5000, func(int) string { return `{"properties":{}}` }) + `]}`, true},
		{"names", `{"type":"object","required":[` + many(20_000, func(i int) string { return fmt.Sprintf(`"%d"`, i) }) + `],"allOf":[` + many(5000, func(int) string { return `{}` }) + `]}`, true},
		{"shapes", `{"oneOf":[` + many(60, func(i int) string {
			return fmt.Sprintf(`{"type":"object","properties":{"p%d":{}},"required":["p%d"]}`, i, i)
		}) + `]}`, false},
		{"contains", `{"type":"array","maxItems":4000,"contains":{"type":"integer"},"minContains":60}`, true},
		{"unique", `{"type":"array","uniqueItems":true,"items":{"enum":[` + many(5000, func(i int) string { return fmt.Sprint(i) }) + `]}}`, true},
		{"counted", `{"type":"string","pattern":"^(a{1,1000}){1,1000}$"}`, true},
		{"counted2", `{"type":"string","pattern":"^(([a-z]{1,30}){1,30}x){1,30}$"}`, true},
		{"subsets", `{"type":"string","pattern":"^(a|b)*a(a|b){16}$"}`, true},
		{"nestedPlus", `{"type":"string","pattern":"^(((a+)+)+)+$"}`, false},
		{"patterns", `{"anyOf":[` + many(700, func(i int) string { return fmt.Sprintf(`{"pattern":"^a%d+$","type":"string"}`, i) }) + `]}`, true},
		{"minItems", `{"type":"array","minItems":1000000000}`, true},
		{"maxItems", `{"type":"array","maxItems":1e12}`, false},
		{"maxLength", `{"type":"string","minLength":100000000,"maxLength":1e50}`, false},
		{"number", `{"minimum":1e1000000000}`, true},
		{"digits", `{"type":"integer","maximum":` + strings.Repeat("9", 5000) + `}`, true},
		{"multipleOf", `{"type":"integer","multipleOf":123456789}`, true},
		{"branches", `{"anyOf":[` + many(5000, func(i int) string { return fmt.Sprintf(`{"type":"string","maxLength":%d}`, i) }) + `]}`, true},
		{"wideRecursion", `{"anyOf":[` + many(50, func(i int) string { return fmt.Sprintf(`{"type":"array","maxItems":%d,"items":{"$ref":"#"}}`, i+1) }) + `]}`, false},
		{"optionals", `{"type":"object","properties":{` + many(3000, func(i int) string { return fmt.Sprintf(`"p%d":{"type":"integer"}`, i) }) + `}}`, false},
		{"nestedProps", `{"type":"object","maxProperties":250,"properties":{` + many(3000, func(i int) string { return fmt.Sprintf(`"p%d":{}`, i) }) + `}}`, true},
		{"patternProps", `{"type":"object","patternProperties":{` + many(20, func(i int) string { return fmt.Sprintf(`"a%d":{}`, i) }) + `}}`, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			g, err := FromSchema([]byte(tc.schema), Options{})
			runtime.ReadMemStats(&after)
			n := after.TotalAlloc - before.TotalAlloc
			if t.Logf("%d KiB allocated", n>>10); n > 300<<20 {
				t.Errorf("compiling it allocated %d MiB, want at most 300", n>>20)
			}
			if tc.refused {
				if !errors.Is(err, ErrTooComplex) {
					t.Errorf("got %v, want too complex", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			m := g.NewMatcher(tinyVocab())
			rng := rand.New(rand.NewPCG(7, 8))
			for range 30 {
				may := ids(m, make([]uint64, m.v.words))
				if len(may) == 0 {
					break
				}
				if err := m.Accept(may[rng.IntN(len(may))]); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestHugeEnum has 100,000 values.
func TestHugeEnum(t *testing.T) {
	var b bytes.Buffer
	b.WriteString(`{"enum":[`)
	for i := range 100_000 {
		fmt.Fprintf(&b, `"value %d of many",`, i*7919%1_000_003)
	}
	b.WriteString(`null]}`)
	g, err := FromSchema(b.Bytes(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	m := g.NewMatcher(demoVocab())
	if err := accept(m, `"value 7919 of many"`); err != nil || !m.MustEnd() {
		t.Errorf("a value is refused: %v", err)
	}
	if err := accept(g.NewMatcher(demoVocab()), `"value 7920 of many"`); err == nil {
		t.Error("another is accepted")
	}
}

// TestDeepNesting fills the depth and sees that it ends in time.
func TestDeepNesting(t *testing.T) {
	m := JSON().NewMatcher(demoVocab())
	if err := accept(m, strings.Repeat("[", defaultDepth)); err != nil {
		t.Fatal(err)
	}
	if err := accept(m.Clone(), "[["); err == nil {
		t.Error("two levels more are accepted")
	}
	if err := accept(m, "1"+strings.Repeat("]", defaultDepth)); err != nil || !m.MustEnd() {
		t.Errorf("closing: %v", err)
	}
	if !json.Valid([]byte(strings.Repeat("[", defaultDepth) + "1" + strings.Repeat("]", defaultDepth))) {
		t.Error("the test is wrong")
	}
}

// TestShared: one grammar and one vocabulary serve many goroutines, which all see
// the same masks. For the race detector.
func TestShared(t *testing.T) {
	v := NewVocab(demoVocab().tok)
	v.cache.limit = 100_000 // so that masks come and go
	schema := []byte(`{"type":"array","items":{"anyOf":[{"type":"string","minLength":1,"maxLength":30},{"type":"string","pattern":"^[a-z]+$"},{"type":"number"}]}}`)
	g, err := FromSchema(schema, Options{})
	if err != nil {
		t.Fatal(err)
	}
	texts := make([]string, 8)
	var all sync.WaitGroup
	for i := range texts {
		all.Go(func() {
			m := g.NewMatcher(v)
			rng := rand.New(rand.NewPCG(25, 26))
			var out []int32
			for !m.MustEnd() && len(out) < 60 {
				may := ids(m, make([]uint64, v.words))
				m = m.Clone()
				id := may[rng.IntN(len(may))]
				if err := m.Accept(id); err != nil {
					t.Error(err)
					return
				}
				out = append(out, id)
			}
			texts[i] = v.tok.Decode(out)
		})
	}
	all.Wait()
	for _, text := range texts {
		if text != texts[0] {
			t.Errorf("%q and %q", text, texts[0])
		}
	}
}
