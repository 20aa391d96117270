package auth

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/prometheus/client_golang/prometheus"
)

// leeway is how much the clocks of who signs tokens and of the media server may differ.
const leeway = 30 * time.Second

// algorithms that tokens may be signed with. Which of them, their keys say.
var algorithms = []jose.SignatureAlgorithm{jose.HS256, jose.RS256, jose.ES256}

// registered are the claims of RFC 7519 section 4.1, and those that are looked at here:
// the rest of a token is what an answer of the webhook would be.
var registered = []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "allowed", "reason", "channel_id"}

// TokensConfig is what Tokens need.
type TokensConfig struct {
	// JWKSFile holds the keys (RFC 7517 section 5). It is read again when it changes.
	JWKSFile string
	// Audience has to be among a token's audiences; empty: a token must name none.
	Audience string
	// Issuer has to be a token's; empty: it does not matter.
	Issuer string
	// Log is told when the file cannot be read again.
	Log *slog.Logger
	// Registerer takes the metric of that.
	Registerer prometheus.Registerer
}

// Tokens lets clients in whose metadata.access_token is a JSON Web Token (RFC 7519) for
// their channel, signed with a key of a file. Its claims are the answer.
type Tokens struct {
	keys             *keyring
	audience, issuer string
}

var _ Authority = (*Tokens)(nil)

// NewTokens reads the file of keys. The error says what is wrong with it.
func NewTokens(config TokensConfig) (*Tokens, error) {
	keys, err := openKeyring(config.JWKSFile, config.Log, config.Registerer)
	if err != nil {
		return nil, err
	}

	return &Tokens{keys: keys, audience: config.Audience, issuer: config.Issuer}, nil
}

// Decide checks the client's token. A client whose token names no client_id gets its
// connection id for one: what it says itself would let it pass as anybody. So it is with
// bundle_id: who claims to be of another's bundle is not received by them.
func (t *Tokens) Decide(_ context.Context, request Request) (Answer, error) {
	text, ok := accessToken(request.Metadata)
	if !ok {
		return nil, refuse("the client's metadata has no access_token")
	}
	claims, err := t.verify(text)
	if err != nil {
		return nil, err
	}
	var channelID string
	if json.Unmarshal(claims["channel_id"], &channelID) != nil || channelID != request.ChannelID {
		return nil, refuse("the token is not for this channel: its claim channel_id has to name it")
	}
	if allowed, _ := claims.verdict(); claims["allowed"] != nil && !allowed {
		return nil, &Refusal{Reason: claims.reason(), Detail: "the token does not allow it"}
	}
	answer := claims.without(registered...)
	connectionID, err := json.Marshal(request.ConnectionID)
	if err != nil {
		return nil, fmt.Errorf("marshalling a connection id: %w", err)
	}
	for _, name := range []string{"client_id", "bundle_id"} {
		if answer[name] == nil {
			answer[name] = connectionID
		}
	}

	return answer, nil
}

// accessToken finds the token in a client's metadata.
func accessToken(metadata json.RawMessage) (token string, ok bool) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(metadata, &fields) != nil || json.Unmarshal(fields["access_token"], &token) != nil {
		return "", false
	}

	return token, token != ""
}

func refuse(detail string, arguments ...any) error {
	return &Refusal{Detail: fmt.Sprintf(detail, arguments...)}
}

// verify returns the claims of a token that is signed and in force. Its errors do not
// repeat what the token says: it would fill logs with what strangers write.
func (t *Tokens) verify(text string) (Answer, error) {
	token, err := jwt.ParseSigned(text, algorithms)
	if err != nil || len(token.Headers) != 1 {
		return nil, refuse("the access_token is no JSON Web Token that is signed with one of %v", algorithms)
	}
	header := token.Headers[0]
	keys := t.keys.matching(jose.SignatureAlgorithm(header.Algorithm), header.KeyID)
	if len(keys) == 0 {
		return nil, refuse("no key of the file (--auth-jwks-file) has the token's algorithm and kid")
	}
	var claims Answer
	var dated jwt.Claims
	signed := slices.ContainsFunc(keys, func(key any) bool { return token.Claims(key) == nil })
	if !signed {
		return nil, refuse("the token's signature is not by a key of the file (--auth-jwks-file)")
	}
	if err := token.UnsafeClaimsWithoutVerification(&claims, &dated); err != nil || claims == nil || !claims.valid() {
		return nil, refuse("the token is signed, but its claims are not those of RFC 7519")
	}
	if err := t.inForce(dated); err != nil {
		return nil, err
	}

	return claims, nil
}

// valid tells whether all is UTF-8, as JSON has to be.
func (a Answer) valid() bool {
	for _, value := range a {
		if !utf8.Valid(value) {
			return false
		}
	}

	return true
}

// inForce checks when, and for whom, a token is.
func (t *Tokens) inForce(claims jwt.Claims) error {
	// RFC 7519 section 4.1.3: who is not among a token's audiences must reject it.
	if t.audience == "" && len(claims.Audience) > 0 {
		return refuse("the token is for an audience: name it with --auth-audience")
	}
	expected := jwt.Expected{Issuer: t.issuer, Time: time.Now()}
	if t.audience != "" {
		expected.AnyAudience = jwt.Audience{t.audience}
	}
	if err := claims.ValidateWithLeeway(expected, leeway); err != nil {
		return refuse("the token is not in force: %v", err)
	}

	return nil
}
