package plan_test

import (
	"testing"

	"github.com/plume-run/plume/internal/plan"
)

// What is expected is the sum of the items, less what a plain session does not use of them.
func TestExpected(t *testing.T) {
	for name, table := range map[string]plan.Place{"outside": plan.Outside, "held": plan.Held, "mapped": plan.Mapped} {
		o := options()
		o.Table = table
		p := makePlan(t, o)
		sizes := map[string]int64{}
		for _, it := range p.Items {
			sizes[it.Role] = it.Bytes
		}
		row := p.Weights().PLERow
		for _, positions := range []int{1, 100, p.Context / 2, p.Context, 2 * p.Context} {
			n := int64(min(positions, p.Context))
			want := p.Total - sizes["page end"] - sizes["sampler"] - sizes["go heap slack"] - sizes["loading"] -
				sizes["logits"]*7/8 - sizes["go runtime"] + 5*mib - sizes["program"] + 15*mib + 400<<10
			want -= sizes["kv full"] - sizes["kv full"]*n/int64(p.Context)
			want -= sizes["ple cache"] - min(sizes["ple cache"], n*(row+256))
			want -= max(0, sizes["ple reads"]-16*(row+8192))
			if table == plan.Mapped {
				want -= sizes["ple table"] - min(sizes["ple table"], n*(row+4096))
			}
			if got := p.Expected(positions); got != want {
				t.Errorf("%s, %d positions: expected %d, want %d", name, positions, got, want)
			}
		}
	}
}

// A model whose weights do not all stay needs the buffers that they are read into for good.
func TestExpectedOfStreaming(t *testing.T) {
	o := options()
	o.FixedResidency, o.Residency.StreamBytes = true, 1<<30
	p := makePlan(t, o)
	before := p.Expected(p.Context)
	p.Streamed = nil
	var loading int64
	for _, it := range p.Items {
		if it.Role == "loading" {
			loading = it.Bytes
		}
	}
	if loading == 0 || before-p.Expected(p.Context) != loading {
		t.Errorf("buffers of %d bytes make a difference of %d", loading, before-p.Expected(p.Context))
	}
}
