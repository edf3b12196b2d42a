package server

import (
	"encoding/json"

	"github.com/plume-run/plume"
)

// ollamaOptions are the settings inside "options".
type ollamaOptions struct {
	NumCtx           *int            `json:"num_ctx"`
	NumPredict       *int            `json:"num_predict"`
	Temperature      *float64        `json:"temperature"`
	TopK             *int            `json:"top_k"`
	TopP             *float64        `json:"top_p"`
	MinP             *float64        `json:"min_p"`
	RepeatPenalty    *float64        `json:"repeat_penalty"`
	RepeatLastN      *int            `json:"repeat_last_n"`
	PresencePenalty  *float64        `json:"presence_penalty"`
	FrequencyPenalty *float64        `json:"frequency_penalty"`
	Seed             *int64          `json:"seed"`
	Stop             json.RawMessage `json:"stop"`

	// Refused unless they are off.
	Mirostat *int     `json:"mirostat"`
	TypicalP *float64 `json:"typical_p"`
	TfsZ     *float64 `json:"tfs_z"`

	// How the original runs a model. Here the server's own flags say that.
	MirostatTau     ignored `json:"mirostat_tau"`
	MirostatEta     ignored `json:"mirostat_eta"`
	PenalizeNewline ignored `json:"penalize_newline"`
	NumKeep         ignored `json:"num_keep"`
	NumBatch        ignored `json:"num_batch"`
	NumGPU          ignored `json:"num_gpu"`
	MainGPU         ignored `json:"main_gpu"`
	NumThread       ignored `json:"num_thread"`
	UseMmap         ignored `json:"use_mmap"`
	UseMlock        ignored `json:"use_mlock"`
	Numa            ignored `json:"numa"`
	LowVRAM         ignored `json:"low_vram"`
	F16KV           ignored `json:"f16_kv"`
	VocabOnly       ignored `json:"vocab_only"`
	LogitsAll       ignored `json:"logits_all"`
	EmbeddingOnly   ignored `json:"embedding_only"`
}

// ollamaApply puts the options into r.
func (s *Server) ollamaApply(raw json.RawMessage, r *plume.Request) *apiError {
	base := s.opt.Model.Sampling
	r.Sampling = &base
	if !present(raw) {
		return nil
	}
	o, err := decode[ollamaOptions]("options", raw)
	if err != nil {
		return err
	}
	if err := o.check(s.opt.Model.Context); err != nil {
		return err
	}
	setFloat(&base.Temperature, o.Temperature)
	setTopP(&base, o.TopP)
	setFloat(&base.MinP, o.MinP)
	setFloat(&base.RepetitionPenalty, o.RepeatPenalty)
	setFloat(&base.PresencePenalty, o.PresencePenalty)
	setFloat(&base.FrequencyPenalty, o.FrequencyPenalty)
	if o.TopK != nil {
		base.TopK = *o.TopK
	}
	o.penaltyWindow(&base)
	if o.Seed != nil && *o.Seed != -1 { // chosen at random, as the original has it
		base.Seed = seed(o.Seed)
	}
	if o.NumPredict != nil && *o.NumPredict > 0 {
		r.MaxTokens = *o.NumPredict
	}
	r.Stop, err = stopStrings("options.stop", o.Stop)
	return err
}

// penaltyWindow maps repeat_last_n: −1 is everything, 0 is no penalties.
func (o *ollamaOptions) penaltyWindow(p *plume.Sampling) {
	switch {
	case o.RepeatLastN == nil:
	case *o.RepeatLastN > 0:
		p.PenaltyWindow = *o.RepeatLastN
	case *o.RepeatLastN == 0:
		p.RepetitionPenalty, p.PresencePenalty, p.FrequencyPenalty = 0, 0, 0
	}
}

// check refuses what is out of range or not to be had.
func (o *ollamaOptions) check(context int) *apiError {
	err := first(
		within("options.temperature", o.Temperature, 0, 10),
		within("options.top_k", o.TopK, 0, 1<<20),
		within("options.top_p", o.TopP, 0, 1),
		within("options.min_p", o.MinP, 0, 1),
		within("options.repeat_penalty", o.RepeatPenalty, 0.01, 10),
		within("options.repeat_last_n", o.RepeatLastN, -1, 1<<20),
		within("options.presence_penalty", o.PresencePenalty, -10, 10),
		within("options.frequency_penalty", o.FrequencyPenalty, -10, 10),
		within("options.num_predict", o.NumPredict, -2, 1<<30),
		within("options.num_ctx", o.NumCtx, 1, 1<<30),
	)
	switch {
	case err != nil:
		return err
	case o.NumPredict != nil && *o.NumPredict == 0:
		return refuse("options.num_predict", "0, want a number of tokens, or -1 for no limit")
	case o.NumCtx != nil && *o.NumCtx > context:
		return refuse("options.num_ctx", "%d, this server was started with a context of %d tokens", *o.NumCtx, context)
	case o.Mirostat != nil && *o.Mirostat != 0:
		return unsupported("options.mirostat", "not supported, want 0")
	case o.TypicalP != nil && *o.TypicalP != 1:
		return unsupported("options.typical_p", "not supported, want 1")
	case o.TfsZ != nil && *o.TfsZ != 1:
		return unsupported("options.tfs_z", "not supported, want 1")
	}
	return nil
}

// ollamaThink reads "think": a boolean, or an effort.
func ollamaThink(raw json.RawMessage) (bool, *apiError) {
	switch {
	case !present(raw):
		return false, nil
	case isKind(raw, 't'), isKind(raw, 'f'):
		return raw[0] == 't', nil
	case isKind(raw, '"'):
		effort, err := asString("think", raw)
		if err != nil {
			return false, err
		}
		return reasons("think", effort)
	}
	return false, refuse("think", "want true, false or an effort")
}

// ollamaFormat reads "format": "json", or a schema.
func ollamaFormat(raw json.RawMessage) (*plume.Format, *apiError) {
	switch {
	case !present(raw):
		return nil, nil
	case isKind(raw, '{'):
		return &plume.Format{Schema: raw}, nil
	}
	word, err := asString("format", raw)
	switch {
	case err == nil && word == "json":
		return &plume.Format{JSON: true}, nil
	case err == nil && word == "":
		return nil, nil
	}
	return nil, refuse("format", `want "json" or a JSON schema`)
}
