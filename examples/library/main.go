// Command library answers a question with the plume library: no server, no cgo.
//
//	go run ./examples/library "Tell me a story about a fox."
//	go run ./examples/library -m gemma-4-e2b-q4_0.gguf "Why is the sky blue?"
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"

	"github.com/plume-run/plume"
)

func main() {
	model := flag.String("m", "", "GGUF file or folder with config.json (default: the demo model)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *model, strings.Join(flag.Args(), " ")); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, path, question string) error {
	if question == "" {
		question = "Tell me a story about a fox."
	}
	m, err := open(path)
	if err != nil {
		return err
	}
	defer m.Close()
	s, err := m.NewSession(plume.SessionOptions{})
	if err != nil {
		return err
	}
	defer s.Close()
	for ev, err := range s.Generate(ctx, plume.Request{Prompt: question, MaxTokens: 200}) {
		if err != nil {
			return err
		}
		switch ev.Kind {
		case plume.EventText:
			fmt.Print(ev.Text)
		case plume.EventDone:
			r := ev.Result
			fmt.Printf("\n\n%d tokens, %.1f tok/s, %d table rows, %d of them from disk\n",
				r.Usage.Generated, r.DecodeRate(), r.PLE.Rows, r.PLE.RowsRead)
		}
	}
	return nil
}

func open(path string) (*plume.Model, error) {
	if path == "" {
		return plume.OpenDemo(plume.Options{}, os.Stderr)
	}
	return plume.Open(path, plume.Options{})
}
