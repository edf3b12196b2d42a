package plume

import (
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"time"
)

// EventKind says what an Event carries.
type EventKind uint8

// The kinds of events. An answer is any number of the others, then one EventDone.
const (
	EventText     EventKind = iota + 1 // Text is the next piece of the answer
	EventThinking                      // Text is the next piece of the thought
	EventToolCall                      // Call is one complete tool call
	EventBadCall                       // Text stands where a tool call should be, and is none
	EventDone                          // Result closes the answer; nothing follows
)

// String returns the kind in one word.
func (k EventKind) String() string {
	switch k {
	case EventText:
		return "text"
	case EventThinking:
		return "thinking"
	case EventToolCall:
		return "tool call"
	case EventBadCall:
		return "bad call"
	case EventDone:
		return "done"
	}
	return fmt.Sprintf("event %d", uint8(k))
}

// Event is one step of an answer as a caller sees it. Pieces of text are whole
// UTF-8 sequences.
type Event struct {
	Kind   EventKind
	Text   string    // EventText, EventThinking, EventBadCall
	Call   *ToolCall // EventToolCall
	Result *Result   // EventDone

	// Logprobs belong to the tokens that the event was made of, when the request asked
	// for them: of a piece of text usually one, of a tool call many.
	Logprobs []TokenLogprob
}

// TokenLogprob is how likely a token was under the model's own distribution, before
// temperature, penalties, filters and a required format.
type TokenLogprob struct {
	ID      int32
	Text    string         // the token's own bytes, which may be part of a character
	Logprob float64        // natural logarithm
	Top     []TokenLogprob // the most likely tokens in its place, best first; theirs is nil
}

// Finish says why an answer ended.
type Finish string

// The reasons an answer ends.
const (
	FinishStop      Finish = "stop"       // the model ended its turn, or a stop string was met
	FinishToolCalls Finish = "tool_calls" // the model ended its turn with tool calls
	FinishLength    Finish = "length"     // MaxTokens reached
	FinishContext   Finish = "context"    // the session's context is full
	FinishCancelled Finish = "cancelled"  // the context was cancelled or its deadline passed
	FinishError     Finish = "error"      // another error, returned beside the event
)

// Usage counts the tokens of one answer.
type Usage struct {
	Prompt    int `json:"prompt_tokens"`
	Cached    int `json:"cached_tokens"` // part of Prompt that an earlier answer of the session had computed
	Generated int `json:"generated_tokens"`
	Drafted   int `json:"drafted_tokens"`  // guessed from the text so far and evaluated on trial
	Accepted  int `json:"accepted_tokens"` // part of Drafted that turned out right: steps saved
}

// Timings are the durations of one answer.
type Timings struct {
	Prefill    time.Duration // from the start to the logits of the last prompt token
	FirstToken time.Duration // from the start to the first token
	Decode     time.Duration // from the first token to the end
	Queued     time.Duration // before the start, of a Service's requests
}

// MarshalJSON writes seconds.
func (t Timings) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Prefill float64 `json:"prefill_seconds"`
		First   float64 `json:"first_token_seconds"`
		Decode  float64 `json:"decode_seconds"`
		Queued  float64 `json:"queued_seconds,omitempty"`
	}{t.Prefill.Seconds(), t.FirstToken.Seconds(), t.Decode.Seconds(), t.Queued.Seconds()})
}

// Result closes an answer.
type Result struct {
	Finish  Finish      `json:"finish_reason"`
	Stop    string      `json:"stop,omitempty"` // the stop string that was met
	Usage   Usage       `json:"usage"`
	Timings Timings     `json:"timings"`
	PLE     PLEStats    `json:"ple"`     // of this answer's rows; Errors stays 0, since a row that cannot be read ends the answer
	Weights WeightStats `json:"weights"` // read while it was computed, for it and others
	Seed    uint64      `json:"seed"`    // the seed in force, also when it was chosen at random
	IDs     []int32     `json:"-"`       // the sampled tokens, a stop token included
}

// PrefillRate returns prompt tokens computed per second, 0 when there is no
// measurement.
func (r *Result) PrefillRate() float64 {
	return rate(r.Usage.Prompt-r.Usage.Cached, r.Timings.Prefill)
}

// DecodeRate returns tokens per second after the first one, which prefill pays
// for; 0 when there is no measurement.
func (r *Result) DecodeRate() float64 { return rate(r.Usage.Generated-1, r.Timings.Decode) }

func rate(n int, d time.Duration) float64 {
	if n <= 0 || d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}

// Answer is a whole answer, collected.
type Answer struct {
	Text      string
	Thinking  string
	ToolCalls []ToolCall
	BadCalls  []string // what the model wrote where calls should be
	Result    Result
}

// Message returns the answer as a turn of the conversation, to be sent back
// with the next one.
func (a *Answer) Message() Message {
	return AssistantMessage(a.Text, a.Thinking, a.ToolCalls)
}

// Collect reads an answer to its end. On an error it returns what came before
// it too.
func Collect(events iter.Seq2[Event, error]) (*Answer, error) {
	var text, thinking strings.Builder
	a := &Answer{}
	var failed error
	for ev, err := range events {
		if err != nil {
			failed = err
		}
		switch ev.Kind {
		case EventText:
			text.WriteString(ev.Text)
		case EventThinking:
			thinking.WriteString(ev.Text)
		case EventToolCall:
			a.ToolCalls = append(a.ToolCalls, *ev.Call)
		case EventBadCall:
			a.BadCalls = append(a.BadCalls, ev.Text)
		case EventDone:
			a.Result = *ev.Result
		}
	}
	a.Text, a.Thinking = text.String(), thinking.String()
	return a, failed
}
