package main

import "testing"

func TestParseStat(t *testing.T) {
	const line = "17 (a ) (b) S 4 17 4 0 -1 4194560 100 200 0 0 11 22 33 44 20 0 7 0 12345 1 2 3"
	pid, parent, ticks, err := parseStat([]byte(line))
	if err != nil || pid != 17 || parent != 4 || ticks != 11+22+33+44 {
		t.Errorf("got pid %d, parent %d, ticks %d, %v; want 17, 4, 110", pid, parent, ticks, err)
	}
	for _, bad := range []string{"", "17", "17 (a) S 4", "x (a) S 4 17 4 0 -1 4194560 100 200 0 0 11 22 33 44"} {
		if _, _, _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}
