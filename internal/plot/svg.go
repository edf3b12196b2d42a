package plot

import (
	"encoding/xml"
	"fmt"
	"strings"
)

// Inline is the plot as an element of a page, whose style sheet dresses "svg text", ".title",
// ".grid" and ".hollow", so that it can follow the page from light to dark.
func Inline(p Plot) string { return drawSVG(p, "", "") }

// ownStyle dresses a plot that stands alone.
const ownStyle = `<style>text{font:11px sans-serif;fill:#1d2329}.title{font-size:14px;font-weight:600}` +
	`.grid{stroke:#d9dee3}.hollow{fill:none;stroke:#5b6570;stroke-dasharray:4 3}</style><rect width="100%" height="100%" fill="#fff"/>`

// SVG is the plot as a file of its own, on white.
func SVG(p Plot) string {
	return drawSVG(p, fmt.Sprintf(` xmlns="http://www.w3.org/2000/svg" width="%d" height="%d"`, width, p.height()), ownStyle)
}

func drawSVG(p Plot, attributes, style string) string {
	c := &svg{}
	fmt.Fprintf(&c.b, `<svg%s viewBox="0 0 %d %d" role="img" aria-label="%s">%s`, attributes, width, p.height(), escape(p.title()), style)
	c.title(left, 18, p.title())
	p.draw(c)
	c.b.WriteString("</svg>")
	return c.b.String()
}

// svg is a canvas that writes elements.
type svg struct{ b strings.Builder }

func (c *svg) rule(x1, y1, x2, y2 float64) {
	fmt.Fprintf(&c.b, `<line class="grid" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, x1, y1, x2, y2)
}

func (c *svg) line(points []Point, colour string) {
	var path []string
	for _, p := range points {
		path = append(path, fmt.Sprintf("%.1f,%.1f", p.X, p.Y))
	}
	fmt.Fprintf(&c.b, `<polyline fill="none" stroke="%s" stroke-width="2" points="%s"/>`, colour, strings.Join(path, " "))
}

func (c *svg) box(x, y, w, h float64, colour, tip string) {
	style := `class="hollow"`
	if colour != "" {
		style = fmt.Sprintf(`fill="%s"`, colour)
	}
	if tip != "" {
		tip = "<title>" + escape(tip) + "</title>"
	}
	fmt.Fprintf(&c.b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" %s>%s</rect>`, x, y, w, h, style, tip)
}

func (c *svg) text(x, y float64, at anchor, s string) {
	fmt.Fprintf(&c.b, `<text x="%.1f" y="%.1f" text-anchor="%s">%s</text>`, x, y, [...]string{"start", "middle", "end"}[at], escape(s))
}

func (c *svg) title(x, y float64, s string) {
	fmt.Fprintf(&c.b, `<text class="title" x="%.1f" y="%.1f">%s</text>`, x, y, escape(s))
}

func (c *svg) upwards(x, y float64, s string) {
	fmt.Fprintf(&c.b, `<text transform="translate(%.1f %.1f) rotate(-90)" text-anchor="middle">%s</text>`, x, y, escape(s))
}

// escape makes a text safe inside SVG and HTML.
func escape(s string) string {
	var b strings.Builder
	if err := xml.EscapeText(&b, []byte(strings.TrimSpace(s))); err != nil {
		panic("plot: internal error: " + err.Error()) // a Builder does not fail
	}
	return b.String()
}
