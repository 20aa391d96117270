package serve

import (
	"context"
	"errors"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/controllers/claims"
	"github.com/nagi-rtc/nagi/controllers/knowledge"
)

// asker is a media server that asks where a channel is, or is to be.
type asker struct {
	claims.Holder
	tenant *knowledge.Tenant
	witness
}

// askerOf is who calls: by its token, where tokens are reviewed, as for Subscribe.
func (s *Server) askerOf(ctx context.Context, namespace, mediaServer string) (*asker, error) {
	admission, err := s.admitMediaServer(ctx)
	if stranger, ok := errors.AsType[*notAllowed](err); ok {
		return nil, stranger.error
	}
	if err != nil {
		return nil, err
	}
	namespace, mediaServer, err = admission.identify(namespace, mediaServer)
	if err != nil {
		return nil, err
	}
	if err := first(checkID("namespace", namespace), checkID("media_server", mediaServer)); err != nil {
		return nil, err
	}
	t, err := s.tenantOf(namespace)
	if err != nil {
		return nil, err
	}
	a := &asker{Holder: claims.Holder{Name: mediaServer}, tenant: t, witness: witness{s, namespace, t}}
	if admission != nil {
		a.PodUID = admission.caller.PodUID
	}

	return a, nil
}

// Locate implements forwardingv1.PlacementServer.
func (s *Server) Locate(
	ctx context.Context, request *forwardingv1.LocateRequest,
) (*forwardingv1.LocateResponse, error) {
	a, err := s.askerOf(ctx, request.GetNamespace(), request.GetMediaServer())
	if err != nil {
		return nil, err
	}
	if err := checkLocateRequest(request); err != nil {
		return nil, err
	}
	owner, claimed, err := s.config.Claims.Owner(ctx, a.namespace, request.GetChannelId(), a)
	if err != nil {
		return nil, statusOf(err)
	}
	if claimed {
		return &forwardingv1.LocateResponse{MediaServer: a.tenant.Member(owner), Claimed: true}, nil
	}
	chosen, err := a.tenant.Place(request.GetChannelId(), a.Name, request.GetUnreachable())
	if err != nil {
		return nil, statusOf(err)
	}

	return &forwardingv1.LocateResponse{MediaServer: chosen}, nil
}

// Claim implements forwardingv1.PlacementServer.
func (s *Server) Claim(ctx context.Context, request *forwardingv1.ClaimRequest) (*forwardingv1.ClaimResponse, error) {
	a, err := s.askerOf(ctx, request.GetNamespace(), request.GetMediaServer())
	if err != nil {
		return nil, err
	}
	if err := first(checkID("channel_id", request.GetChannelId()),
		checkOpening("opening", request.GetOpening())); err != nil {
		return nil, err
	}
	opening := claims.Opening{ChannelID: request.GetChannelId(), Number: request.GetOpening()}
	mayOwn := func() error { return a.tenant.MayOwn(a.Holder, request.GetChannelId()) }
	owner, latest, err := s.config.Claims.Claim(ctx, a.namespace, opening, a.Holder, a, mayOwn)
	if err != nil {
		return nil, statusOf(err)
	}

	return &forwardingv1.ClaimResponse{Owner: a.tenant.Member(owner), Opening: latest}, nil
}

// Release implements forwardingv1.PlacementServer.
func (s *Server) Release(
	ctx context.Context, request *forwardingv1.ReleaseRequest,
) (*forwardingv1.ReleaseResponse, error) {
	a, err := s.askerOf(ctx, request.GetNamespace(), request.GetMediaServer())
	if err != nil {
		return nil, err
	}
	if err := checkReleaseRequest(request); err != nil {
		return nil, err
	}
	openings := make([]claims.Opening, 0, len(request.GetOpenings()))
	for _, opening := range request.GetOpenings() {
		openings = append(openings, claims.Opening{ChannelID: opening.GetChannelId(), Number: opening.GetNumber()})
	}
	if err := s.config.Claims.Release(ctx, a.namespace, openings, a.Holder); err != nil {
		return nil, statusOf(err)
	}

	return &forwardingv1.ReleaseResponse{}, nil
}
