// Command conformance asks a running `plume serve` with OpenAI's own Go client.
// scripts/conformance.sh runs it: conformance URL KEY HASTY, where HASTY is the URL of a server
// that gives answers two seconds.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"
	"github.com/openai/openai-go/v3/shared"
)

var client openai.Client

func main() {
	client = openai.NewClient(option.WithBaseURL(os.Args[1]+"/v1"), option.WithAPIKey(os.Args[2]), option.WithMaxRetries(0))
	failed := 0
	for _, c := range []struct {
		name string
		f    func(ctx context.Context) error
	}{
		{"models", models}, {"chat", chat}, {"chat, streamed, is the same text", stream}, {"n and logprobs", choices},
		{"a tool's round trip", tool}, {"a tool's call, streamed", toolStream}, {"structured output", format}, {"completions", completion},
		{"responses", response}, {"errors", mistakes}, {"an error in the middle of a stream", breaksOff}, {"cancellation", cancel},
	} {
		if err := c.f(context.Background()); err != nil {
			failed++
			fmt.Printf("FAIL openai-go: %s: %v\n", c.name, err)
			continue
		}
		fmt.Printf("ok   openai-go: %s\n", c.name)
	}
	if failed > 0 {
		os.Exit(1)
	}
}

func params(text string, tokens int64) openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{
		Model: "demo", Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(text)},
		MaxCompletionTokens: openai.Int(tokens), Temperature: openai.Float(0),
	}
}

func models(ctx context.Context) error {
	list, err := client.Models.List(ctx)
	if err != nil || len(list.Data) != 1 || list.Data[0].ID != "demo" {
		return fmt.Errorf("got %+v, %v", list, err)
	}
	_, err = client.Models.Get(ctx, "demo")
	return err
}

func chat(ctx context.Context) error {
	r, err := client.Chat.Completions.New(ctx, params("Tell me a story.", 12))
	if err != nil {
		return err
	}
	if r.Choices[0].FinishReason != "length" || r.Usage.CompletionTokens != 12 || r.Choices[0].Message.Content == "" {
		return fmt.Errorf("got %s", r.RawJSON())
	}
	return nil
}

func stream(ctx context.Context) error {
	whole, err := client.Chat.Completions.New(ctx, params("Tell me a story.", 12))
	if err != nil {
		return err
	}
	p := params("Tell me a story.", 12)
	p.StreamOptions.IncludeUsage = openai.Bool(true)
	s := client.Chat.Completions.NewStreaming(ctx, p)
	acc := openai.ChatCompletionAccumulator{}
	for s.Next() {
		if !acc.AddChunk(s.Current()) {
			return errors.New("a chunk that does not belong to the others")
		}
	}
	if s.Err() != nil {
		return s.Err()
	}
	if got, want := acc.Choices[0].Message.Content, whole.Choices[0].Message.Content; got != want {
		return fmt.Errorf("got %q, want %q", got, want)
	}
	if acc.Usage.CompletionTokens != 12 || acc.Choices[0].FinishReason != "length" {
		return fmt.Errorf("%+v, %s", acc.Usage, acc.Choices[0].FinishReason)
	}
	return nil
}

func choices(ctx context.Context) error {
	p := params("Tell me a story.", 6)
	p.N, p.Logprobs, p.TopLogprobs = openai.Int(2), openai.Bool(true), openai.Int(2)
	r, err := client.Chat.Completions.New(ctx, p)
	if err != nil {
		return err
	}
	if len(r.Choices) != 2 || len(r.Choices[1].Logprobs.Content) != 6 || len(r.Choices[1].Logprobs.Content[0].TopLogprobs) != 2 {
		return fmt.Errorf("got %s", r.RawJSON())
	}
	return nil
}

var weather = map[string]any{
	"type": "object", "properties": map[string]any{"city": map[string]any{"type": "string", "enum": []string{"Paris", "Rome"}}},
	"required": []string{"city"}, "additionalProperties": false,
}

