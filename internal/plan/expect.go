package plan

// What a plan promises room for and a session does not take, held against the same peaks as
// the allowances, 2026-11-23: 4.8 MiB of Go's runtime, 15.4 MiB of the program's pages.
const (
	runtimeExpected = 5 << 20
	programExpected = 15<<20 + 400<<10

	pageBytes = 4 << 10 // a row begins and ends inside a page
)

// Expected is the peak that the planned sessions are likely to reach which fill so many positions
// of their contexts each, without guessing ahead and without penalties. Total is a promise and counts
// what may be needed: logits of drafts, tables of samplers, read buffers that are let go when
// all weights are in place, room for garbage. Memory is counted when it is first written, so
// keys and values that are not there yet do not count.
func (p *Plan) Expected(positions int) int64 {
	var sum int64
	for _, it := range p.Items {
		sum += p.expected(&it, int64(min(positions, p.Context)))
	}
	return sum
}

// expected is the part of an item.
func (p *Plan) expected(it *Item, positions int64) int64 {
	switch it.Role {
	case roleKVFull:
		return it.Bytes * positions / int64(p.Context)
	case "ple cache":
		return min(it.Bytes, p.opt.sessions()*positions*(p.weights.PLERow+rowBooks))
	case rolePLEReads: // a row each: only neighbours, of which there are few, fill the buffers
		atOnce, bytes, _ := p.opt.PLEReads(p.weights.PLERow)
		return min(bytes, int64(atOnce)*(p.weights.PLERow+2*pageBytes))
	case "ple table":
		if p.opt.Table == Mapped {
			return min(it.Bytes, p.opt.sessions()*positions*(p.weights.PLERow+pageBytes))
		}
	case "logits":
		return it.Bytes / int64(p.opt.logitRows()) * p.opt.sessions()
	case "loading":
		if p.Streamed == nil {
			return 0
		}
	case "page end", "sampler", "go heap slack":
		return 0
	case "go runtime":
		return runtimeExpected
	case "program":
		return programExpected
	}
	return it.Bytes
}
