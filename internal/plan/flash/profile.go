package flash

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
)

// Profile describes a device that serves reads. Times are microseconds, rates are
// megabytes (10⁶) per second, energies nanojoules.
type Profile struct {
	Name  string `json:"name"`
	About string `json:"about"`

	Channels    int     `json:"channels"`         // buses between controller and dies
	Dies        int     `json:"dies_per_channel"` //
	Planes      int     `json:"planes_per_die"`   // that can sense pages of different reads at once
	PageBytes   int     `json:"page_bytes"`       // what a plane senses
	SectorBytes int     `json:"sector_bytes"`     // what ECC corrects: the least that crosses a channel
	Sense       float64 `json:"sense_us"`         // page into the plane's register (tR)
	Jitter      float64 `json:"sense_jitter"`     // share by which senses differ, evenly spread: 0.2 is ±20 %
	ChannelRate float64 `json:"channel_mbps"`
	Decode      float64 `json:"decode_us"`   // ECC of a page's sectors, pipelined
	MapMiss     float64 `json:"map_miss"`    // share of reads whose address must be looked up in flash first
	Controller  float64 `json:"command_us"`  // firmware and hardware per command, on one core
	Cores       int     `json:"cores"`       // commands that the controller works on at once
	QueueDepth  int     `json:"queue_depth"` // commands that the device takes; more wait in the host

	LinkRate  float64 `json:"link_mbps"`      // host interface, after its encoding
	LinkBlock int     `json:"block_bytes"`    // least that crosses the link
	Submit    float64 `json:"submit_us"`      // host software and transport before the device has the command
	Complete  float64 `json:"complete_us"`    // interrupt and host software afterwards
	Row       float64 `json:"gather_row_us"`  // in-flash gathering: the engine's work for a row, beside its bytes
	Engine    float64 `json:"gather_mbps"`    // and the rate at which it handles their bytes
	Engines   int     `json:"gather_engines"` // rows that are worked on at once

	SenseEnergy   float64 `json:"sense_nj"`        // per page
	ChannelEnergy float64 `json:"channel_nj_byte"` //
	LinkEnergy    float64 `json:"link_nj_byte"`    // both ends
	CommandEnergy float64 `json:"command_nj"`      // controller and host, per command
	EngineEnergy  float64 `json:"gather_nj_byte"`  //

	// Sources says for every figure above where it is from, by its JSON name; a name may
	// stand for several, joined by commas.
	Sources map[string]string `json:"sources"`
}

//go:embed profiles/*.json
var profileFiles embed.FS

// Names lists the built-in profiles.
func Names() []string { return ProfileNames(profileFiles, "profiles") }

// maxPlanes bounds what a device of the model takes in memory.
const maxPlanes = 1 << 16

// maxProfileBytes bounds a profile's file.
const maxProfileBytes = 1 << 20

