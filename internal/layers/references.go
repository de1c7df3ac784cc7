package main

import (
	"go/types"
	"maps"
	"math/rand/v2"
	"slices"
)

// A pair is a file that uses something of another file.
type pair struct{ from, to string }

// references has how many objects of one file another file uses.
type references map[pair]int

// references returns the references between the files.
func (s *source) references() references {
	used := make(map[pair]map[types.Object]bool)
	for id, o := range s.info.Uses {
		if o == nil || o.Pkg() != s.pkg {
			continue
		}
		if _, isFunc := s.funcs[o]; !isFunc && o.Parent() != s.pkg.Scope() {
			continue // a local variable, or a field
		}
		p := pair{s.file(id.Pos()), s.file(o.Pos())}
		if p.from == p.to {
			continue
		}
		if used[p] == nil {
			used[p] = make(map[types.Object]bool)
		}
		used[p][o] = true
	}
	refs := make(references)
	for p, objects := range used {
		refs[p] = len(objects)
	}
	return refs
}

// total returns the number of references.
func (r references) total() (n int) {
	for _, k := range r {
		n += k
	}
	return n
}

// tries is how many random orders the search begins with.
const tries = 60

// order returns the best order of the files that it has found, and the number of
// references that point upwards in it.
func (r references) order() (best []string, upward int) {
	files := make(map[string]bool)
	for p := range r {
		files[p.from], files[p.to] = true, true
	}
	names := slices.Sorted(maps.Keys(files))
	upward = r.total() + 1
	for range tries {
		order := slices.Clone(names)
		rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for r.improve(order) {
		}
		if n := r.upward(order); n < upward {
			best, upward = order, n
		}
	}
	return best, upward
}

// improve moves each file to its best place. It reports whether that changed anything.
func (r references) improve(order []string) (improved bool) {
	for i := range order {
		x := order[i]
		to, gain := i, 0
		for j, d := i+1, 0; j < len(order); j++ { // down: the files between come before x
			y := order[j]
			if d += r[pair{y, x}] - r[pair{x, y}]; d > gain {
				to, gain = j, d
			}
		}
		for j, d := i-1, 0; j >= 0; j-- {
			y := order[j]
			if d += r[pair{x, y}] - r[pair{y, x}]; d > gain {
				to, gain = j, d
			}
		}
		if to == i {
			continue
		}
		improved = true
		copy(order[i:], order[i+1:])
		copy(order[to+1:], order[to:len(order)-1])
		order[to] = x
	}
	return improved
}

// upward returns how many references point to a file that comes earlier in the order.
func (r references) upward(order []string) (n int) {
	place := make(map[string]int)
	for i, name := range order {
		place[name] = i
	}
	for p, k := range r {
		if place[p.to] < place[p.from] {
			n += k
		}
	}
	return n
}
