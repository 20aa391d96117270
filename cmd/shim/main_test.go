package main

import (
	"strings"
	"testing"
)

// TestFlags: what is wrong is named with its flag.
func TestFlags(t *testing.T) {
	for arguments, want := range map[string]string{
		"":                                "",
		"--namespace=meetings":            "",
		"--namespace=":                    "--namespace",
		"--pause-timeout=0s":              "--pause-timeout",
		"--cors-origin=http://a/":         "--cors-origin",
		"--cors-origin=http://a serve":    "serve",
		"--managers=a:1,b:2 --listen=:80": "",
	} {
		_, err := parse(strings.Fields(arguments))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", arguments, err, want)
		}
	}
}