// ReadProfile returns the text of dir/NAME.json among built-in files, or of the file of that
// name. It serves profiles of machines too.
func ReadProfile(builtIn embed.FS, dir, nameOrFile string) ([]byte, error) {
	if !strings.ContainsAny(nameOrFile, `/\`) {
		if data, err := builtIn.ReadFile(path.Join(dir, nameOrFile+".json")); err == nil {
			return data, nil
		}
	}
	info, err := os.Stat(nameOrFile)
	if err != nil {
		return nil, fmt.Errorf("find %q: neither a file nor one of %s", nameOrFile, strings.Join(ProfileNames(builtIn, dir), ", "))
	}
	if !info.Mode().IsRegular() || info.Size() > maxProfileBytes {
		return nil, fmt.Errorf("read %s: want a regular file of at most %d bytes", nameOrFile, maxProfileBytes)
	}
	return os.ReadFile(nameOrFile)
}

// ProfileNames lists the built-in files in dir.
func ProfileNames(builtIn embed.FS, dir string) []string {
	entries, err := builtIn.ReadDir(dir)
	if err != nil {
		panic("flash: internal error: " + err.Error())
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".json"))
	}
	return names
}

// Load returns the built-in profile of that name, or reads the file of that name.
func Load(nameOrFile string) (*Profile, error) {
	data, err := ReadProfile(profileFiles, "profiles", nameOrFile)
	if err != nil {
		return nil, fmt.Errorf("storage profile: %w", err)
	}
	p, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("read storage profile %s: %w", nameOrFile, err)
	}
	return p, nil
}

// Parse reads a profile from JSON and checks it.
func Parse(data []byte) (*Profile, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	p := &Profile{}
	if err := dec.Decode(p); err != nil {
		return nil, err
	}
	return p, p.Validate()
}

// Validate refuses figures that no device can have, and those that the model cannot run.
func (p *Profile) Validate() error {
	for _, c := range []struct {
		name      string
		x         float64
		low, high float64
	}{
		{"channels", float64(p.Channels), 1, 1024},
		{"dies_per_channel", float64(p.Dies), 1, 1024},
		{"planes_per_die", float64(p.Planes), 1, 64},
		{"page_bytes", float64(p.PageBytes), 512, 1 << 20},
		{"sector_bytes", float64(p.SectorBytes), 512, float64(p.PageBytes)},
		{"sense_us", p.Sense, 0.1, 1e6},
		{"sense_jitter", p.Jitter, 0, 0.99},
		{"channel_mbps", p.ChannelRate, 1, 1e6},
		{"decode_us", p.Decode, 0, 1e6},
		{"map_miss", p.MapMiss, 0, 1},
		{"command_us", p.Controller, 0, 1e6},
		{"cores", float64(p.Cores), 1, 1024},
		{"queue_depth", float64(p.QueueDepth), 1, 1 << 20},
		{"link_mbps", p.LinkRate, 1, 1e6},
		{"block_bytes", float64(p.LinkBlock), 1, 1 << 20},
		{"submit_us", p.Submit, 0, 1e6},
		{"complete_us", p.Complete, 0, 1e6},
		{"gather_row_us", p.Row, 0, 1e6},
		{"gather_mbps", p.Engine, 1, 1e6},
		{"gather_engines", float64(p.Engines), 1, 1024},
		{"sense_nj", p.SenseEnergy, 0, 1e9},
		{"channel_nj_byte", p.ChannelEnergy, 0, 1e9},
		{"link_nj_byte", p.LinkEnergy, 0, 1e9},
		{"command_nj", p.CommandEnergy, 0, 1e9},
		{"gather_nj_byte", p.EngineEnergy, 0, 1e9},
	} {
		if !(c.x >= c.low && c.x <= c.high) { // NaN too
			return fmt.Errorf("%s is %g, want %g to %g", c.name, c.x, c.low, c.high)
		}
	}
	if n := p.Channels * p.Dies * p.Planes; n > maxPlanes {
		return fmt.Errorf("channels, dies and planes make %d planes, want at most %d", n, maxPlanes)
	}
	if p.PageBytes%p.SectorBytes != 0 {
		return fmt.Errorf("page_bytes %d is no multiple of sector_bytes %d", p.PageBytes, p.SectorBytes)
	}
	return nil
}

// Unsourced lists the figures that Sources says nothing about.
func (p *Profile) Unsourced() []string { return Unsourced(p, p.Sources) }

// Unsourced lists the JSON names of a profile's figures that its sources say nothing about.
func Unsourced(profile any, sources map[string]string) []string {
	var told []string
	for names := range sources {
		for name := range strings.SplitSeq(names, ",") {
			told = append(told, strings.TrimSpace(name))
		}
	}
	data, err := json.Marshal(profile)
	if err != nil {
		panic("flash: internal error: " + err.Error())
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		panic("flash: internal error: " + err.Error())
	}
	var missing []string
	for name := range fields {
		if !slices.Contains([]string{"name", "about", "sources"}, name) && !slices.Contains(told, name) {
			missing = append(missing, name)
		}
	}
	slices.Sort(missing)
	return missing
}
