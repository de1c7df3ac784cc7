package runtime

import (
	"bytes"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// TestSign signs as the SDK does.
func TestSign(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 30, 0, 0, time.UTC)
	for _, token := range []string{"", "a/session+token=="} {
		body := []byte(`{"Name":"/boxer/join","WithDecryption":true}`)
		request := func() *http.Request {
			req, err := http.NewRequest(http.MethodPost,
				"https://ssm.eu-central-1.amazonaws.com/",
				bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/x-amz-json-1.1")
			req.Header.Set("X-Amz-Target", "AmazonSSM.GetParameter")
			return req
		}
		c := credentials{"AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", token}
		ours, theirs := request(), request()
		sign(ours, body, c, "ssm", "eu-central-1", now)
		if err := v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: c.id,
			SecretAccessKey: c.secret, SessionToken: token}, theirs, hash(body), "ssm",
			"eu-central-1", now); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"Authorization", "X-Amz-Date",
			"X-Amz-Security-Token"} {
			if got, want := ours.Header.Get(name), theirs.Header.Get(name); got != want {
				t.Errorf("%s:\n got %s\nwant %s", name, got, want)
			}
		}
	}
}
