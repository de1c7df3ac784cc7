package lambda

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"
)

// Requests that the service throttles are repeated: the service adds environments at a
// limited rate, which many orders at once exceed.
const (
	maxAttempts = 12
	maxBackoff  = 20 * time.Second
)

// keepAlive finds dead connections while a function is silent. NAT gateways drop those
// that are idle for 350 s.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second,
	Interval: 15 * time.Second, Count: 4}

// silence bounds how long a response may send nothing.
const silence = 3 * time.Minute

// NewClient returns a client that is configured as AWS's tools are: by environment,
// shared files, and roles. Empty region and profile leave the defaults.
func NewClient(ctx context.Context, region, profile string) (*lambda.Client, error) {
	cfg, err := Configuration(ctx, region, profile)
	if err != nil {
		return nil, err
	}
	return lambda.NewFromConfig(cfg), nil
}

// Configuration returns the configuration of AWS's tools.
func Configuration(ctx context.Context, region, profile string) (aws.Config, error) {
	// An invocation takes up to 15 minutes. Its function sends a frame every 30 s.
	client := awshttp.NewBuildableClient().WithReadTimeout(silence).
		WithDialerOptions(func(d *net.Dialer) { d.KeepAliveConfig = keepAlive }).
		WithTransportOptions(func(t *http.Transport) { t.MaxIdleConnsPerHost = 64 })
	options := []func(*config.LoadOptions) error{
		config.WithHTTPClient(client),
		config.WithRetryer(func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) {
				o.MaxAttempts, o.MaxBackoff = maxAttempts, maxBackoff
				o.Retryables = retryables
			})
		}),
	}
	if region != "" {
		options = append(options, config.WithRegion(region))
	}
	if profile != "" {
		options = append(options, config.WithSharedConfigProfile(profile))
	}
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return cfg, fmt.Errorf("configuration of AWS: %w", err)
	}
	if cfg.Region == "" {
		return cfg, errors.New("no AWS region is set: use --region, AWS_REGION, or aws configure")
	}
	cfg.HTTPClient = ownBody{cfg.HTTPClient}
	return cfg, nil
}

// retryables are the errors after which a request is sent again: the service has refused
// it, or it has not left this host. Other errors of connections are not among them: the
// function may have begun.
var retryables = []retry.IsErrorRetryable{
	retry.NoRetryCanceledError{},
	retry.RetryableHTTPStatusCode{Codes: map[int]struct{}{500: {}, 503: {}}},
	retry.RetryableErrorCode{Codes: retry.DefaultThrottleErrorCodes},
	retry.IsErrorRetryableFunc(func(err error) aws.Ternary {
		var op *net.OpError
		return aws.BoolTernary(errors.As(err, &op) && op.Op == "dial")
	}),
}

// ownBody gives each request a body that only net/http closes. The SDK closes its own
// body as soon as it has the header of the response. If the header arrives at once,
// net/http may not have read the end of the body yet. It then considers the request
// failed and closes the connection, although the response is still being read.
type ownBody struct{ client aws.HTTPClient }

// Do implements aws.HTTPClient.
func (o ownBody) Do(req *http.Request) (*http.Response, error) {
	if req.Body != nil && req.Body != http.NoBody {
		b, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		own := req.Clone(req.Context())
		own.Body = io.NopCloser(bytes.NewReader(b))
		own.GetBody = func() (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(b)), nil
		}
		req = own
	}
	return o.client.Do(req)
}

// explain adds the remedy to an error of the service.
func explain(what fmt.Stringer, err error) error {
	var api smithy.APIError
	var missing *types.ResourceNotFoundException
	var throttled *types.TooManyRequestsException
	advice := ""
	switch {
	case errors.As(err, &missing):
		advice = "; boxer lambda deploy makes a function; is the region right?"
	case errors.As(err, &throttled):
		advice = "; the account's or the function's concurrency is used up"
	case errors.As(err, &api) && (api.ErrorCode() == "AccessDeniedException" ||
		api.ErrorCode() == "AccessDenied"):
		advice = "; see the policy in docs/lambda.md"
	case errors.As(err, &api) && (api.ErrorCode() == "UnrecognizedClientException" ||
		api.ErrorCode() == "InvalidSignatureException" ||
		api.ErrorCode() == "ExpiredTokenException"):
		advice = "; the credentials are not valid: aws sts get-caller-identity shows whose they are"
	}
	if api == nil && strings.Contains(err.Error(), "credentials") {
		advice = "; no credentials of AWS were found: use aws configure, --profile, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
	}
	if api == nil {
		return fmt.Errorf("%v: %w%s", what, err, advice)
	}
	return fmt.Errorf("%v: %s: %s%s", what, api.ErrorCode(), api.ErrorMessage(), advice)
}
