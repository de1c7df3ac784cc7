package runtime

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// api is a client of the Runtime API and of the Extensions API of one environment.
type api struct {
	host string // HOST:PORT, from $AWS_LAMBDA_RUNTIME_API
	http *http.Client
}

// newAPI returns a client. It has no timeout: a frozen environment may wait for its next
// invocation for any time.
func newAPI(host string) *api {
	return &api{host: host, http: &http.Client{Transport: &http.Transport{
		// Each concurrent invocation has two requests: for the next invocation, and with
		// its response.
		MaxIdleConnsPerHost: 64,
	}}}
}

const (
	runtimePath   = "/2018-06-01/runtime/"
	extensionPath = "/2020-01-01/extension/"
)

// The headers of the two APIs.
const (
	headerRequestID = "Lambda-Runtime-Aws-Request-Id"
	headerDeadline  = "Lambda-Runtime-Deadline-Ms"
	headerMode      = "Lambda-Runtime-Function-Response-Mode"
	headerErrorType = "Lambda-Runtime-Function-Error-Type"
	headerName      = "Lambda-Extension-Name"
	headerExtension = "Lambda-Extension-Identifier"
)

// maxEvent bounds an event, in bytes: Lambda's own bound is 6 MB.
const maxEvent = 8 << 20

// An invocation is one event.
type invocation struct {
	id       string
	deadline time.Time // when the service kills the environment
	event    []byte
}

// next waits for an invocation.
func (a *api) next(ctx context.Context) (inv invocation, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet,
		"http://"+a.host+runtimePath+"invocation/next", nil)
	if err != nil {
		return inv, err
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return inv, fmt.Errorf("next invocation: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return inv, fmt.Errorf("next invocation: %w", statusError(resp))
	}
	if inv.event, err = io.ReadAll(io.LimitReader(resp.Body, maxEvent)); err != nil {
		return inv, fmt.Errorf("next invocation: read the event: %w", err)
	}
	inv.id = resp.Header.Get(headerRequestID)
	if inv.id == "" {
		return inv, errors.New("next invocation: no header " + headerRequestID)
	}
	ms, err := strconv.ParseInt(resp.Header.Get(headerDeadline), 10, 64)
	if err != nil {
		return inv, fmt.Errorf("next invocation: header %s: %w", headerDeadline, err)
	}
	inv.deadline = time.UnixMilli(ms)
	return inv, nil
}

// respond sends body as the response of an invocation, until body's end. If the invoker
// asked for streaming, the service forwards the response as it arrives.
func (a *api) respond(ctx context.Context, id, contentType string, body io.Reader) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost,
		"http://"+a.host+runtimePath+"invocation/"+id+"/response", body)
	if err != nil {
		return err
	}
	req.ContentLength = -1 // chunked
	req.Header.Set("Content-Type", contentType)
	req.Header.Set(headerMode, "streaming")
	return a.accepted(req, "response")
}

// fail reports that an invocation has failed.
func (a *api) fail(ctx context.Context, id, kind string, cause error) error {
	return a.report(ctx, "invocation/"+id+"/error", kind, cause)
}

// report posts an error in the form of the Runtime API.
func (a *api) report(ctx context.Context, path, kind string, cause error) error {
	body, err := json.Marshal(map[string]any{
		"errorMessage": cause.Error(), "errorType": kind, "stackTrace": []string{},
	})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost,
		"http://"+a.host+runtimePath+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/vnd.aws.lambda.error+json")
	req.Header.Set(headerErrorType, kind)
	return a.accepted(req, path)
}

// accepted sends a request that the API answers with 202.
func (a *api) accepted(req *http.Request, what string) error {
	resp, err := a.http.Do(req)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		return fmt.Errorf("%s: %w", what, statusError(resp))
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// extend registers this process as an internal extension until ctx ends. The service
// kills an environment without extensions by SIGKILL. With one, the runtime gets SIGTERM
// first.
func (a *api) extend(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost,
		"http://"+a.host+extensionPath+"register", bytes.NewReader([]byte(`{"events":[]}`)))
	if err != nil {
		return err
	}
	req.Header.Set(headerName, "boxer")
	resp, err := a.http.Do(req)
	if err != nil {
		return fmt.Errorf("register an extension: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("register an extension: %w", statusError(resp))
	}
	id := resp.Header.Get(headerExtension)
	go a.idle(ctx, id) // ends with ctx
	return nil
}

// idle waits for the extension's next event. The extension subscribes to none.
func (a *api) idle(ctx context.Context, id string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet,
		"http://"+a.host+extensionPath+"event/next", nil)
	if err != nil {
		return
	}
	req.Header.Set(headerExtension, id)
	if resp, err := a.http.Do(req); err == nil {
		resp.Body.Close()
	}
}

// statusError returns the error for an unexpected response.
func statusError(resp *http.Response) error {
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
	return fmt.Errorf("the service says %s: %s", resp.Status, bytes.TrimSpace(b))
}
