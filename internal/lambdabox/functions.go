package lambdabox

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"sync"
)

// A configuration is a function's configuration: the fields that the box keeps.
type configuration struct {
	FunctionName  string
	FunctionArn   string
	Role          string
	Handler       string
	Runtime       string
	Architectures []string
	MemorySize    int
	Timeout       int // in seconds
	Environment   struct{ Variables map[string]string }
	Layers        []layer
	CodeSha256    string
	CodeSize      int

	PackageType string

	State            string
	LastUpdateStatus string
}

// A function is a function of the box.
type function struct {
	name string

	mu         sync.Mutex
	config     configuration
	zip        []byte
	generation int // grows with each change
	settling   int // how often the box still reports the function as pending

	environments []*environment // guarded by Box.mu
}

func (f *function) configuration() configuration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.config
}

func (f *function) archive() []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.zip
}

func (f *function) arn() string {
	return "arn:aws:lambda:us-east-1:000000000000:function:" + f.name
}

// find returns the function of a request. Without one it has answered.
func (b *Box) find(w http.ResponseWriter, r *http.Request) *function {
	name := r.PathValue("name")
	b.mu.Lock()
	f := b.functions[name]
	b.mu.Unlock()
	if f == nil {
		refuse(w, http.StatusNotFound, "ResourceNotFoundException",
			"Function not found: arn:aws:lambda:us-east-1:000000000000:function:"+name)
	}
	return f
}

var (
	nameForm = regexp.MustCompile(`^[a-zA-Z0-9-_]{1,64}$`)
	roleForm = regexp.MustCompile(`^arn:(aws[a-zA-Z-]*)?:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+$`)
)

// A change is a request's change of a function.
type change struct {
	FunctionName  *string
	Role          *string
	Handler       *string
	Runtime       *string
	Architectures []string
	MemorySize    *int
	Timeout       *int
	Environment   *struct{ Variables map[string]string }
	Layers        []string // ARNs of versions
	Code          *struct{ ZipFile []byte }
	ZipFile       []byte
}

// create is the operation CreateFunction.
func (b *Box) create(w http.ResponseWriter, r *http.Request) {
	var c change
	if !decode(w, r, &c) {
		return
	}
	if c.FunctionName == nil || !nameForm.MatchString(*c.FunctionName) || c.Code == nil ||
		c.Role == nil || !roleForm.MatchString(*c.Role) || c.Runtime == nil {
		refuse(w, http.StatusBadRequest, "ValidationException",
			"FunctionName, Role, Runtime and Code are required, and must be well formed")
		return
	}
	f := &function{name: *c.FunctionName}
	f.config = configuration{FunctionName: f.name, FunctionArn: f.arn(), MemorySize: 128, PackageType: "Zip",
		Timeout: 3, Architectures: []string{"x86_64"}}
	b.mu.Lock()
	if b.functions[f.name] != nil {
		b.mu.Unlock()
		refuse(w, http.StatusConflict, "ResourceConflictException",
			"Function already exist: "+f.name)
		return
	}
	b.functions[f.name] = f
	b.mu.Unlock()
	if err := f.change(c, c.Code.ZipFile); err != nil {
		b.mu.Lock()
		delete(b.functions, f.name)
		b.mu.Unlock()
		refuse(w, http.StatusBadRequest, "InvalidParameterValueException", err.Error())
		return
	}
	reply(w, http.StatusCreated, f.status())
}

// change changes the function.
func (f *function) change(c change, code []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(code) > 0 {
		if _, err := zip.NewReader(bytes.NewReader(code), int64(len(code))); err != nil {
			return fmt.Errorf("uploaded file: cannot be unzipped: %w", err)
		}
		sum := sha256.Sum256(code)
		f.zip, f.config.CodeSize = code, len(code)
		f.config.CodeSha256 = base64.StdEncoding.EncodeToString(sum[:])
	}
	if c.Timeout != nil && (*c.Timeout < 1 || *c.Timeout > 900) {
		return errors.New("timeout: Member must have value less than or equal to 900")
	}
	if c.MemorySize != nil && (*c.MemorySize < 128 || *c.MemorySize > 10240) {
		return errors.New("MemorySize value failed to satisfy constraint: Member must have value between 128 and 10240")
	}
	set(&f.config.Role, c.Role)
	set(&f.config.Handler, c.Handler)
	set(&f.config.Runtime, c.Runtime)
	set(&f.config.MemorySize, c.MemorySize)
	set(&f.config.Timeout, c.Timeout)
	if c.Environment != nil {
		f.config.Environment.Variables = c.Environment.Variables
	}
	if c.Layers != nil {
		f.config.Layers = nil
		for _, arn := range c.Layers {
			f.config.Layers = append(f.config.Layers, layer{Arn: arn})
		}
	}
	if c.Architectures != nil {
		f.config.Architectures = c.Architectures
	}
	f.generation++
	f.settling = 1 // in the service, a change takes some time
	return nil
}

