package compose

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/mattn/go-shellwords"
)

// Boxer is the extension x-boxer of a service.
type Boxer struct {
	// Command is the program on the host that runs, instead of the image's.
	Command Words `json:"command"`
	// Image is where the image's files come from, instead of image: a reference, or
	// layout:DIR.
	Image string `json:"image"`
	// Host is where the program runs: local, or lambda:FUNCTION.
	Host string `json:"host"`

	Count *int `json:"count"` // instances, instead of scale
	Extra int  `json:"extra"` // see boxer run --extra

	Name string `json:"name"` // of the nodes, a template such as zk-{{.Index}}

	WaitFor     Words  `json:"wait-for"` // see boxer run
	WaitTimeout string `json:"wait-timeout"`
	MaxLife     string `json:"max-life"`
	OnLimit     string `json:"on-limit"`
	ReadyWhen   string `json:"ready-when"`
	Interposer  string `json:"interposer"`
	Drain       string `json:"drain"`
}

// Words are a list of texts. In a file it may also be one text, which is split as a shell
// does.
type Words []string

// UnmarshalJSON implements json.Unmarshaler.
func (w *Words) UnmarshalJSON(b []byte) error {
	var items []any
	var text string
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if json.Unmarshal(b, &text) == nil {
		words, err := shellwords.Parse(text)
		*w = words
		return err
	}
	var number json.Number
	if json.Unmarshal(b, &number) == nil {
		*w = Words{number.String()}
		return nil
	}
	if err := d.Decode(&items); err != nil {
		return fmt.Errorf("neither a text nor a list")
	}
	for _, item := range items {
		switch item.(type) {
		case string, json.Number, bool:
			*w = append(*w, fmt.Sprint(item))
		default:
			return fmt.Errorf("%v: not a text", item)
		}
	}
	return nil
}

// extensionName is the key of Boxer.
const extensionName = "x-boxer"

// boxerOf reads the extension of a service.
func boxerOf(s *types.ServiceConfig) (x Boxer, err error) {
	raw, ok := s.Extensions[extensionName]
	if !ok {
		return x, nil
	}
	b, err := json.Marshal(raw)
	if err != nil {
		return x, fmt.Errorf("%s: %w", extensionName, err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&x); err != nil {
		return x, fmt.Errorf("%s: %s", extensionName,
			strings.TrimPrefix(err.Error(), "json: "))
	}
	return x, x.check()
}

func (x *Boxer) check() error {
	wrong := func(key, value, want string) error {
		return fmt.Errorf("%s: %s %q: use %s", extensionName, key, value, want)
	}
	if fn, ok := strings.CutPrefix(x.Host, "lambda:"); x.Host != "" &&
		x.Host != "local" &&
		(!ok || fn == "") {
		return wrong("host", x.Host, "local or lambda:FUNCTION")
	}
	if x.Count != nil && *x.Count < 0 {
		return fmt.Errorf("%s: count %d: use 0 or more", extensionName, *x.Count)
	}
	if x.Extra < 0 {
		return fmt.Errorf("%s: extra %d: use 0 or more", extensionName, x.Extra)
	}
	if !slices.Contains([]string{"", "stop", "replace"}, x.OnLimit) {
		return wrong("on-limit", x.OnLimit, "stop or replace")
	}
	for key, text := range map[string]string{"wait-timeout": x.WaitTimeout,
		"max-life": x.MaxLife, "drain": x.Drain} {
		if d, err := time.ParseDuration(text); text != "" && (err != nil || d < 0) {
			return wrong(key, text, "a duration, such as 30s or 5m")
		}
	}
	if !x.elsewhere() && (x.Extra > 0 || x.MaxLife != "" || x.OnLimit != "") {
		return fmt.Errorf("%s: extra, max-life and on-limit are for a host such as lambda:FUNCTION", extensionName)
	}
	return nil
}

func (x *Boxer) elsewhere() bool { return x.Host != "" && x.Host != "local" }

// flags returns the flags of boxer run that the extension asks for.
func (x *Boxer) flags() (flags []string) {
	add := func(name, value string) {
		if value != "" {
			flags = append(flags, "--"+name, value)
		}
	}
	if x.Extra > 0 {
		add("extra", fmt.Sprint(x.Extra))
	}
	add("max-life", x.MaxLife)
	add("on-limit", x.OnLimit)
	add("ready-when", x.ReadyWhen)
	add("interposer", x.Interposer)
	add("drain", x.Drain)
	return flags
}
