package runtime

import (
	"os"
	"slices"
	"strings"
)

// joinVariable is the environment variable with the join URL, see boxer run.
const joinVariable = "BOXER_JOIN"

// programEnviron returns the runtime's environment without the variables about the
// runtime itself. It sets HOME to /tmp, the only place where a function can write:
// functions have no home directory, and programs expect one.
func programEnviron(env []string) []string {
	env = slices.DeleteFunc(slices.Clone(env), func(e string) bool {
		_, api := cutVariable(e, "AWS_LAMBDA_RUNTIME_API")
		_, handler := cutVariable(e, "_HANDLER")
		return api || handler
	})
	home := os.Getenv("HOME")
	if st, err := os.Stat(home); home == "" || err != nil || !st.IsDir() {
		env = setVariable(env, "HOME", "/tmp")
	}
	return env
}

// cutVariable returns the value of a NAME=value, if it has that name.
func cutVariable(e, name string) (string, bool) { return strings.CutPrefix(e, name+"=") }

// setVariable returns the environment with a variable replaced or added.
func setVariable(env []string, name, value string) []string {
	env = slices.DeleteFunc(env, func(e string) bool {
		_, ok := cutVariable(e, name)
		return ok
	})
	return append(env, name+"="+value)
}

// with returns the environment with the variables of more, as NAME=value.
func with(env, more []string) []string {
	env = slices.Clone(env)
	for _, e := range more {
		name, value, _ := strings.Cut(e, "=")
		env = setVariable(env, name, value)
	}
	return env
}
