package gemma

import (
	"slices"

	"github.com/plume-run/plume/internal/backend"
)

// weight is a matrix as steps multiply it: rows that stay in memory, and blocks of rows
// that are read when a step comes to them.
type weight struct {
	kept   []part   // in order of rows
	blocks []*block // in order of rows; of a pair, the first matrix has them
}

// part is the rows of a weight from row on.
type part struct {
	matrix backend.Matrix
	row    int
}

// at returns the part that has a row, nil when it is streamed.
func (w *weight) at(row int) *part {
	i, found := slices.BinarySearchFunc(w.kept, row, func(p part, row int) int { return p.row - row })
	if !found {
		i--
	}
	if i < 0 {
		return nil
	}
	p := &w.kept[i]
	if out, _ := p.matrix.Shape(); row >= p.row+out {
		return nil
	}
	return p
}

// unit is what a step multiplies by at once: a matrix, or the pair of a gated network, of
// which it needs the same rows.
type unit struct {
	group  *group
	loads  []load // one or two
	late   bool   // only steps that give logits use it
	blocks []*block
}

// block is the smallest stretch of weights that stays or is streamed: some rows of a unit.
type block struct {
	unit  *unit
	index int    // in order of use
	loads []load // these rows of each of the unit's matrices
	bytes int64  // of the ring
	small bool

	// While it is streamed; see stream.
	off      int64
	matrices []backend.Matrix // where it is in the ring
	held     bool             // it is there, or being read
	begun    int              // in which step that was
	fetch    fetch
}

// Blocks are of blockBytes at most: enough for a disk to be fast, few enough that a ring
// of them is small. A model has at least so many, however small it is.
const (
	blockBytes  = 2 << 20
	leastBlocks = 64
)

// makeUnits makes the units and their blocks, once all matrices are in their groups.
func (gs *groups) makeUnits(size func(*load) int64) {
	var all int64
	for _, g := range gs.inOrder() {
		if g.layer >= 0 && g == gs.experts[g.layer] {
			continue
		}
		for i := 0; i < len(g.loads); {
			n := 1
			if g.loads[i].src.Spec.Key == KeyGate {
				n = 2 // with KeyUp
			}
			u := &unit{group: g, loads: g.loads[i : i+n], late: gs.late(g, &g.loads[i])}
			gs.units = append(gs.units, u)
			all += placedBytes(u.loads, size)
			i += n
		}
	}
	most := max(backend.SlabAlign, min(blockBytes, all/leastBlocks))
	n := 0
	for _, u := range gs.units {
		u.cut(most, size)
		for _, b := range u.blocks {
			b.index = n
			n++
		}
	}
}

// late reports whether only steps that give logits use a matrix: without any, a step
// ends with the keys and values of the last layer that owns some.
func (gs *groups) late(g *group, ld *load) bool {
	last := gs.cfg.FirstShared() - 1
	key := ld.src.Spec.Key
	switch {
	case g == gs.start:
		return ld.from >= last*gs.cfg.PLESize
	case g.layer == last:
		return key != KeyK && key != KeyV
	}
	return g == gs.head || g.layer > last
}

// cut divides u into equal blocks of most bytes, or little more.
func (u *unit) cut(most int64, size func(*load) int64) {
	out, whole := u.loads[0].matrix.Out, placedBytes(u.loads, size)
	n := max(1, int((whole+most-1)/most)) // also of a matrix that the device cannot hold, which Place refuses
	if u.loads[0].src.Spec.Key == KeyPLEGate {
		n = 1 // GateMul takes it whole
	}
	step := (out + n - 1) / n
	step = (step + backend.FillRows - 1) / backend.FillRows * backend.FillRows
	for row := 0; row < out; row += step {
		b := &block{unit: u}
		for i := range u.loads {
			b.loads = append(b.loads, u.loads[i].rows(row, min(row+step, out)))
		}
		b.bytes = placedBytes(b.loads, size)
		b.small = b.bytes < most/2
		u.blocks = append(u.blocks, b)
	}
}

// spread chooses blocks of want bytes in all, so that they come evenly: what is chosen up
// to any block is its share of the bytes so far, to half a block. Then a disk is busy all
// through the step while what stays is computed. Small blocks, for which a disk is slow,
// are chosen when all others have been.
// The result is by index.
func spread(units []*unit, want int64) []bool {
	n := 0
	for _, u := range units {
		n += len(u.blocks)
	}
	chosen := make([]bool, n)
	for _, small := range []bool{false, true} {
		if want <= 0 {
			break
		}
		var blocks []*block
		var all int64
		for _, u := range units {
			for _, b := range u.blocks {
				if b.small == small {
					blocks, all = append(blocks, b), all+b.bytes
				}
			}
		}
		share, due := min(1, float64(want)/float64(max(1, all))), 0.0
		for _, b := range blocks {
			if due += share * float64(b.bytes); due >= float64(b.bytes)/2 {
				due -= float64(b.bytes)
				chosen[b.index] = true
			}
		}
		want -= all
	}
	return chosen
}

// divide adds the streamed blocks of u to a's cycle, and to loads what stays: runs of rows,
// matrix by matrix.
func (u *unit) divide(a *arrangement, loads []load, streamed []bool) []load {
	for i := range u.loads {
		run := -1 // the load that the next block goes on with
		for _, b := range u.blocks {
			switch {
			case streamed[b.index]:
				run = -1
				if i == 0 {
					a.cycle = append(a.cycle, placed{block: b})
				}
			case run < 0:
				run, loads = len(loads), append(loads, b.loads[i])
			default:
				from := loads[run].row
				loads[run] = u.loads[i].rows(from, from+loads[run].matrix.Out+b.loads[i].matrix.Out)
			}
		}
	}
	return loads
}
