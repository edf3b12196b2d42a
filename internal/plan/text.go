package plan

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// String prints the plan as a table of MiB.
func (p *Plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "context %d, chunk %d, kv %s, %d threads\n", p.Context, p.Chunk, p.KVType, p.Threads)
	for _, s := range p.Shrunk {
		fmt.Fprintf(&b, "shrunk to fit: %s\n", s)
	}
	if p.Streamed != nil {
		fmt.Fprintf(&b, "%s\n", p.Streamed)
	}
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "memory\tMiB\t  \n")
	for _, it := range p.Items {
		fmt.Fprintf(w, "%s\t%.2f\t  %s\n", it.Role, float64(it.Bytes)/(1<<20), it.Note)
	}
	fmt.Fprintf(w, "total\t%.2f\t  of which Go's memory %.2f\n", float64(p.Total)/(1<<20), float64(p.Heap)/(1<<20))
	if p.Budget > 0 {
		fmt.Fprintf(w, "budget\t%.2f\t  %.2f left\n", float64(p.Budget)/(1<<20), float64(p.Budget-p.Total)/(1<<20))
	}
	fmt.Fprintf(w, "smallest\t%d.00\t  budget that works\n", p.Minimum>>20)
	w.Flush()
	return b.String()
}
