// Package forwardingv1 is the protocol between controllers and media servers,
// with the rules that both sides must read alike: which edges are live, and
// which of them a pause names.
package forwardingv1

import (
	"slices"
	"time"
)

// LiveEdge tells whether a stream of sender can reach receiver: both are in the
// same channel, their roles allow it, and they are not of one bundle. Whether it
// is negotiated yet does not matter.
func LiveEdge(receiver, sender *Connection) bool {
	return receiver.GetConnectionId() != sender.GetConnectionId() &&
		receiver.Receives() && sender.Sends() &&
		(receiver.GetBundleId() == "" || receiver.GetBundleId() != sender.GetBundleId())
}

// Receives tells whether the connection's role lets it receive streams.
func (c *Connection) Receives() bool {
	return c.GetRole() == Role_ROLE_SENDRECV || c.GetRole() == Role_ROLE_RECVONLY
}

// Sends tells whether the connection's role lets it send streams.
func (c *Connection) Sends() bool {
	return c.GetRole() == Role_ROLE_SENDRECV || c.GetRole() == Role_ROLE_SENDONLY
}

// Matches tells whether the pause names the edge from sender to receiver. It
// looks neither at the channel nor at expiry.
func (p *Pause) Matches(receiver, sender *Connection) bool {
	return sideMatches(p.GetRecvConnectionId(), p.GetRecvClientId(), receiver) &&
		sideMatches(p.GetSendConnectionId(), p.GetSendClientId(), sender)
}

func sideMatches(connectionID, clientID string, c *Connection) bool {
	switch {
	case connectionID != "":
		return connectionID == c.GetConnectionId()
	case clientID != "":
		return clientID == c.GetClientId()
	default:
		return true
	}
}

// ExpiredAt tells whether the pause no longer acts at the time now.
func (p *Pause) ExpiredAt(now time.Time) bool {
	return p.GetExpiresAt() != nil && !now.Before(p.GetExpiresAt().AsTime())
}

// PausesKind tells whether kind is among the kinds that the pause withholds.
func (p *Pause) PausesKind(kind Kind) bool {
	return slices.Contains(p.GetKinds(), kind)
}
