package plot

import (
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"io"
	"math"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/f64"
	"golang.org/x/image/math/fixed"
	"golang.org/x/image/vector"

	xdraw "golang.org/x/image/draw"
)

// scale is pixels per unit of a plot: sharp on a screen of high density and in print.
const scale = 2

var (
	ink  = color.RGBA{0x1d, 0x23, 0x29, 0xff}
	soft = color.RGBA{0x5b, 0x65, 0x70, 0xff}
	grid = color.RGBA{0xd9, 0xde, 0xe3, 0xff}
)

// PNG writes the plot as a picture of 1440 pixels' width, on white.
func PNG(w io.Writer, p Plot) error {
	c := &picture{img: image.NewRGBA(image.Rect(0, 0, width*scale, p.height()*scale))}
	draw.Draw(c.img, c.img.Bounds(), image.White, image.Point{}, draw.Src)
	plain, err := face(11)
	if err != nil {
		return err
	}
	defer plain.Close()
	large, err := face(14)
	if err != nil {
		return err
	}
	defer large.Close()
	c.plain, c.large = plain, large
	c.title(left, 18, p.title())
	p.draw(c)
	return png.Encode(w, c.img)
}

// face is the Go font in a size of units.
func face(size float64) (font.Face, error) {
	f, err := opentype.Parse(goregular.TTF)
	if err != nil {
		return nil, fmt.Errorf("read the font: %w", err)
	}
	return opentype.NewFace(f, &opentype.FaceOptions{Size: size * scale, DPI: 72, Hinting: font.HintingNone})
}

// picture is a canvas of pixels.
type picture struct {
	img          *image.RGBA
	raster       vector.Rasterizer
	plain, large font.Face
}

// fill colours the inside of polygons, all of which run around their inside the same way.
func (c *picture) fill(with color.Color, polygons ...[]Point) {
	area := c.around(polygons)
	if area.Empty() {
		return
	}
	c.raster.Reset(area.Dx(), area.Dy())
	for _, p := range polygons {
		for i, q := range p {
			x, y := float32(q.X*scale)-float32(area.Min.X), float32(q.Y*scale)-float32(area.Min.Y)
			if i == 0 {
				c.raster.MoveTo(x, y)
			} else {
				c.raster.LineTo(x, y)
			}
		}
		c.raster.ClosePath()
	}
	c.raster.Draw(c.img, area, image.NewUniform(with), image.Point{})
}

// around is the part of the picture that polygons lie in.
func (c *picture) around(polygons [][]Point) image.Rectangle {
	var all image.Rectangle
	for _, p := range polygons {
		for _, q := range p {
			x, y := int(math.Floor(q.X*scale)), int(math.Floor(q.Y*scale))
			all = all.Union(image.Rect(x, y, x+2, y+2))
		}
	}
	return all.Intersect(c.img.Bounds())
}

func rectangle(x, y, w, h float64) []Point {
	return []Point{{x, y}, {x + w, y}, {x + w, y + h}, {x, y + h}}
}

// stroke is a line from a to b of a thickness, as a polygon.
func stroke(a, b Point, thick float64) []Point {
	dx, dy := b.X-a.X, b.Y-a.Y
	n := math.Hypot(dx, dy)
	if n == 0 {
		return rectangle(a.X-thick/2, a.Y-thick/2, thick, thick)
	}
	nx, ny := -dy/n*thick/2, dx/n*thick/2
	return []Point{{a.X - nx, a.Y - ny}, {b.X - nx, b.Y - ny}, {b.X + nx, b.Y + ny}, {a.X + nx, a.Y + ny}}
}

// disc is a round corner of a line.
func disc(at Point, thick float64) []Point {
	const corners = 12
	out := make([]Point, corners)
	for i := range out {
		sin, cos := math.Sincos(2 * math.Pi * float64(i) / corners)
		out[i] = Point{at.X + cos*thick/2, at.Y + sin*thick/2}
	}
	return out
}

func (c *picture) rule(x1, y1, x2, y2 float64) { c.fill(grid, stroke(Point{x1, y1}, Point{x2, y2}, 1)) }

func (c *picture) line(points []Point, colour string) {
	var parts [][]Point
	for i, p := range points {
		parts = append(parts, disc(p, 2))
		if i > 0 {
			parts = append(parts, stroke(points[i-1], p, 2))
		}
	}
	c.fill(parseColour(colour), parts...)
}

func (c *picture) box(x, y, w, h float64, colour, _ string) {
	if colour != "" {
		c.fill(parseColour(colour), rectangle(x, y, w, h))
		return
	}
	const dash, gap = 4, 3
	for at := 0.0; at < w; at += dash + gap {
		n := min(dash, w-at)
		c.fill(soft, rectangle(x+at, y-0.5, n, 1), rectangle(x+at, y+h-0.5, n, 1))
	}
	for at := 0.0; at < h; at += dash + gap {
		n := min(dash, h-at)
		c.fill(soft, rectangle(x-0.5, y+at, 1, n), rectangle(x+w-0.5, y+at, 1, n))
	}
}

func (c *picture) text(x, y float64, at anchor, s string) {
	advance := float64(font.MeasureString(c.plain, s)) / 64 / scale
	c.print(c.plain, x-advance*float64(at)/2, y, s)
}

func (c *picture) title(x, y float64, s string) { c.print(c.large, x, y, s) }

// print writes a text that begins at x.
func (c *picture) print(f font.Face, x, y float64, s string) {
	d := font.Drawer{Dst: c.img, Src: image.NewUniform(ink), Face: f, Dot: fixed.Point26_6{X: units(x), Y: units(y)}}
	d.DrawString(s)
}

// upwards writes the text on a strip and turns that.
func (c *picture) upwards(x, y float64, s string) {
	advance := font.MeasureString(c.plain, s).Ceil()
	m := c.plain.Metrics()
	strip := image.NewRGBA(image.Rect(0, 0, advance, (m.Ascent + m.Descent).Ceil()))
	d := font.Drawer{Dst: strip, Src: image.NewUniform(ink), Face: c.plain, Dot: fixed.Point26_6{Y: m.Ascent}}
	d.DrawString(s)
	base := float64(m.Ascent) / 64
	// (u, v) of the strip goes to (v, −u), its base line to x, its middle to y.
	turn := f64.Aff3{0, 1, x*scale - base, -1, 0, y*scale + float64(advance)/2}
	xdraw.BiLinear.Transform(c.img, turn, strip, strip.Bounds(), xdraw.Over, nil)
}

func units(x float64) fixed.Int26_6 { return fixed.Int26_6(math.Round(x * scale * 64)) }

// parseColour reads one of the palette.
func parseColour(s string) color.RGBA {
	var r, g, b uint8
	if _, err := fmt.Sscanf(s, "#%02x%02x%02x", &r, &g, &b); err != nil {
		panic("plot: internal error: colour " + s)
	}
	return color.RGBA{r, g, b, 0xff}
}
