// Package sandbox imports what it must not.
package sandbox

import _ "github.com/boxer-sandbox/boxer/transport"
