package e2e

import (
	"context"
	"testing"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// connections asks the manager who is in a channel, by connection id.
func (m *manager) connections(t *testing.T, channel string) map[string]*forwardingv1.ChannelConnection {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	stream, err := m.view.Connections(ctx, &forwardingv1.ConnectionsRequest{Namespace: namespace, ChannelId: channel})
	parts, err := collect(stream, err)
	if err != nil {
		t.Fatalf("%s: who is in %s: %v", m.name, channel, err)
	}
	known := map[string]*forwardingv1.ChannelConnection{}
	for _, part := range parts {
		for _, c := range part.GetConnections() {
			known[c.GetConnection().GetConnectionId()] = c
		}
	}

	return known
}
