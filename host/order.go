package host

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// OrderVersion is the version of the format of orders. This package reads and writes no
// other one.
const OrderVersion = 1

// An Order says what to run, and as which node. Its JSON form is the event of a function
// (see docs/lambda.md). It is secret where Join has a join URL or Env has secrets.
type Order struct {
	Version int `json:"version"` // OrderVersion

	// Argv is the program and its arguments. Empty: the host's own command, such as the
	// entry point of its image; see CommandVariable.
	Argv []string `json:"argv,omitempty"`
	Env  []string `json:"env,omitempty"` // NAME=value: added to the host's environment
	Dir  string   `json:"dir,omitempty"` // working directory; empty: the host's choice

	// Join is the join URL, or the place where the host finds it, see ParseSecret. Empty:
	// the host's $BOXER_JOIN.
	Join string `json:"join,omitempty"`
	Node Node   `json:"node,omitzero"`

	// Control says where the host's control connection goes. Nil: the program has none.
	Control *Control `json:"control,omitempty"`

	// Output is OutputFrames or OutputJSON; empty: OutputJSON.
	Output string `json:"output,omitempty"`

	// Grace is the time between SIGTERM and the host's time limit. Zero: DefaultGrace.
	Grace Duration `json:"grace,omitzero"`
}

// Node has the flags of boxer run that an order may set, in their text form. Empty fields
// leave the defaults.
type Node struct {
	Name        string   `json:"name,omitempty"`
	WaitFor     []string `json:"waitFor,omitempty"`
	WaitTimeout string   `json:"waitTimeout,omitempty"`
	PeerTimeout string   `json:"peerTimeout,omitempty"`
	Drain       string   `json:"drain,omitempty"`
	Congestion  string   `json:"congestionControl,omitempty"`
	Interposer  string   `json:"interposer,omitempty"`
	DataPath    string   `json:"data_path,omitempty"`
	ReadyWhen   string   `json:"readyWhen,omitempty"`
	Asleep      string   `json:"asleep,omitempty"`
	Listen      string   `json:"listen,omitempty"`
	Owner       string   `json:"owner,omitempty"` // key of who may control the node
	Log         string   `json:"log,omitempty"`   // BOXER_LOG
}

// Flags returns the flags of boxer run that set the fields.
func (n Node) Flags() []string {
	var flags []string
	add := func(name, value string) {
		if value != "" {
			flags = append(flags, "--"+name+"="+value)
		}
	}
	add("name", n.Name)
	for _, w := range n.WaitFor {
		add("wait-for", w)
	}
	add("wait-timeout", n.WaitTimeout)
	add("peer-timeout", n.PeerTimeout)
	add("drain", n.Drain)
	add("congestion-control", n.Congestion)
	add("interposer", n.Interposer)
	add("data-path", n.DataPath)
	add("ready-when", n.ReadyWhen)
	add("asleep", n.Asleep)
	add("listen", n.Listen)
	add("owner", n.Owner)
	return flags
}

// A Control says where the host's end of the control connection connects to.
type Control struct {
	Address string `json:"address"` // of the launcher's node: ADDR:PORT
	Key     string `json:"key"`     // authenticates the host's end to the launcher; secret

	// Hold delays the program's start until the launcher sends a Start frame.
	Hold bool `json:"hold,omitempty"`

	// Keep says that the program goes on when the control connection ends.
	Keep bool `json:"keep,omitempty"`
}

// CommandVariable is the environment variable with the host's own command, a JSON array.
// It runs for an order without Argv.
const CommandVariable = "BOXER_COMMAND"

// The forms of the output of an order.
const (
	OutputFrames = "frames" // a stream of frames, see Writer
	OutputJSON   = "json"   // one Report when the program has ended
)

// DefaultGrace is the grace of an order that names none.
const DefaultGrace = 2 * time.Second

// A Duration is a time.Duration whose JSON form is text, such as "1m30s".
type Duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte,
	error) {
	return []byte(time.Duration(d).String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf("duration %q: use a number and a unit, such as 2s or 1m30s", b)
	}
	*d = Duration(v)
	return nil
}

// errEmptyOrder means that an event contains no order.
var errEmptyOrder = errors.New(`order: no program: the event needs "version": 1 and "argv": ["PROGRAM", "ARG"...]`)

// ParseOrder parses an order from JSON. command is the host's own command, a JSON array,
// or empty. Unknown fields are errors, so that a misspelt one is not ignored. Errors
// quote no values, because they may be secret.
func ParseOrder(b []byte, command string) (Order, error) {
	// An invocation without a payload has an empty object, or nothing.
	if b = bytes.TrimSpace(b); len(b) == 0 || string(b) == "{}" || string(b) == "null" {
		if command == "" {
			return Order{}, errEmptyOrder
		}
		b = []byte(`{"version": 1}`)
	}
	var version struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(b, &version); err != nil {
		return Order{}, fmt.Errorf("order: not JSON of an object: %w", err)
	}
	if version.Version != OrderVersion {
		return Order{}, fmt.Errorf(`order: "version" is %d, and this boxer takes %d: use the same release of boxer on both sides`,
			version.Version, OrderVersion)
	}
	var o Order
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&o); err != nil {
		return Order{}, fmt.Errorf("order: %w", err)
	}
	if len(o.Argv) == 0 && command != "" {
		if err := json.Unmarshal([]byte(command), &o.Argv); err != nil {
			return Order{}, fmt.Errorf("%s: not a JSON array of texts: %w",
				CommandVariable, err)
		}
	}
	return o, o.check()
}

// check returns an error for an order that no host can execute.
func (o *Order) check() error {
	if len(o.Argv) == 0 || o.Argv[0] == "" {
		return errEmptyOrder
	}
	if slices.ContainsFunc(o.Argv, hasNUL) || slices.ContainsFunc(o.Env, hasNUL) {
		return errors.New("order: an argument or a variable has a NUL byte")
	}
	for _, e := range o.Env {
		if name, _, ok := strings.Cut(e, "="); !ok || name == "" {
			return errors.New(`order: "env" has an entry without NAME=`)
		}
	}
	switch o.Output {
	case "", OutputFrames, OutputJSON:
	default:
		return fmt.Errorf(`order: "output" is %q: use %q or %q`, o.Output, OutputFrames, OutputJSON)
	}
	if o.Grace < 0 {
		return fmt.Errorf(`order: "grace" is %v: use a duration from 0s`, time.Duration(o.Grace))
	}
	if o.Control != nil && (o.Control.Address == "" || o.Control.Key == "") {
		return errors.New(`order: "control" needs "address" and "key"`)
	}
	return nil
}

func hasNUL(s string) bool { return strings.Contains(s, "\x00") }
