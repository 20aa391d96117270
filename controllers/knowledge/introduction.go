package knowledge

import (
	"google.golang.org/protobuf/proto"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/controllers/claims"
)

// Introduction is what a media server says of itself as its stream begins.
type Introduction struct {
	Name, Incarnation string
	// PodUID is empty where no tokens are reviewed.
	PodUID string
	// PeerAddress is where other media servers reach it, and SignalingURL where clients
	// reach it and no other; empty: nowhere.
	PeerAddress, SignalingURL string
	// ServesWithoutClaim tells that it may host channels that it could not claim.
	ServesWithoutClaim bool
	// MaxChannels and MaxConnections are how many it takes; 0: no matter how many.
	MaxChannels, MaxConnections uint64
}

// holder is the media server as the owner of channels.
func (i *Introduction) holder() claims.Holder { return claims.Holder{Name: i.Name, PodUID: i.PodUID} }

// introduce takes what the media server says of itself now. The caller holds the lock.
func (t *Tenant) introduce(server *mediaServer, introduction Introduction) {
	if t.out.servers[server] {
		t.anywhere.remove(server)
	}
	if former := server.introduction.holder(); former != introduction.holder() {
		t.gone.note(podKey(former), server.began) // Another pod has its name.
		t.forgetFormer(former)
	}
	server.introduction, server.draining = introduction, false
	server.member = &forwardingv1.Member{
		Name: introduction.Name, PodUid: introduction.PodUID,
		PeerAddress: introduction.PeerAddress, SignalingUrl: introduction.SignalingURL,
	}
}

// Standing notes whether the media server is about to end.
func (s *Session) Standing(draining bool) {
	s.tenant.mu.Lock()
	defer s.tenant.mu.Unlock()
	if !s.live() || s.server.draining == draining {
		return
	}
	s.server.draining = draining
	// Others may be about to send the one that there was.
	member := proto.CloneOf(s.server.member)
	member.Draining = draining
	s.server.member = member
	s.tenant.memberChanged(s.server.name)
}
