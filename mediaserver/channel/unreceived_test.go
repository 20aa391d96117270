package channel_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
	"github.com/nagi-rtc/nagi/mediaserver/channel"
	"github.com/nagi-rtc/nagi/mediaserver/signaling"
)

// refusals stand between signalling and a channel, and have the answers of one client refuse the streams of one sender.
type refusals struct {
	signaling.Channels

	mu               sync.Mutex
	receiver, sender string // connection ids
	how              string // a direction, or rejected (port 0); empty: its answers are as the client gave them
}

func (r *refusals) refuse(receiver, sender *bot.Bot, how string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.receiver, r.sender, r.how = receiver.ConnectionID(), sender.ConnectionID(), how
}

// Join gives a session whose answers may be changed.
func (r *refusals) Join(
	ctx context.Context, request signaling.Connect, client signaling.Client,
) (signaling.Session, error) {
	session, err := r.Channels.Join(ctx, request, client)
	if err != nil {
		return nil, err
	}

	return &refusing{Session: session, refusals: r}, nil
}

// refusing is one client's session.
type refusing struct {
	signaling.Session
	refusals  *refusals
	id, offer string
}

func (s *refusing) Offer(ctx context.Context) (signaling.Offer, error) {
	offer, err := s.Session.Offer(ctx)
	s.id, s.offer = offer.ConnectionID, offer.SDP

	return offer, err
}

func (s *refusing) Reoffer(ctx context.Context) (string, error) {
	offer, err := s.Session.Reoffer(ctx)
	s.offer = offer

	return offer, err
}

func (s *refusing) Answer(ctx context.Context, sdp string) error {
	r := s.refusals
	r.mu.Lock()
	receiver, sender, how := r.receiver, r.sender, r.how
	r.mu.Unlock()
	if how == "" || receiver != s.id {
		return s.Session.Answer(ctx, sdp)
	}
	const cut = "\r\nm="
	offered, sections := strings.Split(s.offer, cut), strings.Split(sdp, cut)
	for i, section := range offered {
		switch {
		case !strings.Contains(section, "msid:"+sender):
		case how == "rejected":
			sections[i] = strings.Replace(sections[i], " 9 ", " 0 ", 1)
		default:
			sections[i] = strings.Replace(sections[i], "a=recvonly", "a="+how, 1)
		}
	}

	return s.Session.Answer(ctx, strings.Join(sections, cut))
}

// A stream that a later answer does not receive any more stops, and nothing else does; the client is told. Pauses of it
// are acknowledged like any. Once an answer receives it again it goes on, but for what is paused.
func TestStreamThatIsReceivedNoMore(t *testing.T) {
	for _, how := range []string{"inactive", "sendonly", "rejected"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			r := &refusals{}
			s := newServerBehind(t, r, time.Hour, channel.Forward)
			receiver, sender := s.join(t, "receiver"), s.join(t, "sender")
			s.apply()
			arrives := func(what string, from *bot.Bot, kinds ...bot.Kind) {
				t.Helper()
				for _, kind := range kinds {
					eventually(t, fmt.Sprint(kind, " comes ", what), comes(receiver, from, kind))
				}
			}
			unreceived := func(kind forwardingv1.Kind) bool {
				stream := streamOf(s.edge(receiver, sender), kind)

				return slices.Contains(stream.GetWithheld(), forwardingv1.Withheld_WITHHELD_UNNEGOTIATED)
			}
			arrives("at first", sender, bot.Audio, bot.Video)

			r.refuse(receiver, sender, how)
			other := s.join(t, "other") // brings another offer
			s.apply()
			for _, kind := range []forwardingv1.Kind{forwardingv1.Kind_KIND_AUDIO, forwardingv1.Kind_KIND_VIDEO} {
				eventually(t, "it is withheld", func() bool { return unreceived(kind) })
			}
			arrives("of the other", other, bot.Audio, bot.Video)
			stands := [2]uint64{packets(receiver, sender, bot.Audio), packets(receiver, sender, bot.Video)}
			for range 10 {
				arrives("of the other", other, bot.Audio, bot.Video)
			}
			now := [2]uint64{packets(receiver, sender, bot.Audio), packets(receiver, sender, bot.Video)}
			if now != stands {
				t.Errorf("packets of audio and video: %v, then %v, though the last answer does not receive them", stands, now)
			}
			told := func(times int) {
				t.Helper()
				eventually(t, fmt.Sprint("the receiver is told of both kinds, times: ", times), func() bool {
					notices := slices.DeleteFunc(receiver.Notifications(), func(n bot.Notification) bool {
						return n.EventType != "rtp-stream.rejected" || n.SendConnectionID != sender.ConnectionID()
					})

					return len(notices) == 2*times
				})
			}
			told(1)

			s.apply(video("1", receiver, sender))
			if state := s.state("1"); state != forwardingv1.State_STATE_MATCHING {
				t.Errorf("a pause of it is %v", state)
			}
			if how == "rejected" {
				return // Its m-line is not used any more.
			}
			r.refuse(receiver, sender, "")
			s.join(t, "another")
			arrives("again", sender, bot.Audio)
			paused := streamOf(s.edge(receiver, sender), forwardingv1.Kind_KIND_VIDEO)
			want := []forwardingv1.Withheld{forwardingv1.Withheld_WITHHELD_PAUSED}
			if got := paused.GetWithheld(); !slices.Equal(got, want) {
				t.Errorf("video is withheld for %v, want %v", got, want)
			}
			s.apply()
			arrives("again", sender, bot.Video)

			r.refuse(receiver, sender, how)
			s.join(t, "one more")
			told(2)
		})
	}
}
