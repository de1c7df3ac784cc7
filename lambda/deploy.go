package lambda

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

// A Deployer creates, updates and deletes functions.
type Deployer struct {
	Client *lambda.Client

	// Progress is called with a message for the user at each step; nil: there are none.
	Progress func(string)
}

// A Deployment describes a function as it is to be.
type Deployment struct {
	Name    string
	Archive []byte // of Package
	Image   string // URI in Amazon ECR, instead of Archive
	Arch    string // x86_64 or arm64
	Role    string // ARN; may be empty for a function that exists
	Memory  int32  // in MB; 0: unchanged, or DefaultMemory for a new function
	Timeout int32  // in seconds; 0: unchanged, or MaxTimeout for a new function

	// Env has environment variables of the function. Its other variables stay.
	Env map[string]string
}

// Defaults of a new function.
const (
	DefaultMemory = 1769 // MB: one whole processor
	MaxTimeout    = 900  // seconds: the service's maximum
)

// settled bounds how long a change of a function may take.
const settled = 5 * time.Minute

// A name is a function's name in errors.
type name string

// String implements fmt.Stringer.
func (n name) String() string { return "function " + string(n) }

// Deploy creates the function, or updates what differs, and waits until it can be
// invoked. It reports whether anything has changed.
func (d *Deployer) Deploy(ctx context.Context, want Deployment) (changed bool,
	err error) {
	if len(want.Archive) > MaxArchive {
		return false, fmt.Errorf("the archive has %d MB, and an upload at most %d MB: leave files out",
			len(want.Archive)>>20, MaxArchive>>20)
	}
	have, err := d.Client.GetFunction(ctx,
		&lambda.GetFunctionInput{FunctionName: &want.Name})
	var missing *types.ResourceNotFoundException
	switch {
	case errors.As(err, &missing):
		changed, err = true, d.create(ctx, want)
	case err == nil:
		changed, err = d.update(ctx, want, have.Configuration)
	}
	if err != nil {
		return changed, explain(name(want.Name), err)
	}
	// The service must not repeat an asynchronous invocation that fails: that would start
	// the program again.
	_, err = d.Client.PutFunctionEventInvokeConfig(ctx,
		&lambda.PutFunctionEventInvokeConfigInput{
			FunctionName: &want.Name, MaximumRetryAttempts: aws.Int32(0)})
	if err != nil {
		return changed, explain(name(want.Name), err)
	}
	return changed, nil
}

func (d *Deployer) say(format string, args ...any) {
	if d.Progress != nil {
		d.Progress(fmt.Sprintf(format, args...))
	}
}

// create makes a new function.
func (d *Deployer) create(ctx context.Context, want Deployment) error {
	if want.Role == "" {
		return errors.New("a new function needs --role: the ARN of the role that it runs as; docs/lambda.md says which rights it needs")
	}
	in := &lambda.CreateFunctionInput{
		FunctionName: &want.Name, Role: &want.Role,
		Architectures: []types.Architecture{types.Architecture(want.Arch)},
		MemorySize:    aws.Int32(cmpOr(want.Memory, DefaultMemory)),
		Timeout:       aws.Int32(cmpOr(want.Timeout, MaxTimeout)),
		Description:   aws.String("runs programs as nodes of a boxer network"),
	}
	if want.Image != "" {
		in.PackageType, in.Code = types.PackageTypeImage,
			&types.FunctionCode{ImageUri: &want.Image}
	} else {
		in.PackageType, in.Code = types.PackageTypeZip,
			&types.FunctionCode{ZipFile: want.Archive}
		in.Runtime, in.Handler = types.RuntimeProvidedal2023, aws.String(bootstrap)
	}
	if len(want.Env) > 0 {
		in.Environment = &types.Environment{Variables: want.Env}
	}
	d.say("create %s: %s, %d MB, %d s, %s", want.Name, want.Arch, *in.MemorySize,
		*in.Timeout,
		want.code())
	if _, err := d.Client.CreateFunction(ctx, in); err != nil {
		return err
	}
	d.say("wait until %s is active", want.Name)
	return lambda.NewFunctionActiveV2Waiter(d.Client, quickly).Wait(ctx,
		&lambda.GetFunctionInput{FunctionName: &want.Name}, settled)
}

// code describes the function's code.
func (d *Deployment) code() string {
	if d.Image != "" {
		return "image " + d.Image
	}
	return fmt.Sprintf("archive of %.1f MB", float64(len(d.Archive))/(1<<20))
}

