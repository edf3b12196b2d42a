package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

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
	Live   plume.Stats `json:"model_stats"` // of the model since it was opened
	Energy *energyUse  `json:"energy"`
}

type callJSON struct {
	ID        string          `json:"id"`
	Name      string          `json:"name"`
	Arguments json.RawMessage `json:"arguments"`
}

func jsonAnswer(model string, a *plume.Answer, live plume.Stats, energy *energyUse) answerJSON {
	out := answerJSON{Model: model, Live: live, Energy: energy, Text: a.Text, Thinking: a.Thinking, ToolCalls: []callJSON{}, BadCalls: a.BadCalls, Result: a.Result}
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
	fmt.Fprintf(w, "drafts   %d tokens guessed, %d accepted", u.Drafted, u.Accepted)
	if u.Drafted > 0 {
		fmt.Fprintf(w, " (%.0f %%)", 100*float64(u.Accepted)/float64(u.Drafted))
	}
	fmt.Fprintln(w)
	live := m.Stats()
	printTable(w, "table", p)
	if live.PLE.Rows != p.Rows {
		printTable(w, "in all", live.PLE)
	}
	if live.Place != "" {
		fmt.Fprintf(w, "         %s\n", live.Place)
	}
	printWeights(w, "weights  ", live.Weights)
	if a := r.Weights; a.TokenBytes > 0 {
		fmt.Fprintf(w, "         this answer %s, %s for each token behind the first", sizeText(a.ReadBytes), sizeText(a.TokenBytes))
		if n := a.ExpertHits + a.ExpertMisses; n > 0 {
			fmt.Fprintf(w, "; %.1f %% of its experts found in memory", 100*float64(a.ExpertHits)/float64(n))
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "         from %s\n", live.From)
	printMemory(w, live.Memory, s)
	fmt.Fprintf(w, "seed     %d\n", r.Seed)
}

// printTable writes what the per-layer table cost.
func printTable(w io.Writer, name string, p plume.PLEStats) {
	if p.Rows == 0 {
		return
	}
	ms := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }
	fmt.Fprintf(w, "%-8s %d PLE rows needed, %d found in memory, %d read in %d reads (%s, %s of the device)\n",
		name, p.Rows, p.CacheHits, p.RowsRead, p.Reads, sizeText(p.ReadBytes), sizeText(p.DeviceBytes))
	fmt.Fprintf(w, "         waited %.3f ms; a step p50 %.3f ms, p99 %.3f ms; %.0f %% of the reading hidden\n",
		ms(p.Wait), ms(p.WaitP50), ms(p.WaitP99), 100*p.Overlap)
	if p.Errors > 0 {
		fmt.Fprintf(w, "         %d rows could not be read\n", p.Errors)
	}
}

// printWeights writes what reading weights cost.
func printWeights(w io.Writer, name string, s plume.WeightStats) {
	fmt.Fprintf(w, "%s%s read since the start; waited %.3f s, %.0f %% of the reading hidden", name, sizeText(s.ReadBytes), s.Wait.Seconds(), 100*s.Overlap)
	if n := s.ExpertHits + s.ExpertMisses; n > 0 {
		fmt.Fprintf(w, "; %d of %d experts found in memory (%.1f %%)", s.ExpertHits, n, 100*float64(s.ExpertHits)/float64(n))
	}
	fmt.Fprintln(w)
}

// smallRole is the least of all memory that gets a mention of its own.
const smallRole = 0.02

// printMemory writes what memory is taken for, the largest uses by name.
func printMemory(w io.Writer, mem plume.MemoryStats, s *plume.Session) {
	fmt.Fprintf(w, "memory   %s accounted", sizeText(mem.Used))
	if mem.Budget > 0 {
		fmt.Fprintf(w, ", %s left of %s", sizeText(mem.Left), sizeText(mem.Budget))
	}
	if mem.Process > 0 {
		fmt.Fprintf(w, "; the process holds %s, at most %s", sizeText(mem.Process), sizeText(mem.ProcessPeak))
	}
	roles := slices.SortedStableFunc(slices.Values(mem.Roles), func(a, b plume.MemoryUse) int { return cmp.Compare(b.Bytes, a.Bytes) })
	rest := mem.Used
	fmt.Fprint(w, "\n         ")
	for _, r := range roles {
		if float64(r.Bytes) >= smallRole*float64(mem.Used) {
			fmt.Fprintf(w, "%s %s, ", r.Role, sizeText(r.Bytes))
			rest -= r.Bytes
		}
	}
	fmt.Fprintf(w, "others %s; %d tokens of context\n", sizeText(rest), s.Context())
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
