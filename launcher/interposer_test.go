package launcher

import (
	"slices"
	"testing"

	"github.com/boxer-sandbox/boxer/syscalls"
)

func TestParseInterposer(t *testing.T) {
	for s, want := range map[string]InterposerKind{
		"": InterposerAuto, "auto": InterposerAuto, "seccomp": InterposerSeccomp,
		"rewrite": InterposerRewrite,
	} {
		if got, err := ParseInterposer(s); got != want || err != nil {
			t.Errorf("%q: %q, %v; want %q", s, got, err, want)
		}
	}
	for _, s := range []string{"ptrace", "Seccomp", " auto"} {
		if got, err := ParseInterposer(s); err == nil {
			t.Errorf("%q: %q, want an error", s, got)
		}
	}
}

// TestRewriteRules checks that the rules are the native rows, and that the hook has room
// for them.
func TestRewriteRules(t *testing.T) {
	rows := rewriteAbilities().Takes(slices.Concat(syscalls.Table(), syscalls.CompatTable()))
	if rules := rewriteRules(rows); len(rules) != len(syscalls.Table()) {
		t.Errorf("%d rules for %d native rows", len(rules), len(syscalls.Table()))
	}
	r, err := newRewritten(syscalls.Table(), nil, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// TestTooManyRules checks that an interposer that cannot be made is nil, so that nobody
// closes it.
func TestTooManyRules(t *testing.T) {
	rows := slices.Repeat(syscalls.Table(), 100)
	rewrite := func() (InterposerKind, error) { return InterposerRewrite, nil }
	i, err := newInterposer(rewrite, rows, namespaces{}, nil, false, false, nil)
	if err == nil || i != nil {
		t.Errorf("%v, %v; want nil and an error", i, err)
	}
}
