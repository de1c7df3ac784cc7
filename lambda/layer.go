package lambda

import (
	"archive/zip"
	"compress/flate"
	"io"
)

// LayerWrapper is the path of the wrapper of a Layer in a function: the value of its
// variable AWS_LAMBDA_EXEC_WRAPPER.
const LayerWrapper = "/opt/boxer/wrapper"

// wrapperScript is what the service executes instead of a function's runtime, with the
// runtime's command as its arguments ("Using a wrapper script", AWS Lambda Developer
// Guide).
const wrapperScript = "#!/bin/sh\nexec /opt/boxer/boxer lambda exec -- \"$@\"\n"

// Layer writes the archive of a layer for functions with a managed runtime: boxer, and
// the wrapper that has the function's runtime run as a node.
func Layer(w io.Writer, boxer string) (info PackageInfo, err error) {
	if info.Arch, err = ArchOf(boxer); err != nil {
		return info, err
	}
	counted := &counter{w: w}
	p := packer{zip: zip.NewWriter(counted), info: &info}
	p.zip.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) {
		return flate.NewWriter(w, flate.DefaultCompression)
	})
	if err := p.add(boxer, "boxer/boxer", 0o755); err != nil {
		return info, err
	}
	script, err := p.create("boxer/wrapper", 0o755)
	if err != nil {
		return info, err
	}
	if _, err := io.WriteString(script, wrapperScript); err != nil {
		return info, err
	}
	info.Files++
	info.Unpacked += int64(len(wrapperScript))
	err = p.zip.Close()
	info.Packed = counted.n
	return info, err
}
