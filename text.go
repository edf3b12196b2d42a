package plume

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/plume-run/plume/internal/chat"
	"github.com/plume-run/plume/internal/checkpoint"
	"github.com/plume-run/plume/internal/gemma"
	"github.com/plume-run/plume/internal/tokenizer"
)

// Tokenizer is the text side of a model: vocabulary and chat template, without
// the weights. It is immutable and safe for concurrent use.
type Tokenizer struct {
	tok         *tokenizer.Tokenizer
	template    chat.Template
	templateErr error // why the model's template is not known; encoding does not need it
	forms       forms // of answers that must have one
}

// OpenTokenizer reads the vocabulary of a model without its weights. path is
// whatever [Open] takes, a folder with only a tokenizer.json, or a
// tokenizer.json itself.
func OpenTokenizer(path string) (*Tokenizer, error) {
	if data, dir, err := tokenizerFile(path); err != nil {
		return nil, err
	} else if data != nil {
		return folderTokenizer(path, dir, data)
	}
	cat, err := openModel(path, 0)
	if err != nil {
		return nil, err
	}
	defer cat.Close()
	cfg, cfgErr := gemma.ReadConfig(cat)
	t, err := readTokenizer(cat, cfg)
	if err != nil {
		return nil, err
	}
	t.templateErr = markConfig(cfgErr)
	return t, nil
}

// tokenizerFile returns the tokenizer.json that path is or holds, and its
// folder; nil when there is none.
func tokenizerFile(path string) (data []byte, dir string, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, "", err
	}
	file, dir := path, filepath.Dir(path)
	if info.IsDir() {
		file, dir = filepath.Join(path, "tokenizer.json"), path
	} else if !strings.HasSuffix(path, ".json") || strings.HasSuffix(path, ".index.json") {
		return nil, "", nil
	}
	data, err = readSmall(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", nil
	}
	return data, dir, err
}

// maxSideFile bounds a JSON file beside the weights; the released
// tokenizer.json has 33 MB.
const maxSideFile = 256 << 20

// readSmall reads a side file, refusing one whose size cannot be right.
func readSmall(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxSideFile {
		return nil, fmt.Errorf("read %s: not a file of at most %d bytes", path, maxSideFile)
	}
	return os.ReadFile(path)
}

// folderTokenizer builds a Tokenizer from files alone; config.json is asked
// for the template only, and may be missing.
func folderTokenizer(path, dir string, data []byte) (*Tokenizer, error) {
	spec, err := tokenizer.ParseSpec(data)
	if err != nil {
		return nil, markVocabulary(fmt.Errorf("read tokenizer of %s: %w", path, err), data)
	}
	text, err := readSmall(filepath.Join(dir, "chat_template.jinja"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var cfg *gemma.Config
	raw, cfgErr := readSmall(filepath.Join(dir, "config.json"))
	if cfgErr == nil {
		cfg, cfgErr = gemma.ParseConfig(raw)
	}
	t, err := newTokenizer(path, spec, chooseTemplate(cfg, string(text)))
	if err == nil && cfgErr != nil && !errors.Is(cfgErr, fs.ErrNotExist) {
		t.templateErr = markConfig(fmt.Errorf("read config of %s: %w", path, cfgErr))
	}
	return t, err
}

// readTokenizer builds the Tokenizer of an open checkpoint. A checkpoint
// without vocabulary gives ErrNoTokenizer.
func readTokenizer(cat *checkpoint.Catalog, cfg *gemma.Config) (*Tokenizer, error) {
	if cat.Format() == "gguf" {
		meta := cat.Meta()
		if meta.Kind("tokenizer.ggml.tokens") == "" {
			return nil, fmt.Errorf("open tokenizer of %s: %w", cat.Path(), ErrNoTokenizer)
		}
		spec, err := tokenizer.SpecFromKeys(meta)
		if err != nil {
			return nil, markConfig(fmt.Errorf("read tokenizer of %s: %w", cat.Path(), err))
		}
		text, _ := meta.String("tokenizer.chat_template")
		return newTokenizer(cat.Path(), spec, chooseTemplate(cfg, text))
	}
	data, err := cat.File("tokenizer.json")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open tokenizer of %s: %w", cat.Path(), ErrNoTokenizer)
	} else if err != nil {
		return nil, err
	}
	spec, err := tokenizer.ParseSpec(data)
	if err != nil {
		return nil, markVocabulary(fmt.Errorf("read tokenizer of %s: %w", cat.Path(), err), data)
	}
	text, err := cat.File("chat_template.jinja")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return newTokenizer(cat.Path(), spec, chooseTemplate(cfg, string(text)))
}

func newTokenizer(path string, spec tokenizer.Spec, template chat.Template) (*Tokenizer, error) {
	tok, err := tokenizer.New(spec)
	if err != nil {
		return nil, markConfig(fmt.Errorf("read tokenizer of %s: %w", path, err))
	}
	return &Tokenizer{tok: tok, template: template}, nil
}

// chooseTemplate takes the variant that the template's own text shows; without
// one, models with a per-layer table are the small ones. cfg may be nil.
func chooseTemplate(cfg *gemma.Config, text string) chat.Template {
	if t, ok := chat.DetectTemplate(text); ok {
		return t
	}
	if cfg != nil && cfg.PLESize == 0 {
		return chat.Large
	}
	return chat.Small
}

// markConfig gives an error about a model's side files (configuration,
// vocabulary) its class: broken JSON is corrupt, anything else that was read
// and not accepted is unsupported.
func markConfig(err error) error {
	if err == nil || errors.Is(err, ErrCorrupt) || isSystem(err) {
		return err
	}
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w (%w)", err, ErrCorrupt)
	}
	return unsupportedError{err}
}

