package main

import (
	"slices"
	"testing"
)

// TestLayers measures the package in testdata: a calls b, and b calls c and a.
func TestLayers(t *testing.T) {
	p, err := load("testdata/knot")
	if err != nil {
		t.Fatal(err)
	}
	refs := p.references()
	want := references{{"a.go", "b.go"}: 1, {"b.go", "a.go"}: 2, {"b.go", "c.go"}: 1,
		{"c.go", "a.go"}: 1}
	if len(refs) != len(want) {
		t.Errorf("references %v, want %v", refs, want)
	}
	for at, n := range want {
		if refs[at] != n {
			t.Errorf("%v: %d references, want %d", at, refs[at], n)
		}
	}
	order, upward := refs.order()
	if upward != 1 || slices.Index(order, "b.go") > slices.Index(order, "a.go") ||
		slices.Index(order, "b.go") > slices.Index(order, "c.go") {
		t.Errorf("the order is %v with %d references upwards, want b.go first with 1", order,
			upward)
	}
	way, err := p.follow("knot.start")
	if got := []string{"a.go", "b.go", "c.go", "b.go", "a.go", "b.go", "a.go"}; err != nil ||
		!slices.Equal(way, got) {
		t.Errorf("the way is %v, %v; want %v", way, err, got)
	}
	if n := distinct(way); n != 3 {
		t.Errorf("the way has %d files, want 3", n)
	}
	if _, err := p.follow("knot.nowhere"); err == nil {
		t.Error("a method that does not exist was followed")
	}
}
