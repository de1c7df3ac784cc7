// Package launcher imports what it may.
package launcher

import (
	_ "github.com/boxer-sandbox/boxer/sandbox"
	_ "github.com/boxer-sandbox/boxer/transport"
)
