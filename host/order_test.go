package host

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParseOrder(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{`{"version":1,"argv":["true"]}`, ""},
		{` {"version":1,"argv":["a","b"],"env":["A=1","B="],"grace":"5s","output":"frames"} `, ""},
		{``, "no program"},
		{`{}`, "no program"},
		{`null`, "no program"},
		{`{"version":1}`, "no program"},
		{`{"version":1,"argv":[""]}`, "no program"},
		{`{"version":2,"argv":["true"]}`, `"version" is 2`},
		{`{"argv":["true"]}`, `"version" is 0`},
		{`[1]`, "not JSON of an object"},
		{`{"version":1,"argv":["true"],"nmae":"x"}`, `unknown field "nmae"`},
		{`{"version":1,"argv":["a\u0000b"]}`, "NUL"},
		{`{"version":1,"argv":["true"],"env":["=x"]}`, `without NAME=`},
		{`{"version":1,"argv":["true"],"env":["tangerine"]}`, `without NAME=`},
		{`{"version":1,"argv":["true"],"output":"xml"}`, `"output" is "xml"`},
		{`{"version":1,"argv":["true"],"grace":"-1s"}`, `"grace" is -1s`},
		{`{"version":1,"argv":["true"],"grace":"soon"}`, "number and a unit"},
		{`{"version":1,"argv":["true"],"control":{"address":"a"}}`, `"control" needs`},
	} {
		_, err := ParseOrder([]byte(tc.in), "")
		switch {
		case tc.want == "" && err != nil:
			t.Errorf("%s: %v", tc.in, err)
		case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
			t.Errorf("%s: %v, want %q", tc.in, err, tc.want)
		case err != nil && strings.Contains(err.Error(), "tangerine"):
			t.Errorf("%s: the error has a value: %v", tc.in, err)
		}
	}
}

func TestOrderRoundTrip(t *testing.T) {
	want := Order{Version: 1, Argv: []string{"a", "b c"}, Env: []string{"A=1"},
		Dir:  "/tmp",
		Join: "ssm:x", Output: OutputFrames, Grace: Duration(3 * time.Second),
		Node:    Node{Name: "n", WaitFor: []string{"db", "w=3"}, Drain: "0s"},
		Control: &Control{Address: "10.0.0.1:2", Key: "k", Hold: true}}
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseOrder(b, ""); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%s: %+v, %v", b, got, err)
	}
	if got, want := want.Node.Flags(), []string{"--name=n", "--wait-for=db",
		"--wait-for=w=3",
		"--drain=0s"}; !reflect.DeepEqual(got, want) {
		t.Errorf("flags %q, want %q", got, want)
	}
}

func TestHostsCommand(t *testing.T) {
	for in, want := range map[string][]string{
		``:                              {"serve", "x"},
		`{}`:                            {"serve", "x"},
		`{"version":1}`:                 {"serve", "x"},
		`{"version":1,"argv":["true"]}`: {"true"},
	} {
		if o, err := ParseOrder([]byte(in), `["serve","x"]`); err != nil || !reflect.DeepEqual(o.Argv, want) {
			t.Errorf("%s: %q, %v, want %q", in, o.Argv, err, want)
		}
	}
	if _, err := ParseOrder(nil, "serve x"); err == nil ||
		!strings.Contains(err.Error(), CommandVariable) {
		t.Errorf("got %v", err)
	}
}

func TestParseSecret(t *testing.T) {
	for in, want := range map[string]string{"ssm:/a/b": "ssm:/a/b",
		"secretsmanager:arn:aws:x": "secretsmanager:arn:aws:x",
		"boxer://tangerine":        "a value (hidden)"} {
		if got := ParseSecret(in).String(); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func FuzzParseOrder(f *testing.F) {
	f.Add([]byte(`{"version":1,"argv":["true"],"env":["A=1"],"grace":"2s"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := ParseOrder(b, "")
		if err != nil {
			return
		}
		again, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		if p, err := ParseOrder(again, ""); err != nil || len(p.Argv) != len(o.Argv) {
			t.Errorf("%s: %v", again, err)
		}
	})
}
