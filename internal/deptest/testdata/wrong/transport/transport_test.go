package transport_test

import _ "github.com/boxer-sandbox/boxer/sandbox"
