package signaling

import (
	"crypto/rand"
	"encoding/base32"
)

// crockford is Crockford's base32 without padding, the alphabet that Sora calls
// Clockwork.
var crockford = base32.NewEncoding("0123456789ABCDEFGHJKMNPQRSTVWXYZ").WithPadding(base32.NoPadding)

// NewID makes an identifier of a connection or session: a random UUID (RFC 9562
// version 4) in Crockford base32, 26 characters.
func NewID() string {
	var uuid [16]byte
	rand.Read(uuid[:]) //nolint:errcheck // crypto/rand.Read never returns an error.
	uuid[6] = uuid[6]&0x0f | 0x40
	uuid[8] = uuid[8]&0x3f | 0x80

	return encodeID(uuid)
}

func encodeID(uuid [16]byte) string { return crockford.EncodeToString(uuid[:]) }
