package plan

import (
	"strings"

	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/gemma"
)

// notLoaded lists what a file holds beside the text model: encoders, which plume does not
// compute, and a drafter's matrices, which are no part of the model's own forward pass.
func notLoaded(cat *checkpoint.Catalog) []Item {
	items := []Item{{Role: "vision encoder"}, {Role: "audio encoder"}, {Role: "drafter"}}
	for _, t := range cat.Tensors() {
		switch {
		case gemma.Classify(t.Name) == gemma.RoleEncoder && isAudio(t.Name):
			items[1].Bytes += t.Bytes
		case gemma.Classify(t.Name) == gemma.RoleEncoder:
			items[0].Bytes += t.Bytes
		case isDrafter(t.Name):
			items[2].Bytes += t.Bytes
		}
	}
	var list []Item
	for _, it := range items {
		if it.Bytes > 0 {
			list = append(list, it)
		}
	}
	return list
}

// isAudio tells the encoders apart: "a.", "mm.a." in GGUF, spelt out in safetensors.
func isAudio(name string) bool {
	return strings.HasPrefix(name, "a.") || strings.HasPrefix(name, "mm.a.") || strings.Contains(name, "audio")
}

// isDrafter recognises the matrices that only a drafter has.
func isDrafter(name string) bool {
	for _, p := range []string{"nextn.", "mtp_", "mtp.", "pre_projection.", "post_projection.", "masked_embedding.", "masked_embd"} {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}
