package runtime

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/boxer-sandbox/boxer/host"
)

// This file makes two calls of AWS without the SDK: see sign.

// ReadSecret reads a secret with the rights of the calling function: a parameter of
// Systems Manager, decrypted (GetParameter), or the text of a secret of Secrets Manager
// (GetSecretValue). Region and credentials are those in the function's environment.
func ReadSecret(ctx context.Context, s host.Secret) (value string, err error) {
	switch s.Store {
	case host.StoreValue:
		return s.Name, nil
	case host.StoreSSM:
		var out struct{ Parameter struct{ Value string } }
		err = call(ctx, "ssm", "AmazonSSM.GetParameter",
			map[string]any{"Name": s.Name, "WithDecryption": true}, &out)
		value = out.Parameter.Value
	case host.StoreSecretsManager:
		var out struct{ SecretString string }
		err = call(ctx, "secretsmanager", "secretsmanager.GetSecretValue",
			map[string]any{"SecretId": s.Name}, &out)
		value = out.SecretString
	default:
		err = fmt.Errorf("unknown store %q", s.Store)
	}
	return strings.TrimSpace(value), err
}

// callTimeout bounds one call.
const callTimeout = 10 * time.Second

// call makes a call of a service that speaks AWS JSON 1.1.
func call(ctx context.Context, service, target string, in, out any) error {
	region := os.Getenv("AWS_REGION")
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost,
		endpoint(service, region),
		bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", target)
	c := credentials{os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY"),
		os.Getenv("AWS_SESSION_TOKEN")}
	if c.id == "" || c.secret == "" {
		return errors.New("the environment has no credentials of AWS: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY")
	}
	sign(req, body, c, service, region, time.Now())
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return callError(resp, answer)
	}
	return json.Unmarshal(answer, out)
}

// endpoint returns the URL of a service, as AWS's tools find it: an environment variable
// first.
func endpoint(service, region string) string {
	for _, name := range []string{"AWS_ENDPOINT_URL_" + strings.ToUpper(service),
		"AWS_ENDPOINT_URL"} {
		if url := os.Getenv(name); url != "" {
			return url
		}
	}
	domain := "amazonaws.com"
	if strings.HasPrefix(region, "cn-") {
		domain += ".cn"
	}
	return fmt.Sprintf("https://%s.%s.%s/", service, region, domain)
}

// callError returns the error for an answer. It never contains a secret's text.
func callError(resp *http.Response, answer []byte) error {
	var e struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
		Upper   string `json:"Message"`
	}
	if json.Unmarshal(answer, &e) != nil || e.Type == "" {
		return fmt.Errorf("the service says %s", resp.Status)
	}
	_, code, found := strings.Cut(e.Type, "#")
	if !found {
		code = e.Type
	}
	return fmt.Errorf("%s: %s", code, e.Message+e.Upper)
}
