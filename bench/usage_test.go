package main

import "testing"

func TestParseStat(t *testing.T) {
	const line = "17 (a ) (b) S 4 17 4 0 -1 4194560 100 200 0 0 11 22 33 44 20 0 7 0 12345 1000 55 3"
	got, err := parseStat([]byte(line))
	if want := (stat{pid: 17, parent: 4, ticks: 11 + 22 + 33 + 44,
		pages: 55}); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	for _, bad := range []string{"", "17", "17 (a) S 4",
		"x (a) S 4 17 4 0 -1 4194560 100 200 0 0 11 22 33 44 20 0 7 0 12345 1000 55"} {
		if _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}
