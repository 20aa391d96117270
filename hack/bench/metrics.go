//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// metrics is what a server tells of itself, by metric; of a metric with labels,
// the sum.
type metrics map[string]float64

// readMetrics reads a Prometheus page. It returns nothing for a server without.
func readMetrics(ctx context.Context, address string) (metrics, error) {
	if address == "" {
		return nil, nil
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return nil, fmt.Errorf("read the server's metrics: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("read the server's metrics: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	m := metrics{}
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		line := lines.Text()
		space := strings.LastIndexByte(line, ' ')
		if space < 0 || line[0] == '#' {
			continue
		}
		value, err := strconv.ParseFloat(line[space+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("read the server's metric %q: %w", line, err)
		}
		name, _, _ := strings.Cut(line[:space], "{")
		m[name] += value
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read the server's metrics: %w", err)
	}

	return m, nil
}

// meanBetween is how many of one thing there were to each of another between two
// readings of our server's socket, or the floor's; nil where the server does not tell.
func meanBetween(first, last metrics, things, calls string) *float64 {
	for _, prefix := range []string{"nagi_udp_", "floor_"} {
		if between := last[prefix+calls] - first[prefix+calls]; between > 0 {
			return rounded((last[prefix+things] - first[prefix+things]) / between)
		}
	}

	return nil
}
