//go:build linux

package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/nagi-rtc/nagi/controllers/claims"
)

// everyone is heard of: nobody's claim passes on.
type everyone struct{}

func (everyone) Silence(claims.Holder) time.Duration                          { return 0 }
func (everyone) Ended(claims.Holder) time.Time                                { return time.Time{} }
func (everyone) PeerAddress(claims.Holder) string                             { return "10.0.0.1:5000" }
func (everyone) Reached(context.Context, claims.Holder, string) (bool, error) { return true, nil }

// claim makes the media servers the owners of their channels, as those that clients come
// to are: or the manager would tell them all the time that they are not.
func (s *system) claim(ctx context.Context, f *fleet) error {
	config, err := clientcmd.BuildConfigFromFlags("", s.programs.Kubeconfig)
	if err != nil {
		return fmt.Errorf("read the kubeconfig: %w", err)
	}
	c, err := claims.New(claims.Config{
		REST: config, Namespace: namespace, Namespaces: []string{namespace}, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return fmt.Errorf("prepare claims: %w", err)
	}
	room := func() error { return nil }
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(fillers)
	for _, server := range f.servers {
		for id := range server.channels {
			group.Go(func() error {
				if _, _, err := c.Claim(ctx, namespace, claims.Opening{ChannelID: id, Number: 1},
					claims.Holder{Name: server.name}, everyone{}, room); err != nil {
					return fmt.Errorf("claim channel %s: %w", id, err)
				}

				return nil
			})
		}
	}

	return group.Wait() // Wrapped above.
}
