package main

import (
	"cmp"
	"slices"
)

// quantile returns the sample below which a share q of them lies, of at least one sample.
func quantile[T cmp.Ordered](samples []T, q float64) T {
	sorted := slices.Sorted(slices.Values(samples))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

func median(values []float64) float64 { return quantile(values, 0.5) }

// ratios divides round by round, because the machine's other load in a round affected
// both values. It skips rounds in which the divisor is 0.
func ratios(values, by []float64) []float64 {
	out := make([]float64, 0, len(values))
	for i := range min(len(values), len(by)) {
		if by[i] != 0 {
			out = append(out, values[i]/by[i])
		}
	}
	return out
}

// differences subtracts the values round by round.
func differences(values, by []float64) []float64 {
	out := make([]float64, 0, len(values))
	for i := range min(len(values), len(by)) {
		out = append(out, values[i]-by[i])
	}
	return out
}
