// Command conformance asks a running `plume serve` with OpenAI's own Go client.
// scripts/conformance.sh runs it: conformance URL KEY.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

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
		{"chat", chat}, {"stream", stream}, {"tool", tool}, {"structured output", format}, {"responses", response}, {"errors", mistakes}, {"cancellation", cancel},
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
	s := client.Chat.Completions.NewStreaming(ctx, params("Tell me a story.", 12))
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

func tool(ctx context.Context) error {
	p := params("Weather?", 100)
	p.Tools = []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(shared.FunctionDefinitionParam{Name: "get_weather", Parameters: weather})}
	p.ToolChoice = openai.ToolChoiceOptionFunctionToolChoice(openai.ChatCompletionNamedToolChoiceFunctionParam{Name: "get_weather"})
	r, err := client.Chat.Completions.New(ctx, p)
	if err != nil {
		return err
	}
	if len(r.Choices[0].Message.ToolCalls) == 0 {
		return fmt.Errorf("no call: %s", r.RawJSON())
	}
	return isWeather(r.Choices[0].Message.ToolCalls[0].Function.Arguments)
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

func mistakes(ctx context.Context) error {
	p := params("Hi", 5)
	p.Temperature = openai.Float(9)
	var e *openai.Error
	if _, err := client.Chat.Completions.New(ctx, p); !errors.As(err, &e) || e.StatusCode != 400 || e.Param != "temperature" {
		return fmt.Errorf("got %v", err)
	}
	return nil
}

func cancel(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	s := client.Chat.Completions.NewStreaming(ctx, params("Tell me a story.", 4000))
	for s.Next() {
		stop()
	}
	if !errors.Is(s.Err(), context.Canceled) {
		return fmt.Errorf("got %v", s.Err())
	}
	return nil
}
