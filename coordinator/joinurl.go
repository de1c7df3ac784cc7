package coordinator

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/boxer-sandbox/boxer/transport"
)

// joinScheme begins every join URL.
const joinScheme = "boxer://"

// maxToken limits a token, in bytes.
const maxToken = 256

// A Pin is the SHA-256 hash of a coordinator's Ed25519 public key. Its text is lower-case
// base32 (RFC 4648 section 6) without padding, like the text of a key.
type Pin [sha256.Size]byte

var pinEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// PinOf returns the pin of a coordinator with that key.
func PinOf(key transport.Key) Pin { return sha256.Sum256(key[:]) }

// String returns the text of the pin in a join URL.
func (p Pin) String() string { return pinEncoding.EncodeToString(p[:]) }

// ParsePin is the inverse of Pin.String.
func ParsePin(s string) (Pin, error) {
	var p Pin
	b, err := pinEncoding.DecodeString(s)
	if err != nil || len(b) != len(p) {
		return p, fmt.Errorf("pin: want %d characters of a-z and 2-7, got %d",
			pinEncoding.EncodedLen(len(p)), len(s))
	}
	copy(p[:], b)
	if p.String() != s { // the last character has spare bits; each pin has only one text
		return p, fmt.Errorf("pin: the last character is damaged")
	}
	return p, nil
}

// A JoinURL has all that a node needs to join a network:
//
//	boxer://TOKEN@HOST:PORT?pin=HASH
//
// Only an explicit call of String reveals the token. The verbs of package fmt, log/slog
// and encoding/json print the URL redacted.
type JoinURL struct {
	Token string // admits its bearer
	Host  string // host:port; the host is a name or an IP address
	Pin   Pin    // hash of the coordinator's key
}

// ParseJoinURL parses a join URL. Its errors wrap ErrJoinURL, and name the wrong part and
// the remedy. They never quote the URL, which may contain a token.
func ParseJoinURL(s string) (JoinURL, error) {
	u, err := parseJoinURL(s)
	if err != nil {
		return JoinURL{}, fmt.Errorf("%w: %w; copy all of it from the coordinator's output; it looks like boxer://TOKEN@HOST:PORT?pin=HASH", ErrJoinURL, err)
	}
	return u, nil
}

func parseJoinURL(s string) (u JoinURL, err error) {
	rest, ok := strings.CutPrefix(s, joinScheme)
	if !ok {
		return u, fmt.Errorf("scheme: it does not begin with %s", joinScheme)
	}
	// url.Parse is not used, since its errors quote the input.
	var query string
	if u.Token, rest, ok = strings.Cut(rest, "@"); !ok {
		return u, fmt.Errorf("token: there is none before an @")
	}
	if err := checkToken(u.Token); err != nil {
		return u, err
	}
	if u.Host, query, ok = strings.Cut(rest, "?"); !ok {
		return u, fmt.Errorf("pin: there is no ?pin= at the end")
	}
	u.Host = strings.TrimSuffix(u.Host, "/")
	if err := checkHostPort(u.Host); err != nil {
		return u, err
	}
	hash, ok := strings.CutPrefix(query, "pin=")
	if !ok || strings.ContainsAny(hash, "&#?") {
		return u, fmt.Errorf("pin: want ?pin=HASH and nothing else after the address")
	}
	u.Pin, err = ParsePin(hash)
	return u, err
}

// checkToken allows only the unreserved characters of RFC 3986 section 2.3. So a token
// needs no quoting in a URL, a header or a shell command.
func checkToken(token string) error {
	if token == "" {
		return fmt.Errorf("token: it is empty")
	}
	if len(token) > maxToken {
		return fmt.Errorf("token: it is longer than %d characters", maxToken)
	}
	for _, c := range []byte(token) {
		if !isAlphanumeric(c) && !strings.ContainsRune("-._~", rune(c)) {
			return fmt.Errorf("token: it has a character other than letters, digits and -._~")
		}
	}
	return nil
}

func checkHostPort(hostport string) error {
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		return fmt.Errorf("address: want HOST:PORT, an IPv6 address in brackets")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 ||
		port != strconv.FormatUint(n, 10) {
		return fmt.Errorf("address: the port is not a number from 1 to 65535")
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip.Zone() != "" {
			return fmt.Errorf("address: an IPv6 zone means something on one host only; use a global address")
		}
		return nil
	}
	if strings.HasPrefix(hostport, "[") || !isHostName(host) {
		return fmt.Errorf("address: the host is neither an IP address nor a host name")
	}
	return nil
}

// isHostName reports whether s is a host name of RFC 1123 section 2.1. It also allows
// underscores, which DNS allows and container platforms use.
func isHostName(s string) bool {
	if s = strings.TrimSuffix(s, "."); s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if !isLabel(strings.ReplaceAll(label, "_", "x")) {
			return false
		}
	}
	return true
}

// String returns the URL with its token. It is for the join file, and for the terminal of
// the user who started the coordinator, never for logs.
func (u JoinURL) String() string {
	return joinScheme + u.Token + "@" + u.Host + "?pin=" + u.Pin.String()
}

// Redacted returns the URL without its token.
func (u JoinURL) Redacted() string {
	u.Token = "[token]"
	return u.String()
}

// Format implements fmt.Formatter. Every verb prints the redacted URL, so that an error
// text or a printed configuration does not reveal the token.
func (u JoinURL) Format(f fmt.State, verb rune) {
	if verb == 'q' {
		_, _ = io.WriteString(f, strconv.Quote(u.Redacted()))
		return
	}
	_, _ = io.WriteString(f, u.Redacted())
}

// GoString implements fmt.GoStringer without the token.
func (u JoinURL) GoString() string { return strconv.Quote(u.Redacted()) }

// LogValue implements slog.LogValuer without the token.
func (u JoinURL) LogValue() slog.Value { return slog.StringValue(u.Redacted()) }

// MarshalJSON implements json.Marshaler without the token.
func (u JoinURL) MarshalJSON() ([]byte, error) { return json.Marshal(u.Redacted()) }
