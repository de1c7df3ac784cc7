package runtime

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// credentials are a function's credentials of AWS.
type credentials struct{ id, secret, token string }

// sign signs a POST request to the path "/" without a query, by AWS Signature Version 4
// ("Create a signed AWS API request", AWS IAM User Guide). The SDK's signer does the
// same, but it would make boxer a third larger, and every function and every program
// under boxer starts with it. A test compares the two.
func sign(req *http.Request, body []byte, c credentials, service, region string,
	now time.Time) {
	date := now.UTC().Format("20060102T150405Z")
	req.Header.Set("X-Amz-Date", date)
	if c.token != "" {
		req.Header.Set("X-Amz-Security-Token", c.token)
	}
	fields := map[string]string{"host": req.URL.Host,
		"content-length": fmt.Sprint(len(body))}
	for name := range req.Header {
		fields[strings.ToLower(name)] = strings.TrimSpace(req.Header.Get(name))
	}
	var names []string
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	signed := strings.Join(names, ";")
	var canonical strings.Builder
	canonical.WriteString("POST\n/\n\n")
	for _, name := range names {
		fmt.Fprintf(&canonical, "%s:%s\n", name, fields[name])
	}
	fmt.Fprintf(&canonical, "\n%s\n%s", signed, hash(body))

	scope := fmt.Sprintf("%s/%s/%s/aws4_request", date[:8], region, service)
	toSign := fmt.Sprintf("AWS4-HMAC-SHA256\n%s\n%s\n%s", date, scope,
		hash([]byte(canonical.String())))
	key := []byte("AWS4" + c.secret)
	for _, part := range []string{date[:8], region, service, "aws4_request"} {
		key = authenticate(key, part)
	}
	req.Header.Set("Authorization", fmt.Sprintf(
		"AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s",
		c.id, scope, signed, hex.EncodeToString(authenticate(key, toSign))))
}

// hash returns the SHA-256 of b in hexadecimal digits.
func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// authenticate returns the HMAC of a text.
func authenticate(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}
