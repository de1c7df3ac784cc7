// Package lambda runs orders (package host) on functions of AWS Lambda, and makes such
// functions.
//
// Function is a host: it invokes a function whose runtime is boxer (package
// lambda/runtime), with the order as event, and reads the program's output from the
// streamed response. Package writes the archive of a function, and Deployer creates,
// updates and deletes functions.
//
// All goes over aws-sdk-go-v2, so that credentials, regions, profiles and endpoints are
// found as by AWS's own tools.
package lambda
