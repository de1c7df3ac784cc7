//go:build aws

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/boxer-sandbox/boxer/lambda"
	"github.com/boxer-sandbox/boxer/lambda/image"
)

func lambdaCommand(code *int) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lambda",
		Short: "Make functions of AWS Lambda in which programs run as nodes",
		Long: `Make functions of AWS Lambda in which programs run as nodes of the network: package
and deploy one, and then run programs in it by "boxer run --on lambda:FUNCTION".
AWS's credentials, region and profile are found as AWS's own tools find them.
docs/lambda.md goes from nothing to two functions that talk.`,
		Example: `  boxer lambda deploy pg --add ./app --role arn:aws:iam::123456789012:role/boxer
  boxer run --join @join.url --on lambda:pg --name db -- postgres -D /tmp/data`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(lambdaPackageCommand(), lambdaImageCommand(), lambdaDeployCommand(),
		lambdaDeleteCommand(),
		lambdaLayerCommand(), lambdaServeCommand(), lambdaExecCommand(code))
	return cmd
}

// packFlags say what a function's archive has.
type packFlags struct{ add, boxer string }

func (p *packFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&p.add, "add", "", "put the files below `DIR` into the function; they are in $LAMBDA_TASK_ROOT there, which is /var/task")
	f.StringVar(&p.boxer, "boxer", "", "`FILE` of the boxer that the function gets, such as that of another architecture (default this one)")
}

// write writes the archive.
func (p *packFlags) write(w io.Writer) (lambda.PackageInfo, error) {
	program, err := p.program()
	if err == nil {
		err = p.checkDir()
	}
	if err != nil {
		return lambda.PackageInfo{}, err
	}
	return lambda.Package(w, lambda.PackageConfig{Boxer: program, Dir: p.add})
}

// program returns the boxer that the function gets.
func (p *packFlags) program() (string, error) {
	if p.boxer != "" {
		return p.boxer, nil
	}
	return smallBoxer()
}

// checkDir fails if --add names no directory.
func (p *packFlags) checkDir() error {
	if p.add == "" {
		return nil
	}
	dir, err := filepath.EvalSymlinks(p.add) // a link to a directory is walked as that
	if err != nil {
		return fmt.Errorf("--add: %w", err)
	}
	if st, err := os.Stat(dir); err != nil || !st.IsDir() {
		return fmt.Errorf("--add %s: not a directory", p.add)
	}
	p.add = dir
	return nil
}

// smallBoxer returns the boxer that functions get: that without AWS's clients, which
// stands beside this one.
func smallBoxer() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	small := filepath.Join(filepath.Dir(self), "boxer")
	if _, err := os.Stat(small); err != nil {
		return self, nil // which has all that functions need, too
	}
	return small, nil
}

func lambdaPackageCommand() *cobra.Command {
	var pack packFlags
	var out string
	cmd := &cobra.Command{
		Use:   "package --out FILE.zip",
		Short: "Write the archive of a function",
		Long: `Write the archive of a function for the runtime provided.al2023: boxer is its
bootstrap, and --add puts further files into it. The same files give the same
archive.`,
		Example: `  boxer lambda package --out fn.zip --add ./app
  boxer lambda package --out fn.zip --boxer bin/boxer-arm64`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if out == "" {
				return usage(cmd, errors.New("no archive: use --out FILE.zip"))
			}
			info, err := writeArchive(out, pack.write)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(),
				"boxer: %s: %d files, %.1f MB (%.1f MB unpacked), for %s\n", out,
				info.Files, mb(info.Packed), mb(info.Unpacked), info.Arch)
			if info.Packed > lambda.MaxArchive {
				fmt.Fprintf(cmd.ErrOrStderr(),
					"boxer: above %d MB an archive cannot be uploaded with a request: put it into S3\n",
					lambda.MaxArchive>>20)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "write the archive to `FILE`")
	pack.register(cmd)
	return cmd
}

