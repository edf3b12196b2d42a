// Command http-go streams an answer from `plume serve` with the standard library
// alone. Any OpenAI client for Go works as well; point its base URL at the server.
//
//	plume serve &
//	go run ./examples/http-go "Tell me a story about a fox."
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
)

func main() {
	url := "http://127.0.0.1:8080"
	if v := os.Getenv("PLUME_URL"); v != "" {
		url = v
	}
	question := "Tell me a story about a fox."
	if len(os.Args) > 1 {
		question = strings.Join(os.Args[1:], " ")
	}
	if err := ask(url, question, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// ask writes the answer to w while it comes.
func ask(url, question string, w io.Writer) error {
	body, err := json.Marshal(map[string]any{
		"messages":   []map[string]string{{"role": "user", "content": question}},
		"stream":     true,
		"max_tokens": 200,
	})
	if err != nil {
		return err
	}
	r, err := http.NewRequest("POST", url+"/v1/chat/completions", bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	if key := os.Getenv("PLUME_API_KEY"); key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(resp.Body)
		return fmt.Errorf("%s: %s", resp.Status, text)
	}
	return copyEvents(w, resp.Body)
}

// copyEvents writes the text of server-sent events to w.
func copyEvents(w io.Writer, events io.Reader) error {
	lines := bufio.NewScanner(events)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		if data == "[DONE]" {
			_, err := fmt.Fprintln(w)
			return err
		}
		var chunk struct {
			Choices []struct {
				Delta struct {
					Content string `json:"content"`
				} `json:"delta"`
			} `json:"choices"`
			Error *struct {
				Message string `json:"message"`
			} `json:"error"`
		}
		if err := json.Unmarshal([]byte(data), &chunk); err != nil {
			return err
		}
		if chunk.Error != nil {
			return fmt.Errorf("the server says: %s", chunk.Error.Message)
		}
		for _, c := range chunk.Choices {
			if _, err := io.WriteString(w, c.Delta.Content); err != nil {
				return err
			}
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return io.ErrUnexpectedEOF
}
