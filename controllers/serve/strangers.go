package serve

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	grpcpeer "google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	"github.com/nagi-rtc/nagi/internal/bounds"
)

const (
	// maxStrangers bounds the calls at a time whose caller is not known yet, and
	// maxStrangersPerAddress those from one network: a call may send a whole message
	// before its handler, which looks at the token, has begun, and gRPC keeps it in memory.
	maxStrangers, maxStrangersPerAddress = 64, 32
	// introduction is how long a call may take until its caller is known; its review takes
	// 5 s at most.
	introduction = 10 * time.Second
)

// introduced is where the context of a stranger's call has how it becomes none.
type introduced struct{}

// tap refuses a call before anything of it is read where there are too many strangers.
// Whose token was allowed something lately is none.
func (s *Server) tap(ctx context.Context, info *tap.Info) (context.Context, error) {
	if s.config.Reviewer == nil || s.config.Reviewer.Knows(tokenOf(metadata.NewIncomingContext(ctx, info.Header))) {
		return ctx, nil
	}
	from := networkOf(ctx)
	if s.strangers.Enter(from) != bounds.None {
		return nil,
			status.Error(codes.Unavailable, "many calls wait for their callers to be known: call again, or another replica")
	}
	ctx, cancel := context.WithCancel(ctx)
	late := time.AfterFunc(introduction, cancel)
	leave := sync.OnceFunc(func() {
		late.Stop()
		s.strangers.Leave(from)
	})
	context.AfterFunc(ctx, leave)

	return context.WithValue(ctx, introduced{}, leave), nil
}

// introduce notes that the caller is known now, and that the call may take its time.
func introduce(ctx context.Context) {
	if leave, ok := ctx.Value(introduced{}).(func()); ok {
		leave()
	}
}

// networkOf is where a call comes from.
func networkOf(ctx context.Context) netip.Prefix {
	from, ok := grpcpeer.FromContext(ctx)
	if !ok {
		return netip.Prefix{}
	}

	return bounds.NetworkOf(from.Addr.String())
}
