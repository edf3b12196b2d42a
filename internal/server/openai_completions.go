package server

import (
	"encoding/json"

	"github.com/plume-run/plume"
)

// completionRequest is the body of POST /v1/completions: plain text continued,
// without chat form.
type completionRequest struct {
	Model  string          `json:"model"`
	Prompt json.RawMessage `json:"prompt"`
	openaiSampling
	MaxTokens      *int            `json:"max_tokens"`
	N              *int            `json:"n"`
	Stop           json.RawMessage `json:"stop"`
	Stream         bool            `json:"stream"`
	StreamOptions  *streamOptions  `json:"stream_options"`
	Logprobs       *int            `json:"logprobs"`
	Echo           bool            `json:"echo"`
	Report         bool            `json:"plume_report"`
	ResponseFormat json.RawMessage `json:"response_format"`

	// Refused when they ask for something.
	Suffix    string         `json:"suffix"`
	BestOf    *int           `json:"best_of"`
	LogitBias map[string]any `json:"logit_bias"`

	User ignored `json:"user"`
}

func (s *Server) decodeCompletion(body []byte) (*job, *apiError) {
	q, err := decode[completionRequest]("", body)
	if err != nil {
		return nil, err
	}
	model, err := s.named(q.Model)
	if err != nil {
		return nil, err
	}
	base, err := s.completionBase(q)
	if err != nil {
		return nil, err
	}
	prompts, err := completionPrompts(q.Prompt)
	if err != nil {
		return nil, err
	}
	n := 1
	if q.N != nil {
		n = *q.N
	}
	total := n * len(prompts)
	err = first(within("n", &n, 1, s.opt.MaxChoices), within("prompt", &total, 1, s.opt.MaxChoices))
	if err != nil {
		return nil, err
	}
	j := &job{model: model}
	head := completionHead{id: s.newID("cmpl-"), created: s.now().Unix(), model: model, logprobs: q.Logprobs != nil, report: q.Report}
	for _, p := range prompts {
		r := *base
		r.Raw, r.Tokens = p.text, p.tokens
		j.requests = append(j.requests, choices(r, n)...)
		for range n {
			head.echo = append(head.echo, echoed(q.Echo, p.text))
		}
	}
	head.perPrompt = n
	if q.Stream {
		withUsage := q.Report || q.StreamOptions != nil && q.StreamOptions.IncludeUsage
		j.stream = func(out *sink) streamer {
			return &completionStream{out: out, head: head, usage: withUsage, answers: make([]answer, total), written: make([]int, total)}
		}
	} else {
		j.whole = head.encode
	}
	return j, nil
}

func echoed(echo bool, text string) string {
	if echo {
		return text
	}
	return ""
}

// completionBase is the request without its prompt.
func (s *Server) completionBase(q *completionRequest) (*plume.Request, *apiError) {
	switch {
	case q.Suffix != "":
		return nil, unsupported("suffix", "the model only continues text")
	case q.BestOf != nil && *q.BestOf != 1:
		return nil, unsupported("best_of", "ask for n answers and choose among them")
	case len(q.LogitBias) > 0:
		return nil, unsupported("logit_bias", "not supported")
	case q.StreamOptions != nil && !q.Stream:
		return nil, refuse("stream_options", "needs stream to be true")
	}
	r := &plume.Request{MaxTokens: 16} // the original's own default
	var err *apiError
	if r.Sampling, err = q.apply(s.opt.Model.Sampling); err != nil {
		return nil, err
	}
	if r.Stop, err = stopStrings("stop", q.Stop); err != nil {
		return nil, err
	}
	if r.Format, err = responseFormat("response_format", q.ResponseFormat); err != nil {
		return nil, err
	}
	if q.MaxTokens != nil {
		if r.MaxTokens, err = s.maxTokens("max_tokens", q.MaxTokens); err != nil {
			return nil, err
		}
	}
	if q.Logprobs != nil {
		if err = within("logprobs", q.Logprobs, 0, 20); err != nil {
			return nil, err
		}
		if r.Logprobs = *q.Logprobs; r.Logprobs == 0 {
			r.Logprobs = sampledOnly
		}
	}
	return r, nil
}

// prompt is one text, or its ids.
type prompt struct {
	text   string
	tokens []int32
}

