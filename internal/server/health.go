package server

import (
	"net/http"
	"time"

	"github.com/plume-run/plume"
)

// health says that the process answers.
func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

// ready says that new requests are welcome: not while the server drains. A full queue
// is no reason: the only server of a service would be taken out of it, and clients
// would be cut off instead of being told when to come again.
func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	if s.closing.Load() {
		writeJSON(w, http.StatusServiceUnavailable, map[string]string{"status": "shutting down"})
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"status": "ready"})
}

// statsJSON is what the page's live panel is drawn from. Counters grow; the
// page takes differences.
type statsJSON struct {
	Time     float64            `json:"time"` // seconds since the server started
	Version  string             `json:"version"`
	Model    modelStats         `json:"model"`
	Load     plume.ServiceStats `json:"load"`
	Figures  *plume.Stats       `json:"figures,omitempty"`
	Sampling samplingStats      `json:"sampling"`
}

type modelStats struct {
	ID           string `json:"id"`
	Size         string `json:"size"`
	Quantization string `json:"quantization"`
	Parameters   int64  `json:"parameters"`
	Bytes        int64  `json:"bytes"`
	DiskBytes    int64  `json:"disk_bytes"`
	Context      int    `json:"context"`
	Tools        bool   `json:"tools"`
	Thinking     bool   `json:"thinking"`
}

// samplingStats are the settings where a request says nothing.
type samplingStats struct {
	Temperature float32 `json:"temperature"`
	TopK        int     `json:"top_k"`
	TopP        float32 `json:"top_p"`
	MinP        float32 `json:"min_p"`
}

func (s *Server) stats(w http.ResponseWriter, _ *http.Request) {
	m := s.opt.Model
	out := statsJSON{
		Time: time.Since(s.begun).Seconds(), Version: s.opt.Version,
		Model:    modelStats{m.ID, m.Size, m.Quantization, m.Parameters, m.Bytes, m.DiskBytes, m.Context, m.Tools, m.Thinking},
		Load:     s.engine.Stats(),
		Sampling: samplingStats{m.Sampling.Temperature, m.Sampling.TopK, m.Sampling.TopP, m.Sampling.MinP},
	}
	if s.opt.Figures != nil {
		f := s.opt.Figures()
		out.Figures = &f
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusOK, out)
}
