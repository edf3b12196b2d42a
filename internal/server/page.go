package server

import (
	"bytes"
	"embed"
	"mime"
	"net/http"
	"path"
	"time"
)

// web holds the page: plain files, read as they are, with nothing from elsewhere.
//
//go:embed web
var web embed.FS

// pageFiles are the paths of the page's files.
var pageFiles = map[string]string{
	"/{$}":         "web/index.html",
	"/app.js":      "web/app.js",
	"/markdown.js": "web/markdown.js",
	"/panel.js":    "web/panel.js",
	"/app.css":     "web/app.css",
	"/favicon.ico": "web/icon.svg",
	"/icon.svg":    "web/icon.svg",
}

// pagePolicy lets the page load its own files, talk to its own server, and
// nothing else; there are no inline scripts or styles.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// page serves one file.
func (s *Server) page(file string) http.HandlerFunc {
	data, err := web.ReadFile(file)
	if err != nil {
		panic("server: internal error: " + err.Error())
	}
	kind := mime.TypeByExtension(path.Ext(file))
	switch path.Ext(file) { // the system's table of types may be odd
	case ".html":
		kind = "text/html; charset=utf-8"
	case ".js":
		kind = "text/javascript; charset=utf-8"
	case ".css":
		kind = "text/css; charset=utf-8"
	case ".svg":
		kind = "image/svg+xml"
	}
	return func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", kind)
		h.Set("Content-Security-Policy", pagePolicy)
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-cache")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	}
}
