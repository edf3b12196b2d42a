package plume_test

import (
	"context"
	"fmt"
	"log"

	"github.com/plume-run/plume"
)

// The shortest way from nothing to an answer: the demo model is part of the
// program, and its answers are streamed as they come.
func Example() {
	m, err := plume.OpenDemo(plume.Options{}, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	s, err := m.NewSession(plume.SessionOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	greedy := plume.Greedy()
	for ev, err := range s.Generate(context.Background(), plume.Request{
		Prompt:    "Tell me a story about a fox.",
		Sampling:  &greedy,
		MaxTokens: 9,
	}) {
		if err != nil {
			log.Fatal(err)
		}
		switch ev.Kind {
		case plume.EventText:
			fmt.Print(ev.Text)
		case plume.EventDone:
			fmt.Printf("\n%d tokens, then %s\n", ev.Result.Usage.Generated, ev.Result.Finish)
		}
	}
	// Output:
	// Once upon a time, there was a little
	// 9 tokens, then length
}

// A conversation: every request brings all of it, and what the session has
// computed before is not computed again.
func ExampleSession_Generate_conversation() {
	m, err := plume.OpenDemo(plume.Options{}, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	s, err := m.NewSession(plume.SessionOptions{Context: 512})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	greedy := plume.Greedy()
	var talk []plume.Message
	for _, text := range []string{"Tell me a story about a fox.", "Tell me another one."} {
		talk = append(talk, plume.UserMessage(text))
		answer, err := plume.Collect(s.Generate(context.Background(), plume.Request{
			Messages: talk, Sampling: &greedy, MaxTokens: 60, Stop: []string{","},
		}))
		if err != nil {
			log.Fatal(err)
		}
		talk = append(talk, answer.Message())
		fmt.Printf("%s (%s)\n", answer.Text, answer.Result.Finish)
		fmt.Println("tokens known already:", answer.Result.Usage.Cached > 0)
	}
	// Output:
	// Once upon a time (stop)
	// tokens known already: false
	// Once upon a time (stop)
	// tokens known already: true
}

// The exact prompt of a conversation, and its tokens.
func ExampleModel_Render() {
	m, err := plume.OpenDemo(plume.Options{}, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	prompt, err := m.Render([]plume.Message{plume.UserMessage("Hi")}, plume.RenderOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%q\n", prompt)
	ids, err := m.Tokenize(prompt)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(ids)
	// Output:
	// "<bos><|turn>user\nHi<turn|>\n<|turn>model\n"
	// [2 5 597 379 280 4121 6 280 5 348 2259 527 280]
}

// How surprised the model is by a text.
func ExampleModel_Perplexity() {
	m, err := plume.OpenDemo(plume.Options{}, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	var nll []float64
	for _, text := range []string{"Once upon a time there was a king.", "King a was there time a upon once."} {
		ids, err := m.Tokenize(text)
		if err != nil {
			log.Fatal(err)
		}
		score, err := m.Perplexity(context.Background(), ids, plume.PerplexityOptions{})
		if err != nil {
			log.Fatal(err)
		}
		nll = append(nll, score.MeanNLL)
	}
	fmt.Println("the words in their order are at least e⁵ times as likely, each:", nll[1]-nll[0] > 5)
	// Output:
	// the words in their order are at least e⁵ times as likely, each: true
}