func lambdaLayerCommand() *cobra.Command {
	var pack packFlags
	var out string
	cmd := &cobra.Command{
		Use:   "layer --out FILE.zip",
		Short: "Write the archive of a layer for functions of Python, Node.js, Java ...",
		Long: `Write the archive of a layer for functions with a managed runtime, such as Python's,
Node.js's or Java's. A function with that layer, and with the variables
AWS_LAMBDA_EXEC_WRAPPER=` + lambda.LayerWrapper + ` and BOXER_JOIN, is a node of the network
without a change of its code. docs/lambda.md says more.`,
		Example: `  boxer lambda layer --out layer.zip
  aws lambda publish-layer-version --layer-name boxer --zip-file fileb://layer.zip`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if out == "" {
				return usage(cmd, errors.New("no archive: use --out FILE.zip"))
			}
			program, err := pack.program()
			if err != nil {
				return err
			}
			info, err := writeArchive(out, func(w io.Writer) (lambda.PackageInfo, error) {
				return lambda.Layer(w, program)
			})
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "boxer: %s: %.1f MB (%.1f MB unpacked), for %s; "+
				"set AWS_LAMBDA_EXEC_WRAPPER=%s in functions with this layer\n", out,
				mb(info.Packed), mb(info.Unpacked), info.Arch, lambda.LayerWrapper)
			return nil
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "write the archive to `FILE`")
	cmd.Flags().StringVar(&pack.boxer, "boxer", "", "`FILE` of the boxer that the layer gets, such as that of another architecture (default this one)")
	return cmd
}

func lambdaImageCommand() *cobra.Command {
	var pack packFlags
	c := image.Config{}
	cmd := &cobra.Command{
		Use:   "image --from IMAGE --out layout:DIR|REFERENCE",
		Short: "Make a container image for functions, without a container engine",
		Long: `Put boxer, and the files of --add, on a base image, and make boxer its entry point:
the runtime of a function. What the base image's entry point was is run when an event
names no program. Registries are spoken to with the credentials of docker login.`,
		Example: `  boxer lambda image --from debian:12 --add ./app --out layout:./img
  boxer lambda image --from postgres:16 --out 123456789012.dkr.ecr.eu-central-1.amazonaws.com/pg:1`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if c.To == "" || c.From == "" {
				return usage(cmd, errors.New("use --from IMAGE and --out layout:DIR or --out REFERENCE"))
			}
			if c.Boxer, err = pack.program(); err != nil {
				return err
			}
			if err := pack.checkDir(); err != nil {
				return err
			}
			arch, err := lambda.ArchOf(c.Boxer)
			if err != nil {
				return err
			}
			c.Arch, c.Dir = goArch(arch), pack.add
			digest, err := image.Build(cmd.Context(), c)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s\n", digest)
			return nil
		},
	}
	cmd.Flags().StringVar(&c.From, "from", "", "the base `IMAGE`: a reference, layout:DIR, or scratch")
	cmd.Flags().StringVar(&c.To, "out", "", "`WHERE` the image goes: layout:DIR, or a reference to push it to")
	pack.register(cmd)
	return cmd
}

// goArch returns an architecture of the service as Go and images name it.
func goArch(arch string) string {
	if arch == "x86_64" {
		return "amd64"
	}
	return arch
}

func mb(n int64) float64 { return float64(n) / (1 << 20) }

// writeArchive writes the archive to a file, whole or not at all.
func writeArchive(path string,
	write func(io.Writer) (lambda.PackageInfo, error)) (info lambda.PackageInfo, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".boxer-*.zip")
	if err != nil {
		return info, err
	}
	defer os.Remove(f.Name())
	if info, err = write(f); err != nil {
		return info, errors.Join(err, f.Close())
	}
	if err := errors.Join(f.Chmod(0o644), f.Close()); err != nil {
		return info, err
	}
	return info, os.Rename(f.Name(), path)
}

