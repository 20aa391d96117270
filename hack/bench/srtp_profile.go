//go:build linux

package main

import (
	"slices"
	"strings"
	"sync"

	"github.com/pion/webrtc/v4"
)

// profiles remembers connections, to ask each of them which SRTP profile it
// agreed on with the server.
type profiles struct {
	mu          sync.Mutex
	connections []*webrtc.PeerConnection
	known       []string
}

// add and know may be called on nil, by who does not ask later.
func (p *profiles) add(connection *webrtc.PeerConnection) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.connections = append(p.connections, connection)
}

// know takes the profile of what is no WebRTC connection.
func (p *profiles) know(profile string) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known = append(p.known, profile)
}

// list is every profile in use, once; a connection that carries nothing has
// none.
func (p *profiles) list() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := slices.Clone(p.known)
	for _, connection := range p.connections {
		if connection.ConnectionState() != webrtc.PeerConnectionStateConnected {
			continue
		}
		for _, stats := range connection.GetStats() {
			if transport, ok := stats.(webrtc.TransportStats); ok && transport.SRTPCipher != "" {
				all = append(all, strings.TrimPrefix(transport.SRTPCipher, "SRTP_"))
			}
		}
	}
	slices.Sort(all)

	return slices.Compact(all)
}
