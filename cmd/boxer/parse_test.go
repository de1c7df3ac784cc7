package main

import (
	"strings"
	"testing"

	"github.com/boxer-sandbox/boxer/launcher"
)

func TestParseForward(t *testing.T) {
	for _, tc := range []struct {
		from, to string
		listen   string
		name     string
		port     uint16
	}{
		{"5432", "db:5432", "127.0.0.1:5432", "db", 5432},
		{"0", "db:1", "127.0.0.1:0", "db", 1},
		{"0.0.0.0:8080", "web:80", "0.0.0.0:8080", "web", 80},
		{"[::1]:8080", "node-3:65535", "[::1]:8080", "node-3", 65535},
		{":8080", "web:80", ":8080", "web", 80},
	} {
		got, err := parseForward(tc.from, tc.to)
		if err != nil || got.Listen != tc.listen || got.Name != tc.name ||
			got.Port != tc.port {
			t.Errorf("%q to %q: %+v, %v", tc.from, tc.to, got, err)
		}
	}
	for _, tc := range [][2]string{{"", "db:1"}, {"x", "db:1"}, {"65536", "db:1"},
		{"-1", "db:1"}, {"1:2:3", "db:1"}, {"a:", "db:1"},
		{"1", ""}, {"1", "db"}, {"1", "db:"}, {"1", ":5432"}, {"1", "db:0"},
		{"1", "db:65536"}, {"1", "db:x"}, {"1", "a:b:1"}, {"1", "a_b:1"},
		{"1", "localhost:1"}, {"1", "a.b:1"}} {
		got, err := parseForward(tc[0], tc[1])
		if err == nil {
			t.Errorf("%q to %q is taken for %+v", tc[0], tc[1], got)
		} else if !strings.HasPrefix(err.Error(), "forward ") ||
			!strings.Contains(err.Error(), "such as") {
			t.Errorf("%q to %q: %v: it does not say what is wrong and what would be right", tc[0], tc[1], err)
		}
	}
}

func TestParseWaitFor(t *testing.T) {
	for in, want := range map[string]launcher.WaitFor{
		"db": {Name: "db", Count: 1}, "db=1": {Name: "db", Count: 1},
		"DB": {Name: "db", Count: 1}, "node-3": {Name: "node-3", Count: 1},
		"worker=300": {Name: "worker", Count: 300},
	} {
		if got, err := parseWaitFor(in); err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "=", "=3", "db=", "db=0", "db=-1", "db=x", "db=1=2",
		"db= 1", "a_b", "a.b", "-a", "127.0.0.1", "localhost", "node-0",
		"db=99999999999999999999"} {
		got, err := parseWaitFor(in)
		if err == nil {
			t.Errorf("%q is taken for %+v", in, got)
		} else if !strings.Contains(err.Error(), "--wait-for") ||
			!strings.Contains(err.Error(), "NAME=N") {
			t.Errorf("%q: %v: it does not say what is wrong and what would be right", in, err)
		}
	}
}
