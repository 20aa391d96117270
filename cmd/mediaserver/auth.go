package main

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"

	"github.com/nagi-rtc/nagi/cmd/internal/ops"
	"github.com/nagi-rtc/nagi/mediaserver/auth"
)

// maxWebhookTimeout is less than SDKs wait for their offer (60 s).
const maxWebhookTimeout = 30 * time.Second

// authOptions say who may be a client.
type authOptions struct {
	webhookURL       string
	webhookTimeout   time.Duration
	jwksFile         string
	audience, issuer string
	anonymous        bool
	// given tells whether a flag is there, whatever it says: one that is empty, as of a
	// variable that is not set, must not open what it was to close.
	given func(flag string) bool
}

func (o *authOptions) flags(set *pflag.FlagSet) {
	set.StringVar(&o.webhookURL, "auth-webhook-url", "",
		"URL that is asked by POST, as Sora's auth webhook, whether a client may connect, and as what")
	set.DurationVar(&o.webhookTimeout, "auth-webhook-timeout", 5*time.Second,
		"how long a client waits for the answer; then it is refused")
	set.StringVar(&o.jwksFile, "auth-jwks-file", "",
		"file of keys (JWK Set): a client may connect as the token in its metadata.access_token says, which one of them "+
			"has signed by HS256, RS256 or ES256; read again when it changes")
	set.StringVar(&o.audience, "auth-audience", "",
		"audience (aud) that tokens have to name; empty: they must name none")
	set.StringVar(&o.issuer, "auth-issuer", "", "issuer (iss) that tokens have to name; empty: any")
	set.BoolVar(&o.anonymous, "allow-anonymous-clients", false,
		"let everybody who reaches --listen into every channel, as whoever they say; without this flag only on loopback, "+
			"and with =false not even there")
	o.given = set.Changed
}

// check says what does not fit together. Listen is the address of signalling.
func (o *authOptions) check(listen string) error {
	authorities := 0
	for _, given := range []bool{o.webhookURL != "", o.jwksFile != "", o.anonymous} {
		if given {
			authorities++
		}
	}
	for flag, value := range map[string]string{"auth-webhook-url": o.webhookURL, "auth-jwks-file": o.jwksFile} {
		if value == "" && o.given(flag) {
			return fmt.Errorf("--%s is empty: say who may be a client, or leave the flag out", flag)
		}
	}
	switch {
	case authorities == 0 && o.given("allow-anonymous-clients"):
		return errors.New("--allow-anonymous-clients=false lets nobody in: " +
			"say who may connect with --auth-webhook-url or --auth-jwks-file")
	case authorities > 1:
		return errors.New("--auth-webhook-url, --auth-jwks-file and --allow-anonymous-clients exclude each other: give one")
	case o.jwksFile == "" && (o.audience != "" || o.issuer != ""):
		return errors.New("--auth-audience and --auth-issuer are of tokens: give --auth-jwks-file too")
	case o.webhookTimeout <= 0 || o.webhookTimeout > maxWebhookTimeout:
		return fmt.Errorf("--auth-webhook-timeout=%v: give more than 0 and at most %v",
			o.webhookTimeout, maxWebhookTimeout)
	case authorities == 0 && !ops.IsLoopback(listen):
		return fmt.Errorf("--listen=%s: anybody who reaches this address could join every channel as anybody: "+
			"say who may with --auth-webhook-url or --auth-jwks-file, or listen on loopback (127.0.0.1 or [::1]); "+
			"--allow-anonymous-clients lets everybody in", listen)
	}

	if o.webhookURL != "" {
		if _, err := auth.NewWebhook(auth.WebhookConfig{URL: o.webhookURL}); err != nil {
			return fmt.Errorf("--auth-webhook-url: %w", err)
		}
	}

	return nil
}

// authority makes who decides about clients, nil if nobody does, and what ends it. The
// error names the flag.
func (o *authOptions) authority(
	name string, registry prometheus.Registerer, log *slog.Logger,
) (authority auth.Authority, end func(), err error) {
	switch {
	case o.webhookURL != "":
		webhook, err := auth.NewWebhook(auth.WebhookConfig{
			URL: o.webhookURL, NodeName: name, Timeout: o.webhookTimeout,
		})
		if err != nil {
			return nil, nil, fmt.Errorf("--auth-webhook-url: %w", err)
		}

		return auth.Counted(webhook, registry), webhook.Close, nil
	case o.jwksFile != "":
		tokens, err := auth.NewTokens(auth.TokensConfig{
			JWKSFile: o.jwksFile, Audience: o.audience, Issuer: o.issuer, Log: log, Registerer: registry,
		})
		if err != nil {
			return nil, nil, fmt.Errorf("--auth-jwks-file: %w", err)
		}

		return auth.Counted(tokens, registry), func() {}, nil
	case o.anonymous:
		log.Warn("--allow-anonymous-clients: everybody who reaches this address may join every channel as anybody; " +
			"say who may with --auth-webhook-url or --auth-jwks-file")
	}

	return nil, func() {}, nil
}
