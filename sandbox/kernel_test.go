package sandbox

import (
	"strings"
	"testing"
)

func TestCheckKernel(t *testing.T) {
	for release, old := range map[string]bool{
		"5.10.0-32-amd64": true, "4.18.0-553.el8": true, "5.9": true, "5.13.19": true,
		"2.6.78":         true,
		"5.14.0-427.el9": false, "6.1.0-18-amd64": false, "5.100.1": false, "10.0": false,
		"unknown": false, "": false, "6": false,
	} {
		err := checkKernel(release)
		if (err != nil) != old {
			t.Errorf("%q: %v", release, err)
		}
		if err != nil && (!strings.Contains(err.Error(), release) ||
			!strings.Contains(err.Error(), "5.14")) {
			t.Errorf("%q: %v: it does not say what is there and what is needed", release, err)
		}
	}
	if err := CheckKernel(); err != nil {
		t.Error(err)
	}
}