// completionPrompts reads a string, a list of strings, a list of ids, or a
// list of lists of ids.
func completionPrompts(raw json.RawMessage) ([]prompt, *apiError) {
	const path = "prompt"
	if isKind(raw, '"') {
		text, err := asString(path, raw)
		if err == nil && text == "" {
			err = refuse(path, "empty")
		}
		return []prompt{{text: text}}, err
	}
	list, err := asList(path, raw)
	if err != nil || len(list) == 0 {
		return nil, refuse(path, "want a string, token ids, or an array of one of these")
	}
	var ids []int32
	if json.Unmarshal(raw, &ids) == nil {
		return []prompt{{tokens: ids}}, nil
	}
	var out []prompt
	for i, item := range list {
		at := index(path, i)
		var p prompt
		if isKind(item, '"') {
			p.text, err = asString(at, item)
		} else if json.Unmarshal(item, &p.tokens) != nil {
			err = refuse(at, "want a string or an array of token ids")
		}
		if err == nil && p.text == "" && len(p.tokens) == 0 {
			err = refuse(at, "empty")
		}
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

type completionHead struct {
	id        string
	created   int64
	model     string
	logprobs  bool
	report    bool
	echo      []string // what comes before each choice
	perPrompt int      // choices of one prompt
}

type completion struct {
	ID      string             `json:"id"`
	Object  string             `json:"object"`
	Created int64              `json:"created"`
	Model   string             `json:"model"`
	Choices []completionChoice `json:"choices"`
	Usage   any                `json:"usage,omitempty"`
}

type completionChoice struct {
	Text     string          `json:"text"`
	Index    int             `json:"index"`
	Logprobs *legacyLogprobs `json:"logprobs"`
	Finish   *string         `json:"finish_reason"`
}

func (h *completionHead) object(choices []completionChoice, usage any) completion {
	return completion{h.id, "text_completion", h.created, h.model, choices, usage}
}

// usage counts each prompt once.
func (h *completionHead) usage(answers []answer) *openaiUsage {
	sum := &openaiUsage{Plume: reports(h.report, answers)}
	for i := 0; i < len(answers); i += h.perPrompt {
		u := usageJSON(answers[i : i+h.perPrompt])
		sum.Prompt, sum.Completion, sum.Total = sum.Prompt+u.Prompt, sum.Completion+u.Completion, sum.Total+u.Total
		sum.Details.Cached += u.Details.Cached
	}
	return sum
}

func (h *completionHead) encode(answers []answer) any {
	var list []completionChoice
	for i, a := range answers {
		finish := finishReason(a.result.Finish)
		c := completionChoice{Text: h.echo[i] + a.text, Index: i, Finish: &finish}
		if h.logprobs {
			c.Logprobs = newLegacyLogprobs(a.logprobs, len(h.echo[i]))
		}
		list = append(list, c)
	}
	return h.object(list, h.usage(answers))
}

// completionStream writes text_completion events and [DONE].
type completionStream struct {
	out     *sink
	head    completionHead
	usage   bool
	answers []answer // their results
	written []int    // bytes of text of each choice
}

func (c *completionStream) begin() {
	c.out.start(typeSSE)
	for i, text := range c.head.echo {
		if text != "" {
			c.chunk(completionChoice{Index: i, Text: text})
			c.written[i] = len(text)
		}
	}
}

func (c *completionStream) chunk(choice completionChoice) {
	c.out.event("", c.head.object([]completionChoice{choice}, nil))
}

func (c *completionStream) event(i int, ev plume.Event) {
	choice := completionChoice{Index: i}
	switch ev.Kind {
	case plume.EventText:
		choice.Text = ev.Text
		if c.head.logprobs && len(ev.Logprobs) > 0 {
			choice.Logprobs = newLegacyLogprobs(ev.Logprobs, c.written[i])
		}
		c.written[i] += len(ev.Text)
	case plume.EventDone:
		c.answers[i].result = *ev.Result
		finish := finishReason(ev.Result.Finish)
		choice.Finish = &finish
	default:
		return
	}
	c.chunk(choice)
}

func (c *completionStream) ping()            { c.out.raw(": waiting\n\n") }
func (c *completionStream) fail(e *apiError) { c.out.event("", openai.errors(e, "")) }

func (c *completionStream) end() {
	if c.usage {
		c.out.event("", c.head.object([]completionChoice{}, c.head.usage(c.answers)))
	}
	c.out.raw("data: [DONE]\n\n")
}
