package plan

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/plume-run/plume/internal/checkpoint"
)

// catalog is a safetensors file of bfloat16 tensors with so many values each.
func catalog(t *testing.T, names []string, sizes ...int) *checkpoint.Catalog {
	t.Helper()
	var header []string
	at := 0
	for i, name := range names {
		header = append(header, fmt.Sprintf(`%q:{"dtype":"BF16","shape":[%d],"data_offsets":[%d,%d]}`, name, sizes[i], at, at+2*sizes[i]))
		at += 2 * sizes[i]
	}
	text := "{" + strings.Join(header, ",") + "}"
	file := append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...)
	file = append(file, make([]byte, at)...)
	cat, err := checkpoint.OpenReader("model.safetensors", bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cat.Close() })
	return cat
}

// What the file holds and nobody loads is told apart, and text tensors are none of it.
func TestNotLoaded(t *testing.T) {
	names := []string{"model.vision_tower.x", "v.patch_embd.weight", "mm.a.fc.weight", "model.audio_tower.y", "mtp_centroids.weight", "model.language_model.norm.weight", "a.pre.weight"}
	list := notLoaded(catalog(t, names, 10, 20, 40, 80, 160, 320, 640))
	want := []Item{{Role: "vision encoder", Bytes: 60}, {Role: "audio encoder", Bytes: 1520}, {Role: "drafter", Bytes: 320}}
	if len(list) != len(want) {
		t.Fatalf("%+v", list)
	}
	for i := range want {
		if list[i] != want[i] {
			t.Errorf("%+v, want %+v", list[i], want[i])
		}
	}
	if list := notLoaded(catalog(t, names[5:6], 1)); list != nil {
		t.Errorf("%+v of a text model", list)
	}
}
