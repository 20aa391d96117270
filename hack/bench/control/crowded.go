//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
)

// measureCrowded measures the shim's calls in a channel with many pauses beside one
// without, interleaved.
func (b *bench) measureCrowded(ctx context.Context) error {
	size := 2
	for size*(size-1) < b.options.crowded+b.options.samples {
		size++
	}
	full, err := b.fleet.open(ctx, "crowded", size)
	if err != nil {
		return err
	}
	empty, err := b.fleet.open(ctx, "empty", size)
	if err != nil {
		return err
	}
	edges := make([][2]string, 0, size*(size-1))
	for receiver := range size {
		for sender := range size {
			if receiver != sender {
				edges = append(edges, [2]string{full.connection(receiver), full.connection(sender)})
			}
		}
	}
	group, groupContext := errgroup.WithContext(ctx)
	group.SetLimit(fillers)
	for i, edge := range edges[:b.options.crowded] {
		group.Go(func() error {
			return b.system.api.Create(groupContext,
				edgePause(namespace, fmt.Sprintf("crowded-%d", i), full.id, edge[0], edge[1]))
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("fill the channel: %w", err)
	}
	if err := errors.Join(b.fleet.awaitHeld(ctx, b.options.objects+b.options.crowded), b.settle(ctx)); err != nil {
		return err
	}

	var lists, pausesFull, pausesEmpty, resumesFull, resumesEmpty durations
	free := edges[b.options.crowded:]
	for i := range b.options.samples {
		for _, c := range []struct {
			channel        *simulatedChannel
			edge           [2]string
			pause, resumed *durations
		}{
			{full, free[i%len(free)], &pausesFull, &resumesFull},
			{empty, [2]string{empty.connection(0), empty.connection(1)}, &pausesEmpty, &resumesEmpty},
		} {
			body := map[string]string{
				"channel_id": c.channel.id, "recv_connection_id": c.edge[0], "send_connection_id": c.edge[1],
			}
			took, _, err := b.system.post(ctx, "Sora_20200401.PauseRtpStream", body)
			if err != nil {
				return err
			}
			*c.pause = append(*c.pause, took)
			if c.channel == full {
				took, answer, err := b.system.post(ctx, "Sora_20200401.ListPauseRtpStreams",
					map[string]string{"channel_id": full.id})
				if err != nil {
					return err
				}
				var entries []json.RawMessage
				if err := json.Unmarshal(answer, &entries); err != nil || len(entries) != b.options.crowded+1 {
					return fmt.Errorf("the list tells %d edges of %d: %w", len(entries), b.options.crowded+1, err)
				}
				lists = append(lists, took)
			}
			if took, _, err = b.system.post(ctx, "Sora_20200401.ResumeRtpStream", body); err != nil {
				return err
			}
			*c.resumed = append(*c.resumed, took)
		}
	}
	b.note(figure{
		Measure: "crowded", What: fmt.Sprintf("List of %d edges, p99", b.options.crowded), Unit: "ms",
		Value: milliseconds(lists.percentile(99)), Bound: bound(25), Samples: len(lists), Detail: lists.spread("", nil),
	})
	for _, f := range []struct {
		what        string
		full, empty durations
	}{{"Pause", pausesFull, pausesEmpty}, {"Resume", resumesFull, resumesEmpty}} {
		b.note(figure{
			Measure: "crowded", What: fmt.Sprintf("%s with %d pauses ÷ without, p50", f.what, b.options.crowded), Unit: "×",
			Value: float64(f.full.percentile(50)) / float64(f.empty.percentile(50)), Bound: bound(2), Samples: len(f.full),
			Detail: f.full.spread("full_", f.empty.spread("empty_", nil)),
		})
	}

	return nil
}

// post asks the shim and returns how long that took.
func (s *system) post(ctx context.Context, target string, arguments map[string]string) (time.Duration, []byte, error) {
	body, err := json.Marshal(arguments)
	if err != nil {
		return 0, nil, fmt.Errorf("write the request: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.shimURL, bytes.NewReader(body))
	if err != nil {
		return 0, nil, fmt.Errorf("make a request: %w", err)
	}
	request.Header.Set("X-Sora-Target", target)
	began := time.Now()
	response, err := s.http.Do(request)
	if err != nil {
		return 0, nil, fmt.Errorf("ask for %s: %w", target, err)
	}
	answer, err := io.ReadAll(response.Body)
	took := time.Since(began)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return 0, nil, fmt.Errorf("read the answer to %s: %w", target, err)
	}
	if response.StatusCode != http.StatusOK {
		return 0, nil, fmt.Errorf("%s was answered with %s: %s", target, response.Status, answer)
	}

	return took, answer, nil
}
