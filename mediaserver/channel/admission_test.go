package channel_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/prometheus/client_golang/prometheus"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
	"github.com/nagi-rtc/nagi/mediaserver/auth"
	"github.com/nagi-rtc/nagi/mediaserver/channel"
)

// signer signs tokens that a server's authority trusts.
type signer struct{ secret []byte }

// newAuthority makes an authority of tokens, and who signs them.
func newAuthority(t *testing.T) (*signer, auth.Authority) {
	t.Helper()
	s := &signer{bytes.Repeat([]byte("k"), 32)}
	keys, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: s.secret, Algorithm: "HS256"}}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(path, keys, 0o600); err != nil {
		t.Fatal(err)
	}
	tokens, err := auth.NewTokens(auth.TokensConfig{
		JWKSFile: path, Log: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}

	return s, tokens
}

// metadata with a token of these claims, for the channel.
func (s *signer) metadata(t *testing.T, claims map[string]any) map[string]string {
	t.Helper()
	key, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: s.secret}, nil)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(key).Claims(map[string]any{"channel_id": channelID}).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}

	return map[string]string{"access_token": token}
}

// A pause by client id holds for whom the authority says that it is: whatever the client
// claims, with a token that names it and with one that does not, and however often it
// comes back.
func TestNobodyEscapesAPauseByClaimingToBeSomebodyElse(t *testing.T) {
	signer, authority := newAuthority(t)
	s := newServerWith(t, authority, time.Hour, channel.Hold)
	join := func(claimed string, claims map[string]any) (*bot.Bot, error) {
		ctx, cancel := context.WithTimeout(t.Context(), deadline)
		defer cancel()

		return bot.Join(ctx, bot.Config{
			URL: s.url, ChannelID: channelID, ClientID: claimed, Role: bot.SendRecv,
			Metadata: signer.metadata(t, claims),
		})
	}
	expect := func(claimed string, claims map[string]any) *bot.Bot {
		t.Helper()
		b, err := join(claimed, claims)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Drop)

		return b
	}
	teacher := expect("", map[string]any{"client_id": "teacher"})
	s.apply(newPause("1", clients("pupil"), everyone()))
	for _, claimed := range []string{"teacher", "pupil", "", "somebody"} {
		pupil := expect(claimed, map[string]any{"client_id": "pupil"})
		if pupil.ClientID() != "pupil" {
			t.Errorf("who claims to be %q is %q", claimed, pupil.ClientID())
		}
		eventually(t, "audio comes", comes(pupil, teacher, bot.Audio))
		if n := packets(pupil, teacher, bot.Video); n != 0 {
			t.Errorf("%d packets of paused video come to who claims to be %q", n, claimed)
		}
		if s.state("1") != forwardingv1.State_STATE_MATCHING || len(s.edge(pupil, teacher).GetPauseUids()) != 1 {
			t.Errorf("the pause is %v", s.state("1"))
		}
		pupil.Drop()
	}
	// A token that names nobody makes of its client nobody whom a pause would except.
	nobody := expect("teacher", nil)
	if id := nobody.ClientID(); id != nobody.ConnectionID() {
		t.Errorf("a token without a client_id makes a client %q of connection %q", id, nobody.ConnectionID())
	}
	_, err := join("pupil", map[string]any{"channel_id": "elsewhere"})
	if err == nil || !strings.Contains(err.Error(), "AUTHENTICATION-FAILURE") {
		t.Errorf("a token for another channel: %v", err)
	}
}

// Nobody hides from another, who would not receive them then, by claiming to be of their bundle.
func TestNobodyHidesInTheBundleOfAnother(t *testing.T) {
	signer, authority := newAuthority(t)
	s := newServerWith(t, authority, time.Hour, channel.Hold)
	join := func(claimed string, claims map[string]any) *bot.Bot {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), deadline)
		defer cancel()
		b, err := bot.Join(ctx, bot.Config{
			URL: s.url, ChannelID: channelID, BundleID: claimed, Role: bot.SendRecv, Metadata: signer.metadata(t, claims),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Drop)

		return b
	}
	teacher := join("", map[string]any{"bundle_id": "desk"})
	pupil := join("desk", nil)
	s.apply()
	eventually(t, "the teacher sees who claims to be of the bundle", comes(teacher, pupil, bot.Video))
}

// A token is looked at when its client connects: its end ends no connection.
func TestTheEndOfATokenEndsNoConnection(t *testing.T) {
	signer, authority := newAuthority(t)
	s := newServerWith(t, authority, time.Hour, channel.Hold)
	s.apply()
	join := func(metadata map[string]string) *bot.Bot {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), deadline)
		defer cancel()
		b, err := bot.Join(ctx, bot.Config{URL: s.url, ChannelID: channelID, Role: bot.SendRecv, Metadata: metadata})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Drop)

		return b
	}
	// 30 s are allowed for clocks that differ, so this one is good for 5 s.
	short := signer.metadata(t, map[string]any{"exp": time.Now().Add(-25 * time.Second).Unix()})
	b := join(short)
	text, err := json.Marshal(short)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the token is over", func() bool {
		_, err := authority.Decide(t.Context(), auth.Request{ChannelID: channelID, Metadata: text})

		return err != nil
	})
	other := join(signer.metadata(t, map[string]any{"exp": time.Now().Add(time.Hour).Unix()}))
	s.apply()
	eventually(t, "media goes on", comes(other, b, bot.Video))
	if err := b.Err(); err != nil {
		t.Errorf("the connection ends with its token: %v", err)
	}
}
