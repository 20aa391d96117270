package signaling

import (
	"encoding/hex"
	"regexp"
	"testing"
)

func TestEncodeID(t *testing.T) {
	bytes, err := hex.DecodeString("01dd3e62fe154ed72b6d2d243974669d")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := encodeID([16]byte(bytes)), "07EKWRQY2N7DEAVD5MJ3JX36KM"; got != want {
		t.Errorf("encoded as %s, want %s", got, want)
	}
}

func TestNewID(t *testing.T) {
	form := regexp.MustCompile(`^[0-9A-HJKMNP-TV-Z]{25}[048CGMRW]$`)
	seen := make(map[string]bool)
	for range 1000 {
		id := NewID()
		uuid, err := crockford.DecodeString(id)
		switch {
		case err != nil, !form.MatchString(id):
			t.Fatalf("%s is not 26 characters of Crockford base32: %v", id, err)
		case uuid[6]>>4 != 4, uuid[8]>>6 != 2:
			t.Fatalf("%s is UUID %x, which is not version 4 of the RFC's variant", id, uuid)
		case seen[id]:
			t.Fatalf("%s twice", id)
		}
		seen[id] = true
	}
}