// set sets a value if there is one.
func set[T any](to *T, v *T) {
	if v != nil {
		*to = *v
	}
}

// A layer is a version of a layer that a function has.
type layer struct{ Arn string }

// publishLayer is the operation PublishLayerVersion.
func (b *Box) publishLayer(w http.ResponseWriter, r *http.Request) {
	var q struct{ Content struct{ ZipFile []byte } }
	if !decode(w, r, &q) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	arn := fmt.Sprintf("arn:aws:lambda:us-east-1:000000000000:layer:%s:%d",
		r.PathValue("name"), len(b.layers)+1)
	b.layers[arn] = q.Content.ZipFile
	reply(w, http.StatusCreated, map[string]string{"LayerVersionArn": arn})
}

// status returns the configuration, with the state of the last change.
func (f *function) status() configuration {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.config
	c.State, c.LastUpdateStatus = "Active", "Successful"
	if f.settling > 0 {
		f.settling--
		c.LastUpdateStatus = "InProgress"
		if f.generation == 1 {
			c.State = "Pending"
		}
	}
	return c
}

// get is the operation GetFunction.
func (b *Box) get(w http.ResponseWriter, r *http.Request) {
	if f := b.find(w, r); f != nil {
		reply(w, http.StatusOK, map[string]any{"Configuration": f.status()})
	}
}

// getConfiguration is the operation GetFunctionConfiguration.
func (b *Box) getConfiguration(w http.ResponseWriter, r *http.Request) {
	if f := b.find(w, r); f != nil {
		reply(w, http.StatusOK, f.status())
	}
}

// updateCode is the operation UpdateFunctionCode.
func (b *Box) updateCode(w http.ResponseWriter, r *http.Request) { b.update(w, r, true) }

// updateConfiguration is the operation UpdateFunctionConfiguration.
func (b *Box) updateConfiguration(w http.ResponseWriter,
	r *http.Request) {
	b.update(w, r, false)
}

func (b *Box) update(w http.ResponseWriter, r *http.Request, code bool) {
	f := b.find(w, r)
	var c change
	if f == nil || !decode(w, r, &c) {
		return
	}
	f.mu.Lock()
	busy := f.settling > 0
	f.mu.Unlock()
	if busy {
		refuse(w, http.StatusConflict, "ResourceConflictException",
			"The operation cannot be performed at this time. An update is in progress for resource: "+f.arn())
		return
	}
	var archive []byte
	if code {
		archive = c.ZipFile
	}
	if err := f.change(c, archive); err != nil {
		refuse(w, http.StatusBadRequest, "InvalidParameterValueException", err.Error())
		return
	}
	reply(w, http.StatusOK, f.status())
}

// delete is the operation DeleteFunction.
func (b *Box) delete(w http.ResponseWriter, r *http.Request) {
	f := b.find(w, r)
	if f == nil {
		return
	}
	b.mu.Lock()
	delete(b.functions, f.name)
	environments := append([]*environment(nil), f.environments...)
	b.mu.Unlock()
	for _, e := range environments {
		e.kill(errors.New("the function was deleted"))
	}
	w.WriteHeader(http.StatusNoContent)
}

// putInvokeConfig is the operation PutFunctionEventInvokeConfig.
func (b *Box) putInvokeConfig(w http.ResponseWriter, r *http.Request) {
	f := b.find(w, r)
	var c map[string]any
	if f == nil || !decode(w, r, &c) {
		return
	}
	c["FunctionArn"] = f.arn()
	reply(w, http.StatusOK, c)
}

func decode(w http.ResponseWriter, r *http.Request, v any) bool {
	if err := json.NewDecoder(r.Body).Decode(v); err != nil {
		refuse(w, http.StatusBadRequest, "InvalidRequestContentException", err.Error())
		return false
	}
	return true
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// extract unpacks an archive below a directory.
func extract(archive []byte, dir string) error {
	z, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, f := range z.File {
		if err := extractFile(root, f); err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	return nil
}

func extractFile(root *os.Root, f *zip.File) error {
	name := filepath.Clean(f.Name)
	if f.FileInfo().IsDir() {
		return root.MkdirAll(name, 0o755)
	}
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil &&
		!errors.Is(err, fs.ErrExist) {
		return err
	}
	src, err := f.Open()
	if err != nil {
		return err
	}
	defer src.Close()
	if f.Mode()&fs.ModeSymlink != 0 {
		to, err := io.ReadAll(io.LimitReader(src, 4096))
		if err != nil {
			return err
		}
		return root.Symlink(string(to), name)
	}
	dst, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL,
		f.Mode().Perm()|0o444)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Close())
}