// markVocabulary is markConfig for a tokenizer.json of the given bytes.
func markVocabulary(err error, data []byte) error {
	if !json.Valid(data) {
		return fmt.Errorf("%w (%w)", err, ErrCorrupt)
	}
	return markConfig(err)
}

// isSystem reports whether the file system said it.
func isSystem(err error) bool {
	var path *fs.PathError
	return errors.Is(err, fs.ErrNotExist) || errors.As(err, &path)
}

// Len returns the number of tokens in the vocabulary.
func (t *Tokenizer) Len() int { return t.tok.Len() }

// Encode returns the ids of text, without BOS. With special set, the special
// tokens' texts ("<|turn>") become their ids; text from strangers must be
// encoded without.
func (t *Tokenizer) Encode(text string, special bool) []int32 {
	return t.tok.Encode(nil, text, special)
}

// Decode returns the text of ids, special tokens included. Ids outside the
// vocabulary are an error.
func (t *Tokenizer) Decode(ids []int32) (string, error) {
	for i, id := range ids {
		if id < 0 || int(id) >= t.tok.Len() {
			return "", fmt.Errorf("decode: token %d at %d, vocabulary %d: %w", id, i, t.tok.Len(), ErrToken)
		}
	}
	return t.tok.Decode(ids), nil
}

// Piece returns one token's own text, and whether it is a special token.
func (t *Tokenizer) Piece(id int32) (text string, special bool) {
	if id < 0 || int(id) >= t.tok.Len() {
		return "", false
	}
	return t.tok.Text(id), t.tok.IsSpecial(id)
}

// RenderOptions say how a conversation becomes a prompt.
type RenderOptions struct {
	Tools            []Tool
	Thinking         bool
	NoGeneration     bool   // do not open the model's turn
	PreserveThinking bool   // keep thoughts of finished turns that called tools
	Template         string // "small" or "large"; "": the model's
}

// Render returns the exact prompt text of a conversation, BOS included.
func (t *Tokenizer) Render(messages []Message, o RenderOptions) (string, error) {
	opt, err := t.chatOptions(o)
	if err != nil {
		return "", err
	}
	text, err := chat.Render(messages, opt)
	if err != nil {
		return "", requestError{err}
	}
	return text, nil
}

// RenderJSON is Render for a request in JSON form, an object with "messages"
// and, if need be, "tools", "thinking", "generation_prompt" (true when absent),
// "preserve_thinking" and "template".
func (t *Tokenizer) RenderJSON(request []byte) (string, error) {
	var named struct {
		Template string `json:"template"`
	}
	json.Unmarshal(request, &named) // what is wrong with request is said below
	def, err := t.chatOptions(RenderOptions{Template: named.Template})
	if err != nil {
		return "", err
	}
	messages, opt, err := chat.DecodeRequest(request, def)
	if err != nil {
		return "", requestError{err}
	}
	text, err := chat.Render(messages, opt)
	if err != nil {
		return "", requestError{err}
	}
	return text, nil
}

// chatOptions resolves the template.
func (t *Tokenizer) chatOptions(o RenderOptions) (chat.Options, error) {
	opt := chat.Options{
		Tools:            o.Tools,
		Thinking:         o.Thinking,
		GenerationPrompt: !o.NoGeneration,
		PreserveThinking: o.PreserveThinking,
		Template:         t.template,
	}
	var err error
	if o.Template != "" {
		if opt.Template, err = chat.ParseTemplate(o.Template); err != nil {
			return opt, requestError{err}
		}
	} else if t.templateErr != nil {
		return opt, fmt.Errorf("choose chat template: %w", t.templateErr)
	}
	return opt, nil
}

// Template returns the name of the model's chat template, "small" or "large".
func (t *Tokenizer) Template() string { return t.template.String() }

// bos returns the prompt's first token, none where the model has none.
func (t *Tokenizer) bos() []int32 {
	if id, ok := t.tok.BOS(); ok {
		return []int32{id}
	}
	return nil
}
