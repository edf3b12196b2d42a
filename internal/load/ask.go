package load

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// patience is how long a whole answer may take before it counts as failed.
const patience = 10 * time.Minute

func (r *run) request(ctx context.Context, body io.Reader) (*http.Response, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, r.o.URL+"/v1/chat/completions", body)
	if err != nil {
		return nil, err
	}
	q.Header.Set("Content-Type", "application/json")
	if r.o.Key != "" {
		q.Header.Set("Authorization", "Bearer "+r.o.Key)
	}
	return r.http.Do(q)
}

// chat streams one answer, and leaves it now and then when it may. wait is what
// a refused client was told.
func (r *run) chat(ctx context.Context, dice *rand.Rand) (wait time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tokens, leave := r.o.Tokens, -1
	if r.o.Rough {
		tokens = 4 + dice.IntN(tokens-3)
		if dice.IntN(4) == 0 {
			leave = dice.IntN(tokens)
		}
	}
	ask := map[string]any{
		"stream": true, "max_tokens": tokens, "seed": 1 + dice.IntN(1<<30),
		// The number in front keeps one answer's prompt from being another's prefix. It is not
		// among the client's own dice: those fall alike in every run, and the server remembers.
		"messages": []map[string]string{{"role": "user", "content": fmt.Sprintf("(%d) %s", rand.IntN(1<<30), r.o.Prompt)}},
	}
	if r.o.Rough && dice.IntN(8) == 0 { // a schema that the server has never seen
		ask["response_format"] = map[string]any{"type": "json_schema", "json_schema": map[string]any{"name": "new", "schema": map[string]any{
			"type": "object", "required": []string{"a"}, "additionalProperties": false,
			"properties": map[string]any{"a": map[string]any{"enum": []int{dice.IntN(1 << 30), dice.IntN(1 << 30)}}},
		}}}
	}
	if r.o.Model != "" {
		ask["model"] = r.o.Model
	}
	body, err := json.Marshal(ask)
	if err != nil {
		panic("load: internal error: " + err.Error())
	}
	s := &stream{run: r, begun: time.Now()}
	resp, err := r.request(ctx, strings.NewReader(string(body)))
	if err != nil {
		if ctx.Err() != context.Canceled {
			r.fail("ask: %v", err)
		}
		return 0
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		s.read(resp.Body, leave)
		if ctx.Err() == context.Canceled {
			return 0 // the user stopped everything
		}
		s.end()
	case http.StatusTooManyRequests:
		io.Copy(io.Discard, resp.Body)
		r.count(&r.out.Refused)
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		return time.Duration(seconds) * time.Second
	default:
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 300))
		r.fail("status %d: %s", resp.StatusCode, text)
	}
	return 0
}

// stream is one answer on its way.
type stream struct {
	run   *run
	begun time.Time
	at    []time.Time // of each piece of text
	left  bool
	done  bool // the stream said that it is whole
	err   error
}

// chunk is what matters of an event.
type chunk struct {
	Choices []struct {
		Delta struct {
			Content   string `json:"content"`
			Reasoning string `json:"reasoning_content"`
		} `json:"delta"`
		Finish string `json:"finish_reason"`
	} `json:"choices"`
	Error *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// read follows the events to their end, or leaves behind so many pieces.
func (s *stream) read(body io.Reader, leave int) {
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 1<<20)
	finished := false
	for lines.Scan() {
		if s.left = len(s.at) == leave; s.left {
			return
		}
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		switch {
		case !ok:
			continue
		case data == "[DONE]":
			if s.done = finished; !finished {
				s.err = fmt.Errorf("the stream ended without a reason")
			}
			return
		}
		var c chunk
		if s.err = json.Unmarshal([]byte(data), &c); s.err != nil {
			return
		}
		if c.Error != nil {
			s.err = fmt.Errorf("in the stream: %s", c.Error.Message)
			return
		}
		for _, choice := range c.Choices {
			if choice.Delta.Content != "" || choice.Delta.Reasoning != "" {
				s.at = append(s.at, time.Now())
			}
			finished = finished || choice.Finish != ""
		}
	}
	if s.err = lines.Err(); s.err == nil {
		s.err = io.ErrUnexpectedEOF
	}
}

// end counts the answer and what it took.
func (s *stream) end() {
	r := s.run
	if !s.done && !s.left {
		r.fail("after %d tokens: %v", len(s.at), s.err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.left {
		r.out.Left++
	}
	if s.done {
		r.out.Ended++
		r.answer = append(r.answer, time.Since(s.begun))
	}
	for i, t := range s.at {
		if t.Sub(r.begun) <= r.o.Duration {
			r.out.Tokens++
		}
		if i == 0 {
			r.first = append(r.first, t.Sub(s.begun))
		} else {
			r.gaps = append(r.gaps, t.Sub(s.at[i-1]))
		}
	}
}

// malformed sends JSON that is cut off.
func (r *run) malformed(ctx context.Context, dice *rand.Rand) {
	resp, err := r.request(ctx, strings.NewReader(`{"messages":[{"role":"user"`+strings.Repeat("x", dice.IntN(99))))
	if err != nil {
		if ctx.Err() == nil {
			r.fail("cut-off JSON: %v", err)
		}
		return
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	if resp.StatusCode != http.StatusBadRequest {
		r.fail("cut-off JSON: status %d", resp.StatusCode)
		return
	}
	r.count(&r.out.Malformed)
}

// tooLarge sends too much, half of the times without saying so before.
func (r *run) tooLarge(ctx context.Context, dice *rand.Rand) {
	body := io.Reader(strings.NewReader(`{"x":"` + strings.Repeat("y", int(r.o.TooLarge))))
	if dice.IntN(2) == 0 {
		body = io.MultiReader(body)
	}
	resp, err := r.request(ctx, body)
	if err != nil {
		if ctx.Err() == nil {
			r.count(&r.out.TooLarge) // the server hangs up, sometimes before its answer has been read
		}
		return
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	switch resp.StatusCode {
	case http.StatusRequestEntityTooLarge:
		r.count(&r.out.TooLarge)
	case http.StatusTooManyRequests: // all bodies together have a limit too
		r.count(&r.out.Refused)
	default:
		r.fail("a body of %d bytes: status %d", r.o.TooLarge, resp.StatusCode)
	}
}

// hangUp sends part of a request and goes.
func (r *run) hangUp(dice *rand.Rand) {
	u, err := url.Parse(r.o.URL)
	if err != nil {
		r.fail("%v", err)
		return
	}
	address := u.Host
	if u.Port() == "" {
		address = net.JoinHostPort(u.Hostname(), u.Scheme)
	}
	c, err := net.Dial("tcp", address)
	if err != nil {
		r.fail("connect: %v", err)
		return
	}
	whole := "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\n{\"messages\""
	io.WriteString(c, whole[:dice.IntN(len(whole))])
	c.Close()
	r.count(&r.out.HungUp)
}
