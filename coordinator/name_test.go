package coordinator

import (
	"errors"
	"strings"
	"testing"
)

func TestCheckName(t *testing.T) {
	for _, tc := range []struct{ in, want string }{ // want empty: refused
		{"db", "db"}, {"DB-1", "db-1"}, {"3com", "3com"}, {"node", "node"},
		{"node-a", "node-a"}, {"node-1a", "node-1a"},
		{strings.Repeat("a", 63), strings.Repeat("a", 63)},
		{"", ""}, {strings.Repeat("a", 64), ""}, {"-a", ""}, {"a-", ""}, {"a.b", ""},
		{"a_b", ""}, {"a b", ""}, {"bücher", ""}, {"a\n", ""},
		{"10", ""}, {"0x7f", ""}, {"0x", ""}, {"localhost", ""}, {"LocalHost", ""},
		{"node-7", ""}, {"NODE-7", ""}, {"node-007", ""}, {"node-99999999999", ""},
		{"node-", ""},
		{"\u212a", ""}, // KELVIN SIGN: its lower case is an ASCII k
	} {
		got, err := CheckName(tc.in)
		if got != tc.want || (tc.want == "") != errors.Is(err, ErrName) {
			t.Errorf("%q: got %q, %v; want %q", tc.in, got, err, tc.want)
		}
	}
}

func TestParseOrdinalName(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want uint32 // 0: none
	}{
		{"node-1", 1}, {"Node-12", 12}, {"node-4294967295", 4294967295},
		{"node-0", 0}, {"node-01", 0}, {"node-+1", 0}, {"node--1", 0},
		{"node-4294967296", 0}, {"node-", 0}, {"node1", 0}, {"db", 0}, {"", 0},
	} {
		got, ok := ParseOrdinalName(tc.in)
		if got != tc.want || ok != (tc.want != 0) {
			t.Errorf("%q: got %d, %v; want %d", tc.in, got, ok, tc.want)
		}
	}
}
