package lambdabox

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"
)

// handler is the Runtime API and the Extensions API of an environment.
func (e *environment) handler() http.Handler {
	mux := http.NewServeMux()
	const runtime = "/2018-06-01/runtime/"
	mux.HandleFunc("GET "+runtime+"invocation/next", e.next)
	mux.HandleFunc("POST "+runtime+"invocation/{id}/response", e.response)
	mux.HandleFunc("POST "+runtime+"invocation/{id}/error", e.failure)
	mux.HandleFunc("POST "+runtime+"init/error", e.initFailure)
	mux.HandleFunc("POST /2020-01-01/extension/register", e.register)
	mux.HandleFunc("GET /2020-01-01/extension/event/next",
		func(_ http.ResponseWriter, r *http.Request) {
			<-r.Context().Done() // an internal extension gets no events
		})
	return mux
}

// next gives the runtime its next invocation.
func (e *environment) next(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	served := e.current != nil
	e.mu.Unlock()
	if served { // that invocation is done
		select {
		case e.idle <- struct{}{}:
		case <-r.Context().Done():
			return
		}
	}
	select {
	case inv := <-e.invocations:
		e.mu.Lock()
		e.current = inv
		e.mu.Unlock()
		h := w.Header()
		h.Set("Lambda-Runtime-Aws-Request-Id", inv.id)
		limit := time.Duration(e.f.configuration().Timeout) * time.Second
		h.Set("Lambda-Runtime-Deadline-Ms",
			strconv.FormatInt(time.Now().Add(limit).UnixMilli(), 10))
		h.Set("Lambda-Runtime-Invoked-Function-Arn", e.f.arn())
		h.Set("Content-Type", "application/json")
		_, _ = w.Write(inv.event)
	case <-r.Context().Done():
	}
}

// taken returns the invocation that a request of the runtime is about.
func (e *environment) taken(w http.ResponseWriter, r *http.Request) *invocation {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.current == nil || e.current.id != r.PathValue("id") {
		refuse(w, http.StatusBadRequest, "InvalidRequestID", "Invalid request ID")
		return nil
	}
	return e.current
}

// response forwards a response while it arrives.
func (e *environment) response(w http.ResponseWriter, r *http.Request) {
	inv := e.taken(w, r)
	if inv == nil {
		return
	}
	inv.streamed = r.Header.Get("Lambda-Runtime-Function-Response-Mode") == "streaming"
	inv.begin()
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Body.Read(buf)
		if n > 0 {
			_, _ = inv.w.Write(buf[:n]) // the invoker may have left
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			inv.fail(&functionError{"Runtime.TruncatedResponse", err.Error()})
			return
		}
	}
	inv.end()
	accept(w)
}

// failure ends an invocation with the runtime's error.
func (e *environment) failure(w http.ResponseWriter, r *http.Request) {
	if inv := e.taken(w, r); inv != nil {
		b, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		inv.fail(&functionError{r.Header.Get("Lambda-Runtime-Function-Error-Type"), string(b)})
		accept(w)
	}
}

// initFailure ends the environment with the runtime's error.
func (e *environment) initFailure(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	accept(w)
	e.kill(&functionError{r.Header.Get("Lambda-Runtime-Function-Error-Type"), string(b)})
}

// register registers an extension.
func (e *environment) register(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Events []string `json:"events"`
	}
	if json.NewDecoder(r.Body).Decode(&q) != nil ||
		r.Header.Get("Lambda-Extension-Name") == "" {
		refuse(w, http.StatusBadRequest, "Extension.InvalidExtensionName",
			"no name, or no events")
		return
	}
	e.mu.Lock()
	e.extended = true
	e.mu.Unlock()
	w.Header().Set("Lambda-Extension-Identifier", "extension-"+e.name())
	_ = json.NewEncoder(w).Encode(map[string]string{"functionName": e.f.name,
		"functionVersion": "$LATEST", "handler": e.f.configuration().Handler})
}

// accept answers a report of the runtime.
func accept(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	_, _ = io.WriteString(w, `{"status":"OK"}`)
}
