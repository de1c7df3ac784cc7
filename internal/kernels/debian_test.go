package main

import "testing"

// TestImageOf reads what apt-cache show prints for several releases of Debian.
func TestImageOf(t *testing.T) {
	for _, tc := range []struct{ name, shown, want string }{
		{"one dependency", "Package: linux-image-amd64\nDepends: linux-image-5.10.0-32-amd64 (= 5.10.223-1)\n",
			"linux-image-5.10.0-32-amd64"},
		{"another one first", "Version: 7.2.13-1\nDepends: linux-base-amd64 (= 7.2.13-1), linux-image-7.2.13+deb14-amd64 (= 7.2.13-1)\n",
			"linux-image-7.2.13+deb14-amd64"},
		{"none", "Depends: linux-base\n", ""},
		{"nothing", "", ""},
	} {
		if got := imageOf(tc.shown); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}
