package syscalls

import (
	"slices"
	"testing"
)

// TestAbilitiesTake checks which rows are left of the table without the 32-bit ABI.
func TestAbilitiesTake(t *testing.T) {
	all := slices.Concat(Table(), CompatTable())
	if got := (Abilities{Compat: true}).Takes(all); len(got) != len(all) {
		t.Errorf("%d rows of %d are taken", len(got), len(all))
	}
	got := Abilities{}.Takes(all)
	if len(got) != len(Table()) || slices.ContainsFunc(got,
		func(e Entry) bool { return e.Compat }) {
		t.Errorf("without the 32-bit ABI %d rows are taken, want %d", len(got),
			len(Table()))
	}
	if len(all) != len(Table())+len(CompatTable()) {
		t.Error("Takes has changed its argument")
	}
}

// TestAbilitiesOfMemory takes a row by what it says of memory.
func TestAbilitiesOfMemory(t *testing.T) {
	for _, memory := range []bool{false, true} {
		inside := false
		for _, e := range (Abilities{Memory: memory}).Takes(Table()) {
			for _, c := range e.When {
				inside = inside || c.ProcNet
			}
			if len(e.Inside) > 0 {
				t.Errorf("%s still has two sets of conditions", e.Name)
			}
		}
		if inside != memory {
			t.Errorf("memory %v: paths are looked at: %v", memory, inside)
		}
	}
}

// TestAbilitiesLack compares abilities.
func TestAbilitiesLack(t *testing.T) {
	all := Abilities{Compat: true, Generated: true, Memory: true,
		CopyFD: func(int, int) (int, error) { return -1, nil }}
	if got := all.Lacks(all); len(got) > 0 {
		t.Errorf("all abilities lack %v", got)
	}
	if got := (Abilities{}).Lacks(Abilities{}); len(got) > 0 {
		t.Errorf("no abilities lack %v of what is not to be had", got)
	}
	if got := (Abilities{}).Lacks(all); len(got) != 4 {
		t.Errorf("no abilities lack %v, want four", got)
	}
	if got := (Abilities{Compat: true, Memory: true, CopyFD: all.CopyFD}).Lacks(all); len(got) != 1 ||
		got[0].Name != "calls of generated code" {
		t.Errorf("got %v", got)
	}
}
