package main

import (
	"strings"
	"testing"
)

func TestParseGateway(t *testing.T) {
	for in, want := range map[string]string{
		"db:5432=10.0.0.5:5433":   "",
		"DB:5432=[::1]:5433":      "",
		"db=10.0.0.5:5433":        "NAME:PORT is missing",
		"db:5432":                 "NAME:PORT is missing",
		"db:0=10.0.0.5:5433":      "NAME:PORT is missing",
		"db:5432=10.0.0.5":        "not HOST:PORT",
		"my_db:5432=10.0.0.5:1":   "use letters, digits and hyphens",
		"db:5432=10.0.0.5:nosuch": "unknown port",
	} {
		name, port, to, err := parseGateway(in)
		switch {
		case want == "" && (err != nil || name != "db" || port != 5432 ||
			!strings.HasSuffix(to, ":5433")):
			t.Errorf("%s: %s %d %s %v", in, name, port, to, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %q", in, err, want)
		}
	}
}

func TestParseExpose(t *testing.T) {
	for in, want := range map[string]struct {
		port uint16
		to   string
	}{
		"5432": {5432, "127.0.0.1:5432"}, "8080=80": {80, "127.0.0.1:8080"},
		"10.0.0.5:8080=80": {80, "10.0.0.5:8080"}, "[::1]:80": {80, "[::1]:80"},
		"": {}, "0": {}, "80=": {}, "80=x": {}, ":80": {}, "70000": {},
	} {
		port, to, err := parseExpose(in)
		if (err == nil) != (want.port > 0) || err == nil &&
			(port != want.port || to != want.to) {
			t.Errorf("%q: %d %q %v", in, port, to, err)
		}
	}
}