// quickly shortens the intervals at which a waiter asks the service.
func quickly(o *lambda.FunctionActiveV2WaiterOptions) { o.MinDelay = 500 * time.Millisecond }

func cmpOr(v, otherwise int32) int32 {
	if v != 0 {
		return v
	}
	return otherwise
}

// update changes what differs, first the configuration, then the code.
func (d *Deployer) update(ctx context.Context, want Deployment,
	have *types.FunctionConfiguration) (changed bool, err error) {
	if !slices.Contains(have.Architectures, types.Architecture(want.Arch)) &&
		len(have.Architectures) > 0 {
		return false, fmt.Errorf("it is for %v, and the archive for %s: delete it first, or package for its architecture",
			have.Architectures, want.Arch)
	}
	in, differs := d.configuration(want, have)
	if len(differs) > 0 {
		d.say("change %s: %s", want.Name, strings.Join(differs, ", "))
		if _, err := d.Client.UpdateFunctionConfiguration(ctx, in); err != nil {
			return false, err
		}
		if err := d.wait(ctx, want.Name); err != nil {
			return true, err
		}
	}
	if isImage := have.PackageType == types.PackageTypeImage; isImage != (want.Image != "") {
		return len(differs) > 0, errors.New("a function has either an archive or an image for good: delete it first")
	}
	sum := sha256.Sum256(want.Archive)
	if want.Image == "" && base64.StdEncoding.EncodeToString(sum[:]) == aws.ToString(have.CodeSha256) {
		if len(differs) == 0 {
			d.say("%s is as it should be", want.Name)
		}
		return len(differs) > 0, nil
	}
	d.say("change %s: %s", want.Name, want.code())
	code := &lambda.UpdateFunctionCodeInput{FunctionName: &want.Name,
		ZipFile: want.Archive}
	if want.Image != "" { // a tag may name another image now
		code.ImageUri, code.ZipFile = &want.Image, nil
	}
	_, err = d.Client.UpdateFunctionCode(ctx, code)
	if err != nil {
		return len(differs) > 0, err
	}
	return true, d.wait(ctx, want.Name)
}

// configuration returns the request that changes the configuration to the wanted one, and
// a list of what differs.
func (d *Deployer) configuration(want Deployment, have *types.FunctionConfiguration) (
	in *lambda.UpdateFunctionConfigurationInput, differs []string) {
	in = &lambda.UpdateFunctionConfigurationInput{FunctionName: &want.Name}
	if want.Role != "" && want.Role != aws.ToString(have.Role) {
		in.Role = &want.Role
		differs = append(differs, fmt.Sprintf("role %s -> %s", aws.ToString(have.Role), want.Role))
	}
	if want.Memory != 0 && want.Memory != aws.ToInt32(have.MemorySize) {
		in.MemorySize = &want.Memory
		differs = append(differs, fmt.Sprintf("memory %d -> %d MB",
			aws.ToInt32(have.MemorySize), want.Memory))
	}
	if want.Timeout != 0 && want.Timeout != aws.ToInt32(have.Timeout) {
		in.Timeout = &want.Timeout
		differs = append(differs, fmt.Sprintf("timeout %d -> %d s",
			aws.ToInt32(have.Timeout), want.Timeout))
	}
	env := make(map[string]string)
	if have.Environment != nil {
		maps.Copy(env, have.Environment.Variables)
	}
	var names []string // values may be secret
	for k, v := range want.Env {
		if old, ok := env[k]; !ok || old != v {
			names = append(names, k)
		}
		env[k] = v
	}
	if len(names) > 0 {
		slices.Sort(names)
		in.Environment = &types.Environment{Variables: env}
		differs = append(differs, "variables "+strings.Join(names, " "))
	}
	return in, differs
}

// wait waits until a change has taken effect.
func (d *Deployer) wait(ctx context.Context, function string) error {
	return lambda.NewFunctionUpdatedV2Waiter(d.Client,
		func(o *lambda.FunctionUpdatedV2WaiterOptions) {
			o.MinDelay = 500 * time.Millisecond
		}).Wait(ctx, &lambda.GetFunctionInput{FunctionName: &function}, settled)
}

// Delete deletes a function.
func (d *Deployer) Delete(ctx context.Context, function string) error {
	_, err := d.Client.DeleteFunction(ctx,
		&lambda.DeleteFunctionInput{FunctionName: &function})
	if err != nil {
		return explain(name(function), err)
	}
	d.say("deleted %s", function)
	return nil
}