func isWeather(text string) error {
	var v struct{ City string }
	if err := json.Unmarshal([]byte(text), &v); err != nil || v.City != "Paris" && v.City != "Rome" {
		return fmt.Errorf("got %q: %v", text, err)
	}
	return nil
}

// weatherCall asks for a call that is forced.
func weatherCall() openai.ChatCompletionNewParams {
	p := params("Weather?", 100)
	p.Tools = []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(shared.FunctionDefinitionParam{Name: "get_weather", Parameters: weather})}
	p.ToolChoice = openai.ToolChoiceOptionFunctionToolChoice(openai.ChatCompletionNamedToolChoiceFunctionParam{Name: "get_weather"})
	p.ParallelToolCalls = openai.Bool(false)
	return p
}

func tool(ctx context.Context) error {
	p := weatherCall()
	r, err := client.Chat.Completions.New(ctx, p)
	if err != nil {
		return err
	}
	said := r.Choices[0].Message
	if len(said.ToolCalls) != 1 || r.Choices[0].FinishReason != "tool_calls" {
		return fmt.Errorf("no call: %s", r.RawJSON())
	}
	if err := isWeather(said.ToolCalls[0].Function.Arguments); err != nil {
		return err
	}
	p.Messages = append(p.Messages, said.ToParam(), openai.ToolMessage("sunny", said.ToolCalls[0].ID))
	p.ToolChoice = openai.ChatCompletionToolChoiceOptionUnionParam{OfAuto: openai.String("none")}
	p.MaxCompletionTokens = openai.Int(5)
	r, err = client.Chat.Completions.New(ctx, p)
	if err != nil {
		return err
	}
	if len(r.Choices[0].Message.ToolCalls) != 0 || r.Choices[0].Message.Content == "" {
		return fmt.Errorf("after the result: %s", r.RawJSON())
	}
	return nil
}

func toolStream(ctx context.Context) error {
	s := client.Chat.Completions.NewStreaming(ctx, weatherCall())
	acc := openai.ChatCompletionAccumulator{}
	finished := 0
	for s.Next() {
		acc.AddChunk(s.Current())
		if call, ok := acc.JustFinishedToolCall(); ok {
			finished++
			if err := isWeather(call.Arguments); err != nil {
				return err
			}
		}
	}
	if s.Err() != nil || finished != 1 {
		return fmt.Errorf("%d calls, %v", finished, s.Err())
	}
	return nil
}

func format(ctx context.Context) error {
	p := params("Weather?", 100)
	p.ResponseFormat.OfJSONSchema = &shared.ResponseFormatJSONSchemaParam{
		JSONSchema: shared.ResponseFormatJSONSchemaJSONSchemaParam{Name: "weather", Schema: weather, Strict: openai.Bool(true)},
	}
	r, err := client.Chat.Completions.New(ctx, p)
	if err != nil {
		return err
	}
	return isWeather(r.Choices[0].Message.Content)
}

func completion(ctx context.Context) error {
	s := client.Completions.NewStreaming(ctx, openai.CompletionNewParams{
		Model: "demo", MaxTokens: openai.Int(5), Prompt: openai.CompletionNewParamsPromptUnion{OfString: openai.String("Once upon")},
	})
	text := ""
	for s.Next() {
		text += s.Current().Choices[0].Text
	}
	if s.Err() != nil || text == "" {
		return fmt.Errorf("%q, %v", text, s.Err())
	}
	return nil
}

func response(ctx context.Context) error {
	p := responses.ResponseNewParams{
		Model: "demo", MaxOutputTokens: openai.Int(8), Input: responses.ResponseNewParamsInputUnion{OfString: openai.String("Tell me a story.")},
	}
	s := client.Responses.NewStreaming(ctx, p)
	text, last := "", ""
	for s.Next() {
		ev := s.Current()
		last = ev.Type
		if ev.Type == "response.output_text.delta" {
			text += ev.Delta
		}
	}
	if s.Err() != nil || text == "" || last != "response.incomplete" {
		return fmt.Errorf("%v, %q, ended by %s", s.Err(), text, last)
	}
	return nil
}

