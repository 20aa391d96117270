package forwardingv1

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"
)

// DigestBytes is the length of a digest.
const DigestBytes = 16

// MaxMessageBytes bounds every message of the protocol: what is larger goes in
// parts.
const MaxMessageBytes = 1 << 20

// MaxPausesTold bounds the pauses that are told of each of many edges: a hundred
// thousand edges under fifty pauses of everyone would be hundreds of megabytes.
const MaxPausesTold = 16

// ExpiredAt tells whether the pause no longer acts at the time now.
func (p *Pause) ExpiredAt(now time.Time) bool {
	return p.GetExpiresAt() != nil && !now.Before(p.GetExpiresAt().AsTime())
}

// PausesKind tells whether kind is among the kinds that the pause withholds.
func (p *Pause) PausesKind(kind Kind) bool {
	return slices.Contains(p.GetKinds(), kind)
}

// Sum returns the digest of the pause's content, which is everything but its uid
// and the digest itself, the object's generation with it. It is the same in every version of Nagi: content that a
// version does not know adds nothing to it, and protobuf's own encoding, which may
// change, has no part in it.
func (p *Pause) Sum() [DigestBytes]byte {
	d := make(digest, 0, 1<<10) // On the stack; what is larger is rare.
	d = d.side("receivers", p.GetReceivers())
	d = d.side("senders", p.GetSenders())
	for _, kind := range p.GetKinds() {
		d = d.text("kind", kind.String())
	}
	if p.GetExpiresAt() != nil {
		d = d.text("expires", p.GetExpiresAt().AsTime().UTC().Format(time.RFC3339Nano))
	}
	if p.GetReason() != "" {
		d = d.text("reason", p.GetReason())
	}
	if p.GetCreatedTime() != nil {
		d = d.text("created", p.GetCreatedTime().AsTime().UTC().Format(time.RFC3339Nano))
	}
	if p.GetGeneration() != 0 {
		d = binary.BigEndian.AppendUint64(d.text("generation"), uint64(p.GetGeneration()))
	}
	sum := sha256.Sum256(d)

	return [DigestBytes]byte(sum[:])
}

// digest is named texts. Their lengths keep one list of texts apart from another with
// the same bytes.
type digest []byte

func (d digest) text(parts ...string) digest {
	for _, part := range parts {
		d = append(binary.BigEndian.AppendUint64(d, uint64(len(part))), part...)
	}

	return d
}

func (d digest) ids(name string, ids []string) digest {
	if !slices.IsSorted(ids) {
		ids = slices.Sorted(slices.Values(ids))
	}
	for _, id := range ids {
		d = d.text(name, id)
	}

	return d
}

func (d digest) side(name string, side *Side) digest {
	d = d.text(name)
	switch names := side.GetNames().(type) {
	case *Side_ConnectionIds:
		return d.ids("connection", names.ConnectionIds.GetIds())
	case *Side_ClientIds:
		return d.ids("client", names.ClientIds.GetIds())
	case *Side_Everyone:
		return d.text("everyone")
	case *Side_EveryoneExcept:
		d = d.text("except")
		d = d.ids("connection", names.EveryoneExcept.GetConnectionIds())

		return d.ids("client", names.EveryoneExcept.GetClientIds())
	default:
		return d
	}
}
