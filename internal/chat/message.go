package chat

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Role says who speaks.
type Role string

// The roles. System and Developer mean the same to the model in the first
// message; Model is another name of Assistant that does not continue an
// assistant's turn.
const (
	System    Role = "system"
	Developer Role = "developer"
	User      Role = "user"
	Assistant Role = "assistant"
	Model     Role = "model"
	ToolRole  Role = "tool"
)

// PartType is the kind of one piece of content.
type PartType string

// The part types. The two OpenAI names mean the same as the plain ones.
const (
	TextPart       PartType = "text"
	ImagePart      PartType = "image"
	ImageURLPart   PartType = "image_url"
	AudioPart      PartType = "audio"
	InputAudioPart PartType = "input_audio"
	VideoPart      PartType = "video"
)

// Part is one piece of content. Parts other than text become placeholders in
// the prompt, in order; Source is for whoever fetches the media.
type Part struct {
	Type   PartType
	Text   string          // of a TextPart
	Source json.RawMessage // the whole part as it was decoded; nil when built in Go
}

// placeholder is the token that stands for a media part, "" for text.
func (p Part) placeholder() string {
	switch p.Type {
	case ImagePart, ImageURLPart:
		return markImage
	case AudioPart, InputAudioPart:
		return markAudio
	case VideoPart:
		return markVideo
	}
	return ""
}

// Message is one entry of a conversation.
type Message struct {
	Role Role

	// Content is the text, used when Parts is nil.
	Content string
	// Parts is content in list form. A list and the equal string do not always
	// render alike: the template treats their white space differently.
	Parts []Part
	// Result is a tool message's answer when it is not text: any JSON value.
	// It is used when set, before Parts and Content.
	Result json.RawMessage

	// Reasoning is the thought that preceded the content. It reaches the prompt
	// only within a running tool loop, or with Options.PreserveThinking.
	Reasoning string
	// ToolCalls are the calls the assistant made.
	ToolCalls []ToolCall
	// ToolResponses are answers kept on the assistant's own message (Google's
	// native form); when present, following tool messages are not looked at.
	ToolResponses []ToolResponse

	// ToolCallID names the call that a tool message answers; Name is the tool's
	// name, used when no call of that id precedes.
	ToolCallID string
	Name       string
}

// ToolCall is one call of a tool.
type ToolCall struct {
	ID        string
	Name      string
	Arguments json.RawMessage // a JSON object; nil and null mean no arguments
}

// ToolResponse is the answer to a call: any JSON value.
type ToolResponse struct {
	Name     string
	Response json.RawMessage
}

// Template is the variant of the chat template.
type Template uint8

const (
	// Small is the variant of E2B and E4B.
	Small Template = iota
	// Large is the variant of 12B, 26B-A4B and 31B: with thinking off, a new
	// model turn begins with an empty thought.
	Large
)

// ParseTemplate returns the variant of that name, "small" or "large".
func ParseTemplate(name string) (Template, error) {
	switch name {
	case "small":
		return Small, nil
	case "large":
		return Large, nil
	}
	return 0, fmt.Errorf("read template: unknown variant %q, want small or large", name)
}

// String is "small" or "large".
func (t Template) String() string {
	if t == Large {
		return "large"
	}
	return "small"
}

// DetectTemplate recognises the variant of a checkpoint's Jinja source
// (chat_template.jinja, or the GGUF key tokenizer.chat_template). It reports
// false for a template that is not Gemma 4's.
func DetectTemplate(jinja string) (Template, bool) {
	if !strings.Contains(jinja, markTurn) {
		return Small, false
	}
	if strings.Contains(jinja, `<|channel>thought\n<channel|>`) {
		return Large, true
	}
	return Small, true
}

// Options are what besides the messages shapes a prompt. The zero value renders
// the messages alone for the small template.
type Options struct {
	Tools []Tool
	// Thinking lets the model think before it answers.
	Thinking bool
	// GenerationPrompt ends the prompt where the model is to go on.
	GenerationPrompt bool
	// PreserveThinking keeps the reasoning of earlier messages that have calls.
	PreserveThinking bool
	Template         Template
}
