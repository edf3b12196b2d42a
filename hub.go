package plume

import (
	"errors"

	"github.com/plume-run/plume/internal/hub"
)

// Hub keeps downloaded models and brings new ones: [Hub.Pull], Models, Find,
// Check, Remove. See [NewHub].
type Hub = hub.Hub

// HubOptions sets up a Hub; the zero value is the default. Describe is filled
// in by NewHub.
type HubOptions = hub.Options

// HubModel is a model in a Hub; its Path is what [Open] takes.
type HubModel = hub.Model

// HubFile is one file of a HubModel.
type HubFile = hub.File

// HubUnfinished is a download that was cut off.
type HubUnfinished = hub.Unfinished

// HubEvent is a step of a download.
type HubEvent = hub.Event

// HubEventKind says what a HubEvent reports.
type HubEventKind = hub.EventKind

// The kinds of HubEvent, see [HubEvent].
const (
	HubFound    = hub.EventFound
	HubProgress = hub.EventProgress
	HubRetry    = hub.EventRetry
	HubFileDone = hub.EventFile
	HubNote     = hub.EventNote
	HubDone     = hub.EventDone
)

// Errors of a Hub, for errors.Is.
var (
	ErrHubName     = hub.ErrName        // not a name that can be pulled
	ErrHubNotFound = hub.ErrNotFound    // not at the source, or not pulled
	ErrHubDenied   = hub.ErrDenied      // the source wants a token, or another one
	ErrHubBusy     = hub.ErrBusy        // somebody else is changing this model
	ErrHubSpace    = hub.ErrSpace       // the disk has too little room
	ErrHubDamaged  = hub.ErrDamaged     // bytes are not what the source or the manifest says
	ErrHubUnusable = hub.ErrUnsupported // the source holds no model in a form that plume reads
)

// HubDirVariable names the environment variable that replaces the default folder
// of a Hub.
const HubDirVariable = hub.DirVariable

// NewHub returns the Hub of a folder, by default the one that the command line
// uses ($PLUME_MODELS, or plume/models in the user's cache folder). Models are
// opened once when they have arrived: a file that is broken is refused, one
// that plume cannot run is kept with a note.
func NewHub(o HubOptions) (*Hub, error) {
	if o.Describe == nil {
		o.Describe = describe
	}
	return hub.New(o)
}

// describe names the type of a model in a word or two: its shape, and the
// number format of most of its bytes.
func describe(path string) (typ, note string, err error) {
	in, err := Inspect(path)
	switch {
	case errors.Is(err, ErrCorrupt):
		return "", "", err
	case err != nil:
		return "", "plume cannot run this model: " + err.Error(), nil
	}
	typ = in.Name
	if len(in.Types) > 0 {
		if typ != "" {
			typ += " "
		}
		typ += in.Types[0].Type
	}
	return typ, "", nil
}
