//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/pflag"
)

const (
	gateCase   = "50x20"
	gateSlices = 6
	gateSlice  = time.Second
)

// gateResult is what the gate prints.
type gateResult struct {
	Gate           string  `json:"gate"`
	Reports        bool    `json:"reports"`
	CPUPerPacket   float64 `json:"cpu_us_per_packet"`
	FloorPerPacket float64 `json:"floor_cpu_us_per_packet"`
	Ratio          float64 `json:"ratio"`
	Limit          float64 `json:"limit"`
	Slices         int     `json:"slices"`
	Loss           int64   `json:"loss"`
	GitRevision    string  `json:"git_revision"`
}

// gate fails when one forwarded packet of ours costs more than limit times what
// it costs the floor. Both servers run all the time and work in turns, so that
// whatever else the machine does meets both: the median of the turns' ratios
// tells a doubling even on a busy one.
func gate(ctx context.Context, arguments []string) error {
	var limit float64
	var root string
	var reports bool
	flags := pflag.NewFlagSet("bench gate", pflag.ContinueOnError)
	flags.Float64Var(&limit, "limit", 2.0, "fail when a packet of ours costs more than this times the floor's")
	flags.StringVar(&root, "root", ".", "the repository, with bin/mediaserver")
	flags.BoolVar(&reports, "reports", true, "have the receivers report each 100 ms what came, at both servers")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	servers, err := chooseServers(options{servers: []string{"nagi", "floor-gso"}, root: root})
	if err != nil {
		return err
	}
	c, ok := caseByName(gateCase)
	if !ok {
		return errors.New("the gate's case is gone")
	}
	c.silent = !reports
	r := gateResult{
		Gate: gateCase, Reports: reports, Limit: limit, Slices: gateSlices, GitRevision: gitRevision(ctx, root),
	}
	if err := r.measure(ctx, servers[0], servers[1], c); err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		return fmt.Errorf("print the result: %w", err)
	}
	if r.Ratio > limit {
		return fmt.Errorf("a forwarded packet costs %.2f times the floor's %.1f µs, and may cost %.2f times: "+
			"the path to the socket has become dearer; "+
			"see where with `go test -bench` in mediaserver and `make bench-forwarding BENCH='--cases=%s "+
			"--servers=nagi,floor-gso'`", r.Ratio, r.FloorPerPacket, limit, gateCase)
	}

	return nil
}

func (r *gateResult) measure(ctx context.Context, ours, floor server, c scenario) error {
	var trials [2]*trial
	for i, s := range []server{ours, floor} {
		var err error
		if trials[i], err = startTrial(ctx, s, c); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		defer trials[i].stop()
		if err := trials[i].warmUp(ctx); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	var costs [2][]float64
	var ratios []float64
	for range gateSlices {
		for i, trial := range trials {
			slice, err := trial.measure(ctx, gateSlice)
			if err != nil {
				return fmt.Errorf("%s: %w", trial.name, err)
			}
			if slice.CPUPerPacket == nil {
				return fmt.Errorf("%s forwarded nothing within %s: the machine is too busy to measure on", trial.name, gateSlice)
			}
			costs[i] = append(costs[i], *slice.CPUPerPacket)
			r.Loss += slice.Loss
		}
		ratios = append(ratios, costs[0][len(costs[0])-1]/costs[1][len(costs[1])-1])
	}
	r.CPUPerPacket, r.FloorPerPacket, r.Ratio = *rounded(*medianOf(costs[0])), *rounded(*medianOf(costs[1])),
		*rounded(*medianOf(ratios))

	return nil
}