// mistakes must come back as OpenAI's own errors, with what a program would
// look at.
func mistakes(ctx context.Context) error {
	hot := params("Hi", 5)
	hot.Temperature = openai.Float(9)
	other := params("Hi", 5)
	other.Model = "gpt-5"
	long := params(strings.Repeat("fox ", 20000), 5)
	for _, c := range []struct {
		p           openai.ChatCompletionNewParams
		status      int
		param, code string
		key         string
	}{
		{hot, 400, "temperature", "", os.Args[2]},
		{other, 404, "model", "model_not_found", os.Args[2]},
		{long, 400, "", "context_length_exceeded", os.Args[2]},
		{params("Hi", 5), 401, "", "invalid_api_key", "wrong"},
	} {
		var e *openai.Error
		_, err := client.Chat.Completions.New(ctx, c.p, option.WithAPIKey(c.key))
		if !errors.As(err, &e) || e.StatusCode != c.status || e.Param != c.param || e.Code != c.code || e.Message == "" {
			return fmt.Errorf("want %d %s %s, got %v", c.status, c.param, c.code, err)
		}
		s := client.Chat.Completions.NewStreaming(ctx, c.p, option.WithAPIKey(c.key))
		if s.Next() || !errors.As(s.Err(), &e) || e.StatusCode != c.status {
			return fmt.Errorf("streamed: want %d, got %v", c.status, s.Err())
		}
	}
	return nil
}

// numbers is a form whose answers cannot end by themselves within a test.
var numbers = map[string]any{"type": "array", "minItems": 2000, "items": map[string]any{"type": "integer"}}

// breaksOff asks the server that gives answers two seconds for one that takes longer: what
// has come by then is followed by an error.
func breaksOff(ctx context.Context) error {
	p := params("Tell me many numbers.", 4000)
	p.ResponseFormat.OfJSONSchema = &shared.ResponseFormatJSONSchemaParam{
		JSONSchema: shared.ResponseFormatJSONSchemaJSONSchemaParam{Name: "numbers", Schema: numbers},
	}
	s := client.Chat.Completions.NewStreaming(ctx, p, option.WithBaseURL(os.Args[3]+"/v1"))
	pieces := 0
	for s.Next() {
		pieces++
	}
	if pieces < 5 || s.Err() == nil || !strings.Contains(s.Err().Error(), "longer than this server allows") {
		return fmt.Errorf("%d pieces, then %v", pieces, s.Err())
	}
	return nil
}

// cancelled returns how many answers have ended because their clients left.
func cancelled(ctx context.Context) (int, error) {
	var text string
	if err := client.Get(ctx, "../metrics", nil, &text); err != nil {
		return 0, err
	}
	n := 0
	for line := range strings.Lines(text) {
		if count, ok := strings.CutPrefix(line, `plume_answers_total{finish="cancelled"} `); ok {
			fmt.Sscan(count, &n)
		}
	}
	return n, nil
}

// cancel leaves an answer that does not end by itself; it must end as cancelled, soon.
func cancel(ctx context.Context) error {
	before, err := cancelled(ctx)
	if err != nil {
		return err
	}
	own, stop := context.WithCancel(ctx)
	defer stop()
	p := params("Tell me many numbers.", 4000)
	p.ResponseFormat.OfJSONSchema = &shared.ResponseFormatJSONSchemaParam{
		JSONSchema: shared.ResponseFormatJSONSchemaJSONSchemaParam{Name: "numbers", Schema: numbers},
	}
	s := client.Chat.Completions.NewStreaming(own, p)
	for s.Next() {
		stop()
	}
	if !errors.Is(s.Err(), context.Canceled) {
		return fmt.Errorf("got %v", s.Err())
	}
	for range 200 {
		if n, err := cancelled(ctx); err != nil || n == before+1 {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
	return errors.New("the answer was not cancelled four seconds later")
}
