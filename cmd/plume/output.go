package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/plume-run/plume"
)

// printJSON writes v as one line, with "<" as itself.
func printJSON(w io.Writer, v any) error {
	line, err := marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(line, '\n'))
	return err
}

// marshal is json.Marshal without the escaping that is for web pages.
func marshal(v any) ([]byte, error) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// answerJSON is the form of an answer under --json.
type answerJSON struct {
	Model     string     `json:"model"`
	Text      string     `json:"text"`
	Thinking  string     `json:"thinking"`
	ToolCalls []callJSON `json:"tool_calls"`
	BadCalls  []string   `json:"bad_tool_calls,omitempty"`
	plume.Result
}

type callJSON struct {
	ID        string          `json:"id"`
	Name      string          `json:"name"`
	Arguments json.RawMessage `json:"arguments"`
}

func jsonAnswer(model string, a *plume.Answer) answerJSON {
	out := answerJSON{Model: model, Text: a.Text, Thinking: a.Thinking, ToolCalls: []callJSON{}, BadCalls: a.BadCalls, Result: a.Result}
	for _, c := range a.ToolCalls {
		out.ToolCalls = append(out.ToolCalls, callJSON{c.ID, c.Name, c.Arguments})
	}
	return out
}

// printStats writes what an answer cost, for people.
func printStats(w io.Writer, m *plume.Model, s *plume.Session, r *plume.Result) {
	u, t, p := r.Usage, r.Timings, r.PLE
	fmt.Fprintf(w, "prompt   %d tokens, %d of them computed before; %.3f s, %.1f tok/s\n",
		u.Prompt, u.Cached, t.Prefill.Seconds(), r.PrefillRate())
	fmt.Fprintf(w, "answer   %d tokens, ended by %s; %.3f s, %.1f tok/s; first token after %.3f s\n",
		u.Generated, r.Finish, t.Decode.Seconds(), r.DecodeRate(), t.FirstToken.Seconds())
	if u.Drafted > 0 {
		fmt.Fprintf(w, "drafts   %d tokens guessed, %d accepted (%.0f %%)\n", u.Drafted, u.Accepted, 100*float64(u.Accepted)/float64(u.Drafted))
	}
	if p.Rows > 0 {
		fmt.Fprintf(w, "table    %d PLE rows needed, %d read from disk (%s), %d found in memory; waited %.3f ms\n",
			p.Rows, p.RowsRead, sizeText(p.ReadBytes), p.CacheHits, float64(p.Wait.Nanoseconds())/1e6)
	}
	if place := m.PLEPlace(); place != "" {
		fmt.Fprintf(w, "         %s\n", place)
	}
	fmt.Fprintf(w, "memory   %s of weights, %s of KV cache for %d tokens\n",
		sizeText(m.ResidentBytes()), sizeText(s.CacheBytes()), s.Context())
	fmt.Fprintf(w, "seed     %d\n", r.Seed)
}

// sizeText prints a number of bytes for people.
func sizeText(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	x, i := float64(n), 0
	for x >= 1024 && i < len(units)-1 {
		x /= 1024
		i++
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", x, units[i])
}

// countText prints a number of parameters for people.
func countText(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.3f B", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.2f M", float64(n)/1e6)
	case n >= 1e3:
		return fmt.Sprintf("%.1f k", float64(n)/1e3)
	}
	return fmt.Sprint(n)
}
