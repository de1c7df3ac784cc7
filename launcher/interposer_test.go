package launcher

import "testing"

func TestParseInterposer(t *testing.T) {
	for s, want := range map[string]InterposerKind{
		"": InterposerAuto, "auto": InterposerAuto, "seccomp": InterposerSeccomp, "rewrite": InterposerRewrite,
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
