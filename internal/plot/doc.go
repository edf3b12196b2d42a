// Package plot draws the few kinds of plots that reports need, as SVG for pages and as PNG for
// everything else. A plot says what it shows; both forms come from the same drawing calls, so
// they show the same.
//
// It knows nothing of what is plotted, and chooses colours and places itself. Plots are read
// only while they are drawn; nothing is kept. Used by cmd/plume.
package plot

// Plot is one of this package's plots: *Lines or *Bars.
type Plot interface {
	title() string
	height() int
	draw(c canvas)
}

// canvas is what plots are drawn on. Places are in units of the plot, y grows downwards.
type canvas interface {
	// rule is a thin line of the grid.
	rule(x1, y1, x2, y2 float64)
	// line joins points, in a colour.
	line(points []Point, colour string)
	// box is a filled rectangle, a dashed outline where colour is "". A reader who points at
	// it sees tip, where that is possible.
	box(x, y, w, h float64, colour, tip string)
	// text begins, has its middle or ends at x; y is its base line.
	text(x, y float64, at anchor, s string)
	// title is a larger text.
	title(x, y float64, s string)
	// upwards is a text that is read from below, its middle at y.
	upwards(x, y float64, s string)
}

// anchor is the part of a text that lies at its place.
type anchor uint8

const (
	start anchor = iota
	middle
	end
)

// Colours that can be told apart, on light and on dark ground.
var palette = []string{"#3b76d6", "#d9822b", "#3f9b57", "#c2445e", "#8a63c9", "#2a9d9d", "#a8782c", "#7a8794", "#d06bb0", "#6aa31f"}

func colour(i int) string { return palette[i%len(palette)] }

// Sizes of plots, in their units.
const (
	width, lineHeight = 720, 340
	left, right       = 64, 170
	top, bottom       = 36, 44
)

// legend names a colour at the right; "" is the dashed outline.
func legend(c canvas, i int, colour, name string) {
	at := float64(top + 10 + 16*i)
	c.box(width-right+12, at-9, 10, 10, colour, "")
	c.text(width-right+27, at, start, name)
}
