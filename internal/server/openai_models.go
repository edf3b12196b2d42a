package server

import (
	"net/http"
	"time"
)

type modelJSON struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
	Context int    `json:"context_length"`
}

// anthropicModel is a model in the form of the other dialect, which has the
// same path.
type anthropicModel struct {
	ID        string `json:"id"`
	Type      string `json:"type"`
	Name      string `json:"display_name"`
	Created   string `json:"created_at"`
	MaxInput  int    `json:"max_input_tokens"`
	MaxTokens int    `json:"max_tokens"`
}

func (s *Server) modelJSON(id string, d *dialect) any {
	m := s.opt.Model
	if d == anthropic {
		return anthropicModel{id, "model", id, m.Modified.UTC().Format(time.RFC3339), m.Context, m.Context}
	}
	return modelJSON{id, "model", m.Modified.Unix(), "plume", m.Context}
}

// names are those that listings show: the model's and its aliases but "*".
func (s *Server) names() []string {
	out := []string{s.opt.Model.ID}
	for _, a := range s.opt.Aliases {
		if a != "*" {
			out = append(out, a)
		}
	}
	return out
}

func (s *Server) listModels(w http.ResponseWriter, r *http.Request) {
	d := dialectOf(r)
	var list []any
	names := s.names()
	for _, id := range names {
		list = append(list, s.modelJSON(id, d))
	}
	if d == anthropic {
		writeJSON(w, http.StatusOK, map[string]any{
			"data": list, "has_more": false, "first_id": names[0], "last_id": names[len(names)-1],
		})
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"object": "list", "data": list})
}

func (s *Server) showModel(w http.ResponseWriter, r *http.Request) {
	d := dialectOf(r)
	id, e := s.named(r.PathValue("id"))
	if e != nil {
		d.refuse(w, r, e)
		return
	}
	writeJSON(w, http.StatusOK, s.modelJSON(id, d))
}
