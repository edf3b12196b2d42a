package hub

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/url"
	"path"
	"regexp"
	"strings"
)

// ref is a parsed model name.
type ref struct {
	name string // the one spelling under which the model is kept

	// One of these is set.
	hf     bool
	ollama bool
	url    *url.URL // with its query, which is no part of the name

	repo   string // "owner/repo" or "namespace/model"
	rev    string // branch, tag or commit of a repository
	tag    string // choice among GGUF models, or Ollama's tag
	sha256 string // of the file at a URL, when the name gave it
}

// A word begins with a letter or digit, and one dot or dash at most stands between the
// rest: no word is more than a name, in an address or on a disk. All names consist of them.
const word = `[A-Za-z0-9]\w*(?:[.-]\w+)*`

var (
	hfName     = regexp.MustCompile(`^(` + word + `/` + word + `)(?:@(` + word + `(?:/` + word + `)*))?(?::(` + word + `))?$`)
	ollamaName = regexp.MustCompile(`^((?:` + word + `/)?` + word + `)(?::(` + word + `))?$`)
	// urlName has no escape or sign that another spelling of the same URL would lack.
	urlName   = regexp.MustCompile(`^https?://(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*)|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:/(?:[\w.~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})*)+$`)
	sha256Hex = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// maxName is more than any place names a model by.
const maxName = 2000

const nameForms = `owner/repo[@revision][:choice], ollama:model[:tag] or an https URL of a .gguf or .safetensors file`

// parseName reads a name.
func parseName(name string) (*ref, error) {
	if len(name) > maxName {
		return nil, fmt.Errorf("%.200q…: %w: it has %d bytes, at most %d are allowed", name, ErrName, len(name), maxName)
	}
	if strings.HasPrefix(name, "https:") || strings.HasPrefix(name, "http:") {
		return parseURL(name)
	}
	if rest, ok := strings.CutPrefix(name, "ollama:"); ok {
		m := ollamaName.FindStringSubmatch(rest)
		if m == nil {
			return nil, fmt.Errorf("%.200q: %w; want ollama:model[:tag]", name, ErrName)
		}
		short := strings.TrimPrefix(m[1], "library/")
		r := &ref{ollama: true, repo: short, tag: cmp.Or(m[2], "latest")}
		r.name = "ollama:" + short + ":" + r.tag
		if !strings.Contains(short, "/") {
			r.repo = "library/" + short
		}
		return r, nil
	}
	m := hfName.FindStringSubmatch(name)
	if m == nil {
		return nil, fmt.Errorf("%.200q: %w; want %s", name, ErrName, nameForms)
	}
	return &ref{name: name, hf: true, repo: m[1], rev: m[2], tag: m[3]}, nil
}

// parseURL reads a name that is a URL. Plain http is for this machine only,
// since nothing would notice a changed file.
func parseURL(name string) (*ref, error) {
	u, err := url.Parse(name)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("%.200q: %w: the URL cannot be read", name, ErrName)
	}
	switch {
	case u.User != nil:
		return nil, fmt.Errorf("the URL holds a password: %w; use --token", ErrName)
	case u.Scheme != "https" && !loopback(u.Hostname()):
		return nil, fmt.Errorf("%.200q: %w: the URL is not https", name, ErrName)
	}
	r := &ref{url: u}
	if u.Fragment != "" {
		sum, ok := strings.CutPrefix(u.Fragment, "sha256=")
		if sum = strings.ToLower(sum); !ok || !sha256Hex.MatchString(sum) {
			return nil, fmt.Errorf("%.200q: %w: the part after # may be sha256= and 64 hexadecimal digits", name, ErrName)
		}
		r.sha256 = sum
		u.Fragment, u.RawFragment = "", ""
	}
	file := path.Base(u.Path)
	if !isGGUF(file) && !strings.HasSuffix(file, ".safetensors") {
		return nil, fmt.Errorf("%.200q: %w: the URL ends neither in .gguf nor in .safetensors; a repository is named owner/repo", name, ErrName)
	}
	if err := plainName(file); err != nil {
		return nil, fmt.Errorf("%.200q: %w: %w", name, ErrName, err)
	}
	bare := *u
	bare.RawQuery, bare.ForceQuery = "", false // may hold a signature that expires, or a secret
	if r.name = bare.String(); !urlName.MatchString(r.name) {
		return nil, fmt.Errorf("%.200q: %w: the URL has characters that must be written with %%", name, ErrName)
	}
	return r, nil
}

// answersTo reports whether people may mean the model called full by short:
// its name, or the last part of it.
func answersTo(full, short string) bool {
	full = strings.TrimPrefix(full, "ollama:")
	short = strings.TrimPrefix(short, "ollama:")
	return short != "" && (full == short || strings.HasSuffix(full, "/"+short))
}

// slug turns a name into a folder's name: readable, and unique by its end. Without dots it
// is no device of Windows, as "con.x" would be: those end at a dot or with the name.
func slug(name string) string {
	clean := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' {
			return r
		}
		return '-'
	}, name)
	sum := sha256.Sum256([]byte(name))
	return clean[:min(len(clean), 80)] + "-" + hex.EncodeToString(sum[:5])
}

var (
	plain    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_ .+=@()-]{0,199}$`)
	reserved = regexp.MustCompile(`(?i)^(con|prn|aux|nul|com[0-9]|lpt[0-9]|conin\$|conout\$)( *\.|$)`)
)

// plainName refuses a file name that is more than a name on any system, or one
// of ours.
func plainName(name string) error {
	switch {
	case !plain.MatchString(name), strings.HasSuffix(name, "."), strings.HasSuffix(name, " "), reserved.MatchString(name):
		return fmt.Errorf("%.200q is no plain file name", name)
	case strings.HasSuffix(strings.ToLower(name), journalSuffix):
		return fmt.Errorf("%.200q: names that end in %s are taken", name, journalSuffix)
	}
	return nil
}

// origin is the part of a URL that a token belongs to.
func origin(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
	return u.Scheme + "://" + net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

// loopback reports whether host is this machine.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}
