// Package lambda runs orders (package host) on functions of AWS Lambda, and makes such
// functions.
//
// A Function is a host. It invokes a function whose runtime is boxer (package
// lambda/runtime), with the order as event, and reads the program's output from the
// streamed response. Package writes the archive of a function. A Deployer creates,
// updates and deletes functions.
//
// The package uses aws-sdk-go-v2, which finds credentials, regions, profiles and
// endpoints as AWS's own tools do.
package lambda
