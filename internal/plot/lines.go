package plot

import "math"

// Point is a place in a plot, in the units of its axes.
type Point struct{ X, Y float64 }

// Line is a named series.
type Line struct {
	Name   string
	Points []Point
}

// Lines is a plot of series over one axis. A logarithmic axis begins at the least value above
// 0; what is below is drawn at its end.
type Lines struct {
	Title, X, Y string // texts of the plot and of its axes
	LogX, LogY  bool
	Series      []Line
}

func (l *Lines) title() string { return l.Title }
func (l *Lines) height() int   { return lineHeight }

// axes fits both axes to the series.
func (l *Lines) axes() (x, y axis) {
	x = axis{math.Inf(1), math.Inf(-1), left, width - right, l.LogX}
	y = axis{0, 0, lineHeight - bottom, top, l.LogY}
	if l.LogY {
		y.low = math.Inf(1)
	}
	for _, s := range l.Series {
		for _, p := range s.Points {
			x.high, y.high = max(x.high, p.X), max(y.high, p.Y)
			if !l.LogX || p.X > 0 { // a zero has no place on such an axis
				x.low = min(x.low, p.X)
			}
			if !l.LogY || p.Y > 0 {
				y.low = min(y.low, p.Y)
			}
		}
	}
	if l.LogX && math.IsInf(x.low, 0) {
		x.low, x.high = 1, 10
	}
	if math.IsInf(y.low, 0) {
		y.low = 1
	}
	if y.high <= y.low {
		y.high = y.low + 1
	}
	if !l.LogY {
		y.high += 0.05 * (y.high - y.low)
	}
	return x, y
}

// draw implements Plot.
func (l *Lines) draw(c canvas) {
	x, y := l.axes()
	for _, v := range x.ticks() {
		at := x.place(v)
		c.rule(at, top, at, lineHeight-bottom)
		c.text(at, lineHeight-bottom+16, middle, number(v))
	}
	for _, v := range y.ticks() {
		at := y.place(v)
		c.rule(left, at, width-right, at)
		c.text(left-6, at+4, end, number(v))
	}
	c.text((left+width-right)/2, lineHeight-8, middle, l.X)
	c.upwards(14, (top+lineHeight-bottom)/2, l.Y)
	for i, s := range l.Series {
		points := make([]Point, len(s.Points))
		for k, p := range s.Points {
			points[k] = Point{x.place(p.X), y.place(p.Y)}
		}
		c.line(points, colour(i))
		legend(c, i, colour(i), s.Name)
	}
}
