//go:build aws

package main

import (
	"context"

	"github.com/boxer-sandbox/boxer/host"
	"github.com/boxer-sandbox/boxer/lambda"
)

// needsAWS does nothing: this boxer has AWS's clients.
func needsAWS() error { return nil }

// lambdaHost returns a function as a host.
func lambdaHost(ctx context.Context, function, region, profile string) (host.Host, error) {
	client, err := lambda.NewClient(ctx, region, profile)
	if err != nil {
		return nil, err
	}
	return &lambda.Function{Client: client, Name: function}, nil
}
