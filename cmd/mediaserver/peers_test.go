package main

import (
	"net"
	"testing"
)

// TestReachedAt proves where a media server tells the others that it is reached.
func TestReachedAt(t *testing.T) {
	for _, test := range []struct{ flag, listener, want string }{
		{"", "127.0.0.1:5000", "127.0.0.1:5000"},
		{"", "[::1]:5000", "[::1]:5000"},
		{"", "[::]:5000", ""},
		{"", "0.0.0.0:5000", ""},
		{"10.0.0.7:5000", "[::]:5000", "10.0.0.7:5000"},
		{"[10.0.0.7]:5000", "[::]:5000", "10.0.0.7:5000"},
		{"[fd00::7]:5000", "[::]:5000", "[fd00::7]:5000"},
	} {
		listener, err := net.ResolveTCPAddr("tcp", test.listener)
		if err != nil {
			t.Fatal(err)
		}
		options := peersOptions{address: test.flag}
		if got := options.reachedAt(listener); got != test.want {
			t.Errorf("--peer-address=%s, listening on %s: %q, want %q", test.flag, test.listener, got, test.want)
		}
	}
}
