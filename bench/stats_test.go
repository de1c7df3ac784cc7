package main

import "testing"

func TestQuantile(t *testing.T) {
	hundred := make([]int, 100)
	for i := range hundred {
		hundred[i] = 99 - i
	}
	for _, tc := range []struct {
		in   []int
		q    float64
		want int
	}{
		{[]int{7}, 0.99, 7}, {[]int{3, 1, 2}, 0.5, 2}, {hundred, 0.5, 50},
		{hundred, 0.99, 99}, {hundred, 0, 0}, {hundred, 1, 99},
	} {
		if got := quantile(tc.in, tc.q); got != tc.want {
			t.Errorf("quantile of %d samples, %v: got %d, want %d", len(tc.in), tc.q, got, tc.want)
		}
	}
}

func TestRatios(t *testing.T) {
	// A machine that is ten times slower for one round changes nothing.
	if got := median(ratios([]float64{3, 30, 3}, []float64{2, 20, 2})); got != 1.5 {
		t.Errorf("got %v, want 1.5", got)
	}
	if got := ratios([]float64{1}, nil); len(got) != 0 {
		t.Errorf("got %v of nothing", got)
	}
	if got := ratios([]float64{1, 6}, []float64{0, 3}); len(got) != 1 || got[0] != 2 {
		t.Errorf("got %v of 0 and 3, want 2 of the second", got)
	}
}
