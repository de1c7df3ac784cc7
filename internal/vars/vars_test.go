package vars

import (
	"strings"
	"testing"
)

func TestFill(t *testing.T) {
	v := Values{Index: 2, Count: 3, Service: "zk", Project: "p", Name: "zk-2", ID: 7,
		Addr: "10.111.0.7", MembersNamed: func(name string) []Member {
			return []Member{{ID: 1, Name: name, Addr: "10.111.0.1"}, {ID: 7, Name: name,
				Addr: "10.111.0.7"}}
		}}
	for _, tc := range []struct {
		in, want string
		late     bool
	}{
		{"plain", "plain", false},
		{"", "", false},
		{"zk-{{.Index}}", "zk-2", false},
		{"{{sub .Index 1}} of {{.Count}}", "1 of 3", false},
		{"{{range $i := seq .Count}}{{if gt $i 1}},{{end}}{{$.Service}}-{{$i}}{{end}}",
			"zk-1,zk-2,zk-3", false},
		{"{{.ID}} {{.Addr}} {{.Name}}", "7 10.111.0.7 zk-2", true},
		{`{{range .Members "zk"}}{{.Addr}} {{end}}`, "10.111.0.1 10.111.0.7 ", true},
		{"docker's {{.Task.Slot}} and {{ key `x` }} and {{", "docker's {{.Task.Slot}} and {{ key `x` }} and {{", false},
		{"{{.Indexes}}", "{{.Indexes}}", false},
	} {
		got, err := Fill(tc.in, v)
		if got != tc.want || err != nil || NeedsMember(tc.in) != tc.late {
			t.Errorf("%q: %q, %v, late %v", tc.in, got, err, NeedsMember(tc.in))
		}
	}
}

func TestFillErrors(t *testing.T) {
	for in, want := range map[string]string{
		"{{.Index":                  "unclosed action",
		"{{.Index | nosuch}}":       `function "nosuch" not defined`,
		"{{seq .Count}} {{seq -1}}": "seq -1",
		`{{.Members "a"}}`:          "not known here",
	} {
		if out, err := Fill(in, Values{}); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%q: %q, %v, want %q", in, out, err, want)
		}
	}
	if _, err := FillAll([]string{"a", "{{.Index"}, Values{}); err == nil {
		t.Error("FillAll: no error")
	}
}

func FuzzFill(f *testing.F) {
	f.Add("a{{.Index}}{{range seq 3}}x{{end}}")
	f.Fuzz(func(t *testing.T, in string) {
		out, err := Fill(in, Values{Index: 1})
		if err == nil && !Uses(in) && out != in {
			t.Errorf("%q became %q", in, out)
		}
	})
}
