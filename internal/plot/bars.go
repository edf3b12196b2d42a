package plot

import (
	"fmt"
	"slices"
)

// Bars is a plot of stacked bars, one row each.
type Bars struct {
	Title, Unit string
	Apart       string // what parts that stand apart are
	Rows        []Row
}

// Row is one bar.
type Row struct {
	Name  string
	Parts []Part
}

// Part is one piece of a bar; Apart, it stands beside the others, hollow.
type Part struct {
	Name  string
	Value float64
	Apart bool
}

const (
	barHeight = 34
	least     = 0.01 // share of the longest bar below which a part is drawn as "other"
)

func (b *Bars) title() string { return b.Title }

func (b *Bars) height() int {
	names := b.names()
	return max(top+len(b.Rows)*barHeight*2+30, top+30+16*(len(names)+1))
}

// longest is the greatest sum of a row.
func (b *Bars) longest() float64 {
	longest := 0.0
	for _, r := range b.Rows {
		sum := 0.0
		for _, p := range r.Parts {
			sum += p.Value
		}
		longest = max(longest, sum)
	}
	return longest
}

// parts are those of a row that are drawn.
func (b *Bars) parts(r Row) []Part { return merged(r.Parts, b.longest()*least) }

// names are those of coloured parts, in order of appearance.
func (b *Bars) names() []string {
	var names []string
	for _, r := range b.Rows {
		for _, p := range b.parts(r) {
			if !p.Apart && !slices.Contains(names, p.Name) {
				names = append(names, p.Name)
			}
		}
	}
	return names
}

// draw implements Plot.
func (b *Bars) draw(c canvas) {
	names := b.names()
	x := axis{0, b.longest(), left, width - right, false}
	for i, r := range b.Rows {
		y := float64(top + i*2*barHeight)
		c.text(left, y+12, start, r.Name)
		at := 0.0
		for _, p := range b.parts(r) {
			fill := ""
			if !p.Apart {
				fill = colour(slices.Index(names, p.Name))
			}
			c.box(x.place(at), y+18, x.place(at+p.Value)-x.place(at), barHeight-8, fill, fmt.Sprintf("%s: %.0f %s", p.Name, p.Value, b.Unit))
			at += p.Value
		}
	}
	base := float64(top + len(b.Rows)*barHeight*2 + 14)
	for _, v := range x.ticks() {
		c.text(x.place(v), base, middle, number(v))
	}
	c.text(width-right+22, base, start, b.Unit)
	for i, name := range names {
		legend(c, i, colour(i), name)
	}
	legend(c, len(names), "", b.Apart)
}

// merged puts parts below a size together as "other", before what stands apart.
func merged(parts []Part, below float64) []Part {
	var out, apart []Part
	other := Part{Name: "other"}
	for _, p := range parts {
		switch {
		case p.Apart:
			apart = append(apart, p)
		case p.Value < below:
			other.Value += p.Value
		default:
			out = append(out, p)
		}
	}
	if other.Value > 0 {
		out = append(out, other)
	}
	return append(out, apart...)
}