func lambdaDeployCommand() *cobra.Command {
	var pack packFlags
	var want lambda.Deployment
	var archive, region, profile string
	var env []string
	cmd := &cobra.Command{
		Use:   "deploy FUNCTION",
		Short: "Create a function, or change it, and wait until it is ready",
		Long: `Create a function whose runtime is boxer, or change what differs, and wait until it
is ready. It says what it changes, and changes nothing that is as it should be.`,
		Example: `  boxer lambda deploy pg --add ./app --role arn:aws:iam::123456789012:role/boxer
  boxer lambda deploy pg --zip fn.zip --memory 3008 --timeout 900`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			want.Name = args[0]
			if want.Image != "" {
				want.Arch, err = imageArch(&pack)
			} else {
				want.Archive, want.Arch, err = readArchive(archive, &pack)
			}
			if err != nil {
				return err
			}
			if want.Env, err = variables(env); err != nil {
				return err
			}
			d, err := deployer(cmd, region, profile)
			if err != nil {
				return err
			}
			_, err = d.Deploy(cmd.Context(), want)
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&archive, "zip", "", "the archive that boxer lambda package has written to `FILE` (default: one is made)")
	f.StringVar(&want.Image, "image", "", "`URI` of an image in Amazon ECR that boxer lambda image has made, instead of an archive")
	f.StringVar(&want.Role, "role", "", "`ARN` of the role that the function runs as; a new function needs it")
	f.Int32Var(&want.Memory, "memory", 0, fmt.Sprintf("`MB` of memory, 128 to 10240 (default for a new function %d: one processor)", lambda.DefaultMemory))
	f.Int32Var(&want.Timeout, "timeout", 0, fmt.Sprintf("`SECONDS` that a program may run, 1 to %d (default for a new function %[1]d)", lambda.MaxTimeout))
	f.StringArrayVar(&env, "env", nil, "set a variable of the function: `NAME=VALUE`; who may read the function's configuration can read it")
	pack.register(cmd)
	awsFlags(cmd, &region, &profile)
	cmd.MarkFlagsMutuallyExclusive("zip", "add", "image")
	cmd.MarkFlagsMutuallyExclusive("zip", "boxer")
	return cmd
}

// imageArch returns the architecture of an image: that of the boxer in it.
func imageArch(pack *packFlags) (string, error) {
	program, err := pack.program()
	if err != nil {
		return "", err
	}
	return lambda.ArchOf(program)
}

// readArchive returns an archive and its architecture: a file's, or a new one's.
func readArchive(path string, pack *packFlags) ([]byte, string, error) {
	if path != "" {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, "", err
		}
		arch, err := lambda.ArchOfArchive(b)
		if err != nil {
			err = fmt.Errorf("--zip %s: %w", path, err)
		}
		return b, arch, err
	}
	var b bytes.Buffer
	info, err := pack.write(&b)
	return b.Bytes(), info.Arch, err
}

// variables reads NAME=VALUE.
func variables(env []string) (map[string]string, error) {
	all := make(map[string]string)
	for _, e := range env {
		name, value, ok := strings.Cut(e, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("--env: an entry without a name or a value: use NAME=VALUE")
		}
		all[name] = value
	}
	return all, nil
}

// deployer returns what changes functions, and tells what it does.
func deployer(cmd *cobra.Command, region, profile string) (*lambda.Deployer, error) {
	client, err := lambda.NewClient(cmd.Context(), region, profile)
	if err != nil {
		return nil, err
	}
	return &lambda.Deployer{Client: client,
		Progress: func(s string) { fmt.Fprintln(cmd.ErrOrStderr(), "boxer:", s) }}, nil
}

func lambdaDeleteCommand() *cobra.Command {
	var region, profile string
	cmd := &cobra.Command{
		Use:     "delete FUNCTION",
		Short:   "Delete a function",
		Long:    "Delete a function. Programs that run in it go on until they end.",
		Example: `  boxer lambda delete pg`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := deployer(cmd, region, profile)
			if err != nil {
				return err
			}
			return d.Delete(cmd.Context(), args[0])
		},
	}
	awsFlags(cmd, &region, &profile)
	return cmd
}
