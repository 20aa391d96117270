//go:build !network && !installed

package browser

import (
	"errors"
	"fmt"
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	stop, err := startSystem(apiURL)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	idle, err := occupy()
	if err != nil {
		fmt.Fprintln(os.Stderr, errors.Join(err, stop()))
		os.Exit(1)
	}
	code := m.Run()
	idle.Drop()
	if err := stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stopping nagi:", err)
		code = 1
	}
	os.Exit(code)
}
