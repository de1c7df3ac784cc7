package main

import (
	"encoding/json"
	"testing"
)

func TestPath(t *testing.T) {
	const (
		db     = `{"id":1,"name":"db","paths":[{"peer":7,"kind":"punched","remote":"198.51.100.11:5","rtt_us":400}]}`
		client = `{"id":7,"name":"client","paths":[{"peer":2,"kind":"relayed"},{"peer":1,"kind":"punched","remote":"198.51.100.10:6","rtt_us":422}]}`
		before = `{"id":7,"name":"client","paths":[{"peer":1,"kind":"relayed","remote":"203.0.113.10:4433"}]}`
		other  = `{"id":2,"name":"client","paths":[]}`
		gone   = `{"id":3,"name":"client","paths":[{"peer":99,"kind":"punched"}]}`
	)
	for _, tc := range []struct {
		name, members, want string
	}{
		{"both tell", db + "," + other + "," + client,
			"punched, 198.51.100.11:5 <-> 198.51.100.10:6, round trip 422µs"},
		{"only the client tells", client, ""},
		{"only the database tells", db, ""},
		{"they do not agree yet", db + "," + before, ""},
		{"to a node that is gone", gone, ""},
		{"nobody", "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var s status
			if err := json.Unmarshal([]byte(`{"members":[`+tc.members+`]}`), &s); err != nil {
				t.Fatal(err)
			}
			got := ""
			if p := s.path("client", "db"); p != nil {
				got = p.String()
			}
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
