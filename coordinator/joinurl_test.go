package coordinator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

const testPin = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

func TestParseJoinURL(t *testing.T) {
	// part: what the error is about; empty if there is none
	for _, tc := range []struct{ name, in, part string }{
		{"ipv4", "boxer://s3cret@203.0.113.7:4242?pin=" + testPin, ""},
		{"ipv6", "boxer://s3cret@[2001:db8::1]:4242?pin=" + testPin, ""},
		{"name", "boxer://s3cret@coordinator.example:4242?pin=" + testPin, ""},
		{"slash", "boxer://s3cret@coordinator.example:4242/?pin=" + testPin, ""},
		{"underscore", "boxer://s3cret@my_coordinator:4242?pin=" + testPin, ""},
		{"empty", "", "scheme"},
		{"other scheme", "https://s3cret@h:1?pin=" + testPin, "scheme"},
		{"no token", "boxer://h:4242?pin=" + testPin, "token"},
		{"empty token", "boxer://@h:4242?pin=" + testPin, "token"},
		{"token with a space", "boxer://s3 cret@h:4242?pin=" + testPin, "token"},
		{"long token", "boxer://" + strings.Repeat("x", maxToken+1) + "@h:4242?pin=" +
			testPin, "token"},
		{"no port", "boxer://s3cret@h?pin=" + testPin, "address"},
		{"port 0", "boxer://s3cret@h:0?pin=" + testPin, "address"},
		{"port 65536", "boxer://s3cret@h:65536?pin=" + testPin, "address"},
		{"port +1", "boxer://s3cret@h:+1?pin=" + testPin, "address"},
		{"no host", "boxer://s3cret@:4242?pin=" + testPin, "address"},
		{"bare ipv6", "boxer://s3cret@2001:db8::1:4242?pin=" + testPin, "address"},
		{"zone", "boxer://s3cret@[fe80::1%eth0]:4242?pin=" + testPin, "address"},
		{"second at", "boxer://s3cret@x@h:4242?pin=" + testPin, "address"},
		{"no pin", "boxer://s3cret@h:4242", "pin"},
		{"other parameter", "boxer://s3cret@h:4242?pim=" + testPin, "pin"},
		{"more parameters", "boxer://s3cret@h:4242?pin=" + testPin + "&a=b", "pin"},
		{"short pin", "boxer://s3cret@h:4242?pin=" + testPin[1:], "pin"},
		{"upper case pin", "boxer://s3cret@h:4242?pin=" + strings.ToUpper(testPin), "pin"},
		{"pin with spare bits", "boxer://s3cret@h:4242?pin=" + testPin[1:] + "b", "pin"},
		{"pin with a line break", "boxer://s3cret@h:4242?pin=" + testPin + "\n", "pin"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			u, err := ParseJoinURL(tc.in)
			if tc.part == "" {
				if want := strings.Replace(tc.in, "/?", "?", 1); err != nil ||
					u.String() != want {
					t.Fatalf("got %q, %v; want %q", u.String(), err, want)
				}
				return
			}
			if !errors.Is(err, ErrJoinURL) ||
				!strings.Contains(err.Error(), ": "+tc.part+": ") {
				t.Fatalf("got error %v, want one about the %s", err, tc.part)
			}
			if strings.Contains(err.Error(), "cret") {
				t.Errorf("the error quotes the token: %v", err)
			}
		})
	}
}

// A join URL cut short is refused at every length: one that lost its end in a
// terminal must not lead elsewhere.
func TestParseJoinURLCut(t *testing.T) {
	whole := "boxer://s3cret@203.0.113.7:4242?pin=" + testPin
	for n := range whole {
		if u, err := ParseJoinURL(whole[:n]); err == nil {
			t.Errorf("%d characters read as %v", n, u)
		}
	}
}

// Only String shows the token.
func TestJoinURLHidesToken(t *testing.T) {
	u := JoinURL{Token: "s3cret", Host: "h:4242"}
	cfg := ClientConfig{URL: u}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		fmt.Fprintf(&out, verb+"\n", u)
		fmt.Fprintf(&out, verb+"\n", &u)
	}
	fmt.Fprintf(&out, "%v %+v %#v\n", cfg, cfg, cfg)
	fmt.Fprintf(&out, "%v %+v %#v\n", Token{Secret: "s3cret"},
		[]Token{{Secret: "s3cret"}}, struct{ T Token }{Token{Secret: "s3cret"}})
	slog.New(slog.NewTextHandler(&out, nil)).Info("join", "url", u, "config", cfg)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("join", "url", u, "in",
		struct{ URL JoinURL }{u})
	if b, err := json.Marshal(u); err != nil {
		t.Error(err)
	} else {
		out.Write(b)
	}
	if strings.Contains(out.String(), "s3cret") ||
		strings.Contains(out.String(), "733363726574") {
		t.Errorf("the token shows:\n%s", out.String())
	}
	if !strings.Contains(u.String(), "s3cret") {
		t.Error("String does not have the token")
	}
}

func FuzzParseJoinURL(f *testing.F) {
	f.Add("boxer://s3cret@203.0.113.7:4242?pin=" + testPin)
	f.Add("boxer://s3cret@[2001:db8::1]:4242/?pin=" + testPin)
	f.Add("boxer://a@b@c:1?pin=x&pin=y#z")
	f.Fuzz(func(t *testing.T, s string) {
		u, err := ParseJoinURL(s)
		if err != nil {
			return
		}
		if again, err := ParseJoinURL(u.String()); err != nil || again != u {
			t.Fatalf("%#v came back as %#v (%v)", u, again, err)
		}
	})
}
