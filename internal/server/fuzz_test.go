package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/plume-run/plume"
)

// fuzzDecoder feeds a decoder: whatever comes, it returns a job or names what
// is wrong, and a job's whole answer is JSON.
func fuzzDecoder(f *testing.F, decode func(s *Server) func([]byte) (*job, *apiError), seeds ...string) {
	s, err := New(testOptions(&fakeEngine{}))
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range seeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		j, e := decode(s)(body)
		switch {
		case e != nil && (j != nil || e.text == "" || e.status() < 400):
			t.Fatalf("%v, %+v", j, e)
		case e != nil || j.whole == nil:
			return
		}
		answers := make([]answer, len(j.requests))
		for i := range answers {
			answers[i] = answer{text: "a", thinking: "b", result: plume.Result{Finish: plume.FinishStop}}
		}
		if _, err := json.Marshal(j.whole(answers)); err != nil {
			t.Fatal(err)
		}
	})
}

const fuzzTool = `"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}]`

func FuzzChat(f *testing.F) {
	fuzzDecoder(f, func(s *Server) func([]byte) (*job, *apiError) { return s.decodeChat }, say,
		`{"messages":[{"role":"system","content":[{"type":"text","text":"a"}]},{"role":"assistant","tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"1","content":"x"}],`+fuzzTool+`,"tool_choice":{"type":"function","function":{"name":"f"}},"response_format":{"type":"json_schema","json_schema":{"name":"a","schema":{}}},"n":2,"seed":0,"stop":["a"],"logprobs":true,"top_logprobs":2}`)
}

func FuzzCompletion(f *testing.F) {
	fuzzDecoder(f, func(s *Server) func([]byte) (*job, *apiError) { return s.decodeCompletion },
		`{"prompt":"a","echo":true,"logprobs":1}`, `{"prompt":[[1,2],"a"],"n":2}`)
}

func FuzzResponse(f *testing.F) {
	fuzzDecoder(f, func(s *Server) func([]byte) (*job, *apiError) { return s.decodeResponse }, `{"input":"a"}`,
		`{"input":[{"role":"user","content":"a"},{"type":"reasoning","summary":[]},{"type":"function_call","call_id":"1","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"1","output":"x"}],"tools":[{"type":"function","name":"f"}],"tool_choice":"auto","text":{"format":{"type":"json_object"}},"reasoning":{"effort":"low"}}`)
}

func FuzzMessages(f *testing.F) {
	fuzzDecoder(f, func(s *Server) func([]byte) (*job, *apiError) { return s.decodeMessages }, `{"max_tokens":1,"messages":[{"role":"user","content":"a"}]}`,
		`{"max_tokens":9,"system":"s","thinking":{"type":"enabled","budget_tokens":1},"tools":[{"name":"f","input_schema":{}}],"tool_choice":{"type":"tool","name":"f"},"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"t"},{"type":"tool_use","id":"1","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"1","content":"x"},{"type":"text","text":"y"}]}]}`)
}

func FuzzOllamaChat(f *testing.F) {
	fuzzDecoder(f, func(s *Server) func([]byte) (*job, *apiError) { return s.decodeOllamaChat }, `{"model":"tiny","stream":false,"messages":[]}`,
		`{"model":"tiny","stream":false,"think":"high","format":{},"options":{"seed":1,"stop":"a","num_predict":-1},`+fuzzTool+`,"messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":{}}}]},{"role":"tool","tool_name":"f","content":"x"}]}`)
}

func FuzzOllamaGenerate(f *testing.F) {
	fuzzDecoder(f, func(s *Server) func([]byte) (*job, *apiError) { return s.decodeOllamaGenerate },
		`{"model":"tiny","prompt":"a","stream":false}`, `{"model":"tiny","prompt":"a","raw":true,"format":"json","think":true}`)
}

// fuzzHandler feeds a handler that reads its body itself: whatever comes, it answers with
// JSON, and a refusal says why.
func fuzzHandler(f *testing.F, path string, seeds ...string) {
	o := testOptions(&fakeEngine{})
	o.Pull = func(_ context.Context, name string, progress func(PullProgress)) error {
		progress(PullProgress{Status: name})
		return errors.New("no " + name)
	}
	s, err := New(o)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range seeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r := httptest.NewRequest("POST", "http://localhost"+path, bytes.NewReader(body))
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		for line := range bytes.Lines(w.Body.Bytes()) {
			if !json.Valid(line) {
				t.Fatalf("%d %q", w.Code, line)
			}
		}
		if w.Body.Len() == 0 || w.Code >= 400 && !bytes.Contains(w.Body.Bytes(), []byte(`"error"`)) || w.Code == 500 && !strings.Contains(w.Body.String(), "no ") {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if n := s.bodies.Load(); n != 0 {
			t.Fatalf("%d bytes are still held", n)
		}
	})
}

func FuzzCountTokens(f *testing.F) {
	fuzzHandler(f, "/v1/messages/count_tokens", `{"messages":[{"role":"user","content":"a"}]}`,
		`{"model":"tiny","system":"s","tools":[{"name":"f","input_schema":{}}],"tool_choice":{"type":"tool","name":"f"},"messages":[{"role":"user","content":[{"type":"text","text":"y"}]}]}`)
}

func FuzzShow(f *testing.F) {
	fuzzHandler(f, "/api/show", `{"model":"tiny"}`, `{"name":"tiny:latest","verbose":true}`)
}

func FuzzPull(f *testing.F) {
	fuzzHandler(f, "/api/pull", `{"model":"tiny"}`, `{"model":"a/b","stream":false}`, `{"name":"a/b","insecure":false}`)
}
