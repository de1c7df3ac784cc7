package syscalls

import (
	"testing"

	"github.com/boxer-sandbox/boxer/internal/natlab"
)

func TestMain(m *testing.M) { natlab.Main(m) }
