// Package forwardingv1 is the protocol between managers and media servers, with
// the rules that both sides must read alike: which edges are live, and what a
// pause's content is.
package forwardingv1

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
